//! The event as JSON: the fields of the wire contract, without what hosts tell each other alone.

use crate::facts::{Facts, Told};
use lockstep_plugin_api::prelude::*;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Raw<'a> {
    event_id: &'a str,
    event_type: &'a str,
    config_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_value: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_value: Option<&'a Json>,
    /// What each author of a conflict wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    siblings: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Metadata<'a> {
    Whole(&'a Json),
    Facts(&'a Told<'a>),
}

impl<'a> Raw<'a> {
    pub(super) fn new(facts: &'a Facts<'_>, values: bool) -> Self {
        let change = facts.change;
        let metadata = facts.whole_metadata().map(|whole| match values {
            true => Metadata::Whole(whole),
            false => Metadata::Facts(facts.metadata()),
        });
        Self {
            event_id: facts.id,
            event_type: change.event_type(),
            config_key: change.config_key(),
            tenant_id: change.tenant_id(),
            new_value: values.then(|| change.new_value()),
            old_value: change.old_value().filter(|_| values),
            siblings: change.siblings().filter(|_| values && facts.is_about_conflict()),
            timestamp: facts.timestamp(),
            user_id: change.user_id(),
            source_node: change.source_node(),
            epoch: change.epoch(),
            revision: change.revision(),
            metadata,
        }
    }
}

/// The message.
pub(super) fn body(facts: &Facts<'_>, values: bool) -> Result<Vec<u8>> {
    serde_json::to_vec(&Raw::new(facts, values)).map_err(Error::failed)
}

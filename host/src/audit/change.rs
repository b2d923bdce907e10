//! The entry of a change: everything about it but the value, of which it has size and hash.

use lockstep_plugin_api::{Change, Json};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Operator, redact::is_derived};
use crate::store::hex;

/// How a change came in.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// The component that read it, or the host's own source.
    pub source: &'a str,
    /// Who made it, if it came in by the admin server.
    pub operator: Option<&'a Operator>,
}

#[derive(Serialize)]
struct Entry<'a> {
    event_type: &'a str,
    config_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dot: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollback_to: Option<u64>,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<&'a str>,
}

/// What is told of a change's metadata; the rest is its author's.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    rollback_to: Option<u64>,
}

/// As JSON. Of a listed key not even size and hash are told, nor a name that was made of its message: who guesses a short
/// value could try it against them.
pub(super) fn entry(change: &Change, author: &Author<'_>, is_listed: bool) -> String {
    let value = change.new_value().as_str();
    let tells_value = !is_listed && !change.is_deletion();
    super::json(&Entry {
        event_type: change.event_type(),
        config_key: change.config_key(),
        tenant_id: change.tenant_id(),
        user_id: change.user_id(),
        source_node: change.source_node(),
        event_id: change.event_id().filter(|id| !(is_listed && is_derived(id))),
        dot: change.dot(),
        base: change.base(),
        fence: change.fence(),
        strategy: change.strategy(),
        value_bytes: tells_value.then_some(value.len()),
        value_sha256: tells_value.then(|| hex(&Sha256::digest(value).into())),
        rollback_to: change.metadata().and_then(|metadata| metadata.read::<Said>().ok()?.rollback_to),
        source: author.source,
        by: author.operator.map(|operator| operator.by.as_str()),
        remote: author.operator.map(|operator| operator.remote.as_str()),
    })
}

//! An event for PagerDuty's Events API v2: a conflict is one alert, from its detection to its resolution.

use super::{raw::Raw, shortened};
use crate::{config::Severity, events::CONFLICT_RESOLVED, facts::Facts};
use lockstep_plugin_api::prelude::*;
use serde::Serialize;

/// Characters of a summary, and of a name by which alerts are told apart.
const SUMMARY: usize = 1_024;
const DEDUP_KEY: usize = 255;

/// The service that is alerted, and who says so.
pub(super) struct Service<'a> {
    pub(super) routing_key: &'a Secret,
    pub(super) severity: Option<Severity>,
    pub(super) node: &'a str,
}

#[derive(Serialize)]
struct Event<'a> {
    routing_key: &'a str,
    event_action: &'static str,
    dedup_key: &'a str,
    client: &'static str,
    payload: Payload<'a>,
}

#[derive(Serialize)]
struct Payload<'a> {
    summary: String,
    source: &'a str,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    component: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    class: &'a str,
    custom_details: Raw<'a>,
}

/// The message.
///
/// # Errors
/// `Rejected`, if the event names no conflict.
pub(super) fn body(facts: &Facts<'_>, service: &Service<'_>, values: bool) -> Result<Vec<u8>> {
    let change = facts.change;
    let conflict = facts.conflict_id().filter(|id| id.len() <= DEDUP_KEY).ok_or_else(|| {
        Error::rejected(
            "bad_message",
            "the event names no conflict, so PagerDuty could not tell it from others",
        )
    })?;
    let event = Event {
        routing_key: service.routing_key.expose(),
        event_action: if change.event_type() == CONFLICT_RESOLVED { "resolve" } else { "trigger" },
        dedup_key: conflict,
        client: "Lockstep",
        payload: Payload {
            summary: shortened(&format!("{}: {}", facts.title(), facts.key_with_tenant()), SUMMARY),
            source: change.source_node().unwrap_or(service.node),
            severity: severity(facts, service.severity),
            timestamp: facts.timestamp(),
            component: change.config_key(),
            group: change.tenant_id(),
            class: change.event_type(),
            custom_details: Raw::new(facts, values),
        },
    };
    serde_json::to_vec(&event).map_err(Error::failed)
}

fn severity(facts: &Facts<'_>, configured: Option<Severity>) -> Severity {
    match configured {
        _ if facts.is_escalated() => Severity::Critical,
        Some(severity) => severity,
        None if facts.needs_decision() => Severity::Error,
        None => Severity::Warning,
    }
}

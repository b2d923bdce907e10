//! An event for PagerDuty's Events API v2: a conflict is one alert, from its detection to its resolution.

use super::{Rendered, raw::Raw, shortened};
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

/// The messages: a conflict that goes on from another one takes the place of its alert.
///
/// # Errors
/// `Rejected`, if the event names no conflict.
pub(super) fn messages(facts: &Facts<'_>, service: &Service<'_>, values: bool) -> Result<Vec<Rendered>> {
    let mut messages = Vec::new();
    if let Some(earlier) = facts.supersedes().filter(|id| id.len() <= DEDUP_KEY) {
        let id = format!("{}-superseded", facts.id);
        messages.push(message(id.into(), &event(facts, service, values, ("resolve", earlier)))?);
    }
    let conflict = facts.conflict_id().filter(|id| id.len() <= DEDUP_KEY).ok_or_else(|| {
        Error::rejected(
            "bad_message",
            "the event names no conflict, so PagerDuty could not tell it from others",
        )
    })?;
    let is_over = facts.change.event_type() == CONFLICT_RESOLVED;
    let action = if is_over { "resolve" } else { "trigger" };
    messages.push(message(facts.id.into(), &event(facts, service, values, (action, conflict)))?);
    Ok(messages)
}

fn message(id: Text, event: &Event<'_>) -> Result<Rendered> {
    Ok(Rendered { id, bytes: serde_json::to_vec(event).map_err(Error::failed)? })
}

fn event<'a>(
    facts: &'a Facts<'_>,
    service: &'a Service<'_>,
    values: bool,
    (event_action, dedup_key): (&'static str, &'a str),
) -> Event<'a> {
    let change = facts.change;
    Event {
        routing_key: service.routing_key.expose(),
        event_action,
        dedup_key,
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
    }
}

fn severity(facts: &Facts<'_>, configured: Option<Severity>) -> Severity {
    match configured {
        _ if facts.is_escalated() => Severity::Critical,
        Some(severity) => severity,
        None if facts.needs_decision() => Severity::Error,
        None => Severity::Warning,
    }
}

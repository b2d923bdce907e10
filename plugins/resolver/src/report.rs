//! What is said about a conflict: to the author, to subscribers, to the audit, and to the log.
//!
//! Changes are named by their event ids; no log line holds a value.

use crate::{siblings::Siblings, turn::Turn};
use lockstep_plugin_api::{prelude::*, time};
use serde::Serialize;
use tracing::info;
use uuid::Uuid;

/// `event_type` of the notice that changes of a key stand against each other.
const CONFLICT_DETECTED: &str = "conflict_detected";
/// `event_type` of the notice that a later change covers all of them; the guide's audit entry has the same one.
pub const CONFLICT_RESOLVED: &str = "conflict_resolved";

/// What the author of a change that met a concurrent one is told.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    resolution: Fate<'a>,
}

#[derive(Debug, Serialize)]
struct Fate<'a> {
    resolution_method: &'static str,
    winning_change: &'a str,
    discarded_changes: Vec<&'a str>,
    siblings: usize,
    /// Whether the author's own change is the one that is shown.
    won: bool,
}

/// The author's view of a conflict.
pub fn told(turn: &Turn) -> Told<'_> {
    let shown = turn.shown();
    let won = shown.winner.event_id == turn.subject().event_id;
    Told {
        resolution: Fate {
            resolution_method: shown.strategy.name(),
            winning_change: &shown.winner.event_id,
            discarded_changes: shown.discarded.iter().map(|change| change.event_id.as_str()).collect(),
            siblings: turn.after.list().len(),
            won,
        },
    }
}

/// Everything a subscriber learns beside the shown value, in `metadata`.
#[derive(Serialize)]
struct Conflict<'a> {
    conflict_id: String,
    resolution_method: &'static str,
    winning_change: &'a str,
    discarded_changes: Vec<&'a str>,
    siblings: usize,
    /// Since when it has been open, if the sweep says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_since: Option<String>,
}

/// The notice that changes of a key stand against each other; `None` if they do not. With `open_since_us` it is the
/// sweep's, about a conflict that stays open.
///
/// # Errors
/// If a stored value is no JSON, which it was when it was taken in.
pub fn detected(
    names: (Option<&str>, &str),
    siblings: &Siblings,
    open_since_us: Option<i64>,
) -> Result<Option<Record>> {
    if !siblings.is_conflict() {
        return Ok(None);
    }
    notice(CONFLICT_DETECTED, names, siblings, siblings, open_since_us).map(Some)
}

/// The notice that a change covers everything that stood against each other.
///
/// # Errors
/// As [`detected`].
pub fn resolved(names: (Option<&str>, &str), turn: &Turn) -> Result<Record> {
    notice(CONFLICT_RESOLVED, names, &turn.before, &turn.after, None)
}

/// A notice about the conflict that `open` was, with the value that `now` shows: a subscriber that takes a notice for a
/// change still learns nothing wrong.
fn notice(
    event_type: &str,
    (tenant, key): (Option<&str>, &str),
    open: &Siblings,
    now: &Siblings,
    open_since_us: Option<i64>,
) -> Result<Record> {
    let now_us = time::now_us();
    let mut notice =
        Change::new(key, now.value().map_or_else(|| Ok(Json::null()), |value| Json::parse(value))?);
    notice.set_event_type(event_type);
    notice.set_tenant_id(tenant.map(Text::from));
    notice.set_event_id(Some(Uuid::now_v7().to_string().into()));
    notice.set_timestamp_us(Some(now_us));
    if let Some(shown) = now.shown() {
        let discarded = open.list().iter().filter(|change| change.dot != shown.winner.dot);
        let conflict = Conflict {
            conflict_id: open.conflict_id().to_string(),
            resolution_method: shown.strategy.name(),
            winning_change: &shown.winner.event_id,
            discarded_changes: discarded.map(|change| change.event_id.as_str()).collect(),
            siblings: now.list().len(),
            open_since: open_since_us.map(time::format_us),
        };
        notice.set_metadata(Some(Json::write(&conflict)?));
        notice.set_strategy(Some(shown.strategy.name().into()));
    }
    Ok(Record::notice(notice))
}

/// The guide's audit entry of a resolution, with what tells the changes apart.
#[derive(Debug, Serialize)]
pub struct AuditEntry<'a> {
    pub event_type: &'static str,
    pub config_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<&'a str>,
    pub resolution_strategy: &'static str,
    pub competing_changes_count: usize,
    pub resolution_method: &'static str,
    pub resolved_value: Option<Json>,
    pub timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winning_change: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discarded_changes: Vec<&'a str>,
}

/// The audit entry of a conflict that a strategy decided.
///
/// # Errors
/// As [`detected`].
pub fn audit_entry<'a>((tenant, key): (Option<&'a str>, &'a str), turn: &'a Turn) -> Result<AuditEntry<'a>> {
    let shown = turn.shown();
    Ok(AuditEntry {
        event_type: CONFLICT_RESOLVED,
        config_key: key,
        tenant_id: tenant,
        resolution_strategy: shown.strategy.name(),
        competing_changes_count: 1 + shown.discarded.len(),
        resolution_method: shown.strategy.name(),
        resolved_value: shown.winner.value.as_ref().map(|value| Json::parse(value)).transpose()?,
        timestamp: time::format_us(time::now_us()),
        conflict_id: Some(turn.after.conflict_id().to_string()),
        winning_change: Some(&shown.winner.event_id),
        discarded_changes: shown.discarded.iter().map(|change| change.event_id.as_str()).collect(),
    })
}

/// One line per resolution, in the guide's words.
pub fn log_resolved((tenant, key): (Option<&str>, &str), turn: &Turn) {
    let shown = turn.shown();
    let (winner, n_siblings) = (shown.winner.event_id.as_str(), turn.after.list().len());
    info!(config_key = key, tenant, winner, n_siblings, "Conflict resolved for {key}: {}", shown.strategy);
}

/// One line when nothing stands against each other any more.
pub fn log_closed((tenant, key): (Option<&str>, &str), turn: &Turn) {
    let by = turn.subject().event_id.as_str();
    info!(config_key = key, tenant, by, "conflict closed by a later change");
}

//! What is said about a conflict: to the author, to subscribers, to the audit, and to the log.
//!
//! Changes are named by their event ids; no log line holds a value.

use crate::{
    conflict::Conflict,
    siblings::{Outcome, Siblings},
    strategy::{Method, Resolution},
    turn::Turn,
};
use lockstep_plugin_api::{prelude::*, time};
use serde::Serialize;
use tracing::info;
use uuid::Uuid;

/// `event_type` of the notice that changes of a key stand against each other.
const CONFLICT_DETECTED: &str = "conflict_detected";
/// `event_type` of the notice that a later change covers all of them; the guide's audit entry has the same one.
pub const CONFLICT_RESOLVED: &str = "conflict_resolved";

/// The guide's result of a resolution, with what it leaves out. `C` is how a change is named.
#[derive(Debug, Serialize)]
pub struct Fields<'a, C> {
    /// `null` if the key is removed.
    pub resolved_value: Option<Json>,
    #[serde(flatten)]
    pub method: &'a Method,
    /// The change whose value is shown as it is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winning_change: Option<C>,
    /// The changes that are in what is shown, unless that is one alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub applied_changes: Vec<C>,
    pub discarded_changes: Vec<C>,
    pub conflicts: &'a [Conflict],
    pub base_revision: Option<u64>,
}

impl<'a, C: Clone> Fields<'a, C> {
    /// The result about these changes, which are named by their places.
    ///
    /// # Errors
    /// If the resolved value is no JSON, which every change's was when it was taken in.
    pub fn of(resolution: &'a Resolution, changes: &[C], base_revision: Option<u64>) -> Result<Self> {
        let named = |places: &[usize]| places.iter().map(|at| changes[*at].clone()).collect();
        let applied = if resolution.winner.is_none() { resolution.applied.as_slice() } else { &[] };
        Ok(Self {
            resolved_value: resolution.value.as_ref().map(|value| Json::parse(value)).transpose()?,
            method: &resolution.method,
            winning_change: resolution.winner.map(|winner| changes[winner].clone()),
            applied_changes: named(applied),
            discarded_changes: named(&resolution.discarded),
            conflicts: &resolution.conflicts,
            base_revision,
        })
    }
}

/// What the author of a change that met a concurrent one is told.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    resolution: Fate<'a>,
}

#[derive(Debug, Serialize)]
struct Fate<'a> {
    #[serde(flatten)]
    fields: Fields<'a, &'a str>,
    /// How many changes stand.
    siblings: usize,
    /// Whether the author's own change is the one that is shown; absent where what is shown is made of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    won: Option<bool>,
}

/// The author's view of a conflict.
///
/// # Errors
/// As [`Fields::of`].
pub fn told<'a>(turn: &'a Turn, outcome: &'a Outcome) -> Result<Told<'a>> {
    let fields = Fields::of(&outcome.resolution, &names(outcome), turn.base_revision)?;
    let won = fields.winning_change.map(|winner| winner == turn.subject().event_id.as_str());
    Ok(Told { resolution: Fate { fields, siblings: turn.after.list().len(), won } })
}

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.changes.iter().map(Text::as_str).collect()
}

/// Everything a subscriber learns beside the shown value, in `metadata`.
#[derive(Serialize)]
struct Metadata<'a> {
    conflict_id: String,
    resolution_method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    winning_change: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    applied_changes: Vec<&'a str>,
    discarded_changes: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conflicts: &'a [Conflict],
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
    key: (Option<&str>, &str),
    siblings: &Siblings,
    outcome: Option<&Outcome>,
    open_since_us: Option<i64>,
) -> Result<Option<Record>> {
    let Some(outcome) = outcome.filter(|_| siblings.is_conflict()) else { return Ok(None) };
    let fields = Fields::of(&outcome.resolution, &names(outcome), None)?;
    let metadata = Metadata {
        conflict_id: siblings.conflict_id().to_string(),
        resolution_method: fields.method.name(),
        winning_change: fields.winning_change,
        applied_changes: fields.applied_changes,
        discarded_changes: fields.discarded_changes,
        conflicts: fields.conflicts,
        siblings: siblings.list().len(),
        open_since: open_since_us.map(time::format_us),
    };
    let shown = fields.resolved_value.unwrap_or_else(Json::null);
    notice(CONFLICT_DETECTED, key, shown, &metadata, outcome.strategy.name()).map(Some)
}

/// The notice that a change covers everything that stood against each other.
///
/// # Errors
/// As [`detected`].
pub fn resolved(key: (Option<&str>, &str), turn: &Turn) -> Result<Record> {
    let by = turn.subject();
    let stood = turn.before.list().iter().filter(|change| change.dot != by.dot);
    let strategy = by.strategy.in_force().name();
    let metadata = Metadata {
        conflict_id: turn.before.conflict_id().to_string(),
        resolution_method: strategy,
        winning_change: Some(&by.event_id),
        applied_changes: Vec::new(),
        discarded_changes: stood.map(|change| change.event_id.as_str()).collect(),
        conflicts: &[],
        siblings: turn.after.list().len(),
        open_since: None,
    };
    let shown = turn.new_value().map_or_else(|| Ok(Json::null()), |value| Json::parse(value))?;
    notice(CONFLICT_RESOLVED, key, shown, &metadata, strategy)
}

/// A notice with the value that is shown now: a subscriber that takes a notice for a change still learns nothing wrong.
fn notice(
    event_type: &str,
    (tenant, key): (Option<&str>, &str),
    shown: Json,
    metadata: &Metadata<'_>,
    strategy: &str,
) -> Result<Record> {
    let mut notice = Change::new(key, shown);
    notice.set_event_type(event_type);
    notice.set_tenant_id(tenant.map(Text::from));
    notice.set_event_id(Some(Uuid::now_v7().to_string().into()));
    notice.set_timestamp_us(Some(time::now_us()));
    notice.set_metadata(Some(Json::write(metadata)?));
    notice.set_strategy(Some(strategy.into()));
    Ok(Record::notice(notice))
}

/// The guide's audit entry of a resolution, with what tells the changes apart.
#[derive(Debug, Serialize)]
pub struct AuditEntry<'a, C> {
    pub event_type: &'static str,
    pub config_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<&'a str>,
    pub resolution_strategy: &'static str,
    pub competing_changes_count: usize,
    #[serde(flatten)]
    pub fields: Fields<'a, C>,
    pub timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_id: Option<String>,
}

/// The audit entry of a conflict that a strategy decided.
///
/// # Errors
/// As [`Fields::of`].
pub fn audit_entry<'a>(
    (tenant, key): (Option<&'a str>, &'a str),
    turn: &Turn,
    outcome: &'a Outcome,
) -> Result<AuditEntry<'a, &'a str>> {
    Ok(AuditEntry {
        event_type: CONFLICT_RESOLVED,
        config_key: key,
        tenant_id: tenant,
        resolution_strategy: outcome.strategy.name(),
        competing_changes_count: outcome.changes.len(),
        fields: Fields::of(&outcome.resolution, &names(outcome), turn.base_revision)?,
        timestamp: time::format_us(time::now_us()),
        conflict_id: turn.after.is_conflict().then(|| turn.after.conflict_id().to_string()),
    })
}

/// One line per resolution, in the guide's words.
pub fn log_resolved((tenant, key): (Option<&str>, &str), outcome: &Outcome) {
    let method = outcome.resolution.method.name();
    let (n_changes, n_conflicts) = (outcome.changes.len(), outcome.resolution.conflicts.len());
    info!(config_key = key, tenant, n_changes, n_conflicts, "Conflict resolved for {key}: {method}");
}

/// One line when nothing stands against each other any more.
pub fn log_closed((tenant, key): (Option<&str>, &str), turn: &Turn) {
    let by = turn.subject().event_id.as_str();
    info!(config_key = key, tenant, by, "conflict closed by a later change");
}

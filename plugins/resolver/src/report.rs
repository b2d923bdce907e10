//! What is said about a conflict to the author, to the audit, and to the log; `notice` is what subscribers are told.
//!
//! Changes are named by their event ids; no log line holds a value.

use crate::{
    conflict::Conflict,
    manual::Case,
    siblings::Outcome,
    strategy::{Method, Resolution, Strategy},
    turn::Turn,
};
use lockstep_plugin_api::{prelude::*, time, transform::OWN_REVISION};
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::info;
use uuid::Uuid;

/// `event_type` of the notice that changes of a key stand against each other.
pub const CONFLICT_DETECTED: &str = "conflict_detected";
/// `event_type` of the notice that a later change covers all of them; the guide's audit entry has the same one.
pub const CONFLICT_RESOLVED: &str = "conflict_resolved";

/// The guide's result of a resolution, with what it leaves out. `C` is how a change is named.
#[derive(Debug, Serialize)]
pub struct Fields<'a, C> {
    /// `null` if the key is removed, and while somebody has to decide.
    pub resolved_value: Option<Json>,
    #[serde(flatten)]
    pub method: &'a Method,
    #[serde(flatten)]
    pub pending: Option<Pending<C>>,
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

/// What is said of a conflict that somebody has to decide.
#[derive(Debug, Serialize)]
pub struct Pending<C> {
    conflict_id: Uuid,
    requires_human_intervention: bool,
    /// The change whose value is shown meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown_change: Option<C>,
}

impl<'a, C: Clone> Fields<'a, C> {
    /// The result about these changes, which are named by their places. `conflict_id` is asked for if somebody has to
    /// decide.
    ///
    /// # Errors
    /// If the resolved value is no JSON, which every change's was when it was taken in.
    pub fn of(
        resolution: &'a Resolution,
        changes: &[C],
        base_revision: Option<u64>,
        conflict_id: impl FnOnce() -> Uuid,
    ) -> Result<Self> {
        let named = |places: &[usize]| places.iter().map(|at| changes[*at].clone()).collect();
        let applied = if resolution.winner.is_none() { resolution.applied.as_slice() } else { &[] };
        let pending = resolution.is_pending().then(|| Pending {
            conflict_id: conflict_id(),
            requires_human_intervention: true,
            shown_change: changes.last().cloned(),
        });
        let value = resolution.value.as_ref().filter(|_| pending.is_none());
        Ok(Self {
            resolved_value: value.map(|value| Json::parse(value)).transpose()?,
            method: &resolution.method,
            pending,
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
    /// The revision of the entry that shows it; `null` while somebody has to decide.
    resolved_revision: Option<&'static str>,
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
    let fields =
        Fields::of(&outcome.resolution, &names(outcome), turn.base_revision, || turn.after.conflict_id())?;
    let won = fields.winning_change.map(|winner| winner == turn.subject().event_id.as_str());
    let resolved_revision = fields.pending.is_none().then_some(OWN_REVISION);
    Ok(Told { resolution: Fate { fields, resolved_revision, siblings: turn.after.list().len(), won } })
}

fn names(outcome: &Outcome) -> Vec<&str> {
    outcome.changes.iter().map(Text::as_str).collect()
}

/// The guide's audit entry of a resolution, with what tells the changes apart.
#[derive(Debug, Serialize)]
pub struct AuditEntry<'a, C> {
    pub event_type: &'static str,
    pub config_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<&'a str>,
    /// Who made the change that met others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    pub resolution_strategy: &'static str,
    pub competing_changes_count: usize,
    #[serde(flatten)]
    pub fields: Fields<'a, C>,
    pub timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_id: Option<Uuid>,
}

/// The audit entry of a conflict that a strategy decided.
///
/// # Errors
/// As [`Fields::of`].
pub fn audit_entry<'a>(
    (tenant, key): (Option<&'a str>, &'a str),
    turn: &'a Turn,
    outcome: &'a Outcome,
) -> Result<AuditEntry<'a, &'a str>> {
    let is_pending = outcome.resolution.is_pending();
    let is_open = turn.after.is_conflict() && !is_pending;
    Ok(AuditEntry {
        event_type: if is_pending { CONFLICT_DETECTED } else { CONFLICT_RESOLVED },
        config_key: key,
        tenant_id: tenant,
        user_id: turn.subject().user_id.as_deref(),
        resolution_strategy: outcome.strategy.name(),
        competing_changes_count: outcome.changes.len(),
        fields: Fields::of(&outcome.resolution, &names(outcome), turn.base_revision, || {
            turn.after.conflict_id()
        })?,
        timestamp: time::format_us(time::now_us()),
        conflict_id: is_open.then(|| turn.after.conflict_id()),
    })
}

/// The audit entry of a case that somebody decided: who, what, and between what.
#[derive(Debug, Serialize)]
pub struct DecisionEntry<'a> {
    event_type: &'static str,
    config_key: &'a str,
    tenant_id: Option<&'a str>,
    conflict_id: Uuid,
    resolution_strategy: &'static str,
    competing_changes_count: usize,
    resolution_method: &'a str,
    resolved_value: Option<Json>,
    user_id: Option<&'a str>,
    winning_change: &'a str,
    discarded_changes: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'a RawValue>,
    timestamp: String,
}

/// The audit entry of a case that a change ended; `None` if it was not decided by that.
///
/// # Errors
/// As [`Fields::of`].
pub fn decision_entry<'a>(turn: &'a Turn, case: &'a Case) -> Result<Option<DecisionEntry<'a>>> {
    let Some(decision) = &case.resolution else { return Ok(None) };
    let (tenant_id, config_key) = case.names();
    let discarded = case.competing_changes.iter().map(|one| one.event_id.as_str());
    Ok(Some(DecisionEntry {
        event_type: CONFLICT_RESOLVED,
        config_key,
        tenant_id,
        conflict_id: case.conflict_id,
        resolution_strategy: Strategy::ManualResolution.name(),
        competing_changes_count: case.n_changes,
        resolution_method: &decision.resolution_method,
        resolved_value: turn.new_value().map(|value| Json::parse(value)).transpose()?,
        user_id: decision.user_id.as_deref(),
        winning_change: &decision.event_id,
        discarded_changes: discarded.filter(|one| *one != decision.event_id).collect(),
        how: decision.how.as_deref(),
        timestamp: time::format_us(decision.resolved_at.0),
    }))
}

/// One line per resolution, in the guide's words.
pub fn log_resolved((tenant, key): (Option<&str>, &str), outcome: &Outcome) {
    let method = outcome.resolution.method.name();
    let (n_changes, n_conflicts) = (outcome.changes.len(), outcome.resolution.conflicts.len());
    if outcome.resolution.is_pending() {
        info!(config_key = key, tenant, n_changes, "a conflict of {key} waits for a decision: {method}");
    } else {
        info!(config_key = key, tenant, n_changes, n_conflicts, "Conflict resolved for {key}: {method}");
    }
}

/// One line when somebody has decided a case, in the guide's words.
pub fn log_decided(case: &Case) {
    let ((tenant, key), conflict_id) = (case.names(), case.conflict_id);
    let method = case.resolution.as_ref().map_or("", |decision| decision.resolution_method.as_str());
    info!(config_key = key, tenant, %conflict_id, "Conflict resolved for {key}: {method}");
}

/// One line when nothing stands against each other any more.
pub fn log_closed((tenant, key): (Option<&str>, &str), turn: &Turn) {
    let by = turn.subject().event_id.as_str();
    info!(config_key = key, tenant, by, "conflict closed by a later change");
}

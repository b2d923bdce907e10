//! The notices of conflicts: what subscribers, sinks that take notices, and whoever has to decide are told.
//!
//! A notice shows the value that the key shows, so that a subscriber that takes it for a change still learns nothing wrong.
//! About a conflict that a person decides it holds the record of the case; what is sealed, or large, is not in it.

use crate::{
    conflict::Conflict,
    manual::{Case, MOST_BYTES, Moved, Time},
    report::{CONFLICT_DETECTED, CONFLICT_RESOLVED},
    siblings::{Outcome, Siblings},
    turn::Turn,
};
use lockstep_plugin_api::{prelude::*, time};
use serde::Serialize;
use uuid::Uuid;

/// `event_type` of the notice that somebody is to decide a conflict, or nobody any more.
const CONFLICT_ASSIGNED: &str = "conflict_assigned";

/// Everything a subscriber learns beside the shown value, in `metadata`.
#[derive(Serialize)]
struct Metadata<'a> {
    conflict_id: Uuid,
    resolution_method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    winning_change: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    applied_changes: Vec<&'a str>,
    discarded_changes: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conflicts: &'a [Conflict],
    siblings: usize,
    /// Since when it has been open, if it is told again.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_since: Option<Time>,
    #[serde(flatten)]
    waiting: Option<Waiting<'a>>,
    /// The record of the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict_record: Option<&'a Case>,
    /// The record of the case that this one goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_record: Option<&'a Case>,
}

/// What is said while somebody has to decide.
#[derive(Serialize)]
struct Waiting<'a> {
    requires_human_intervention: bool,
    assigned_to: Option<&'a str>,
    expires_at: Time,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    escalated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    supersedes: Option<Uuid>,
}

impl<'a> Waiting<'a> {
    fn of(case: &'a Case) -> Self {
        Self {
            requires_human_intervention: true,
            assigned_to: case.assigned_to.as_deref(),
            expires_at: case.expires_at,
            escalated: case.escalated_at.is_some(),
            supersedes: case.supersedes,
        }
    }
}

impl<'a> Metadata<'a> {
    /// What stands against each other.
    fn of_open(siblings: &Siblings, outcome: &'a Outcome) -> Self {
        let resolution = &outcome.resolution;
        let named = |places: &[usize]| places.iter().map(|at| outcome.changes[*at].as_str()).collect();
        let applied = if resolution.winner.is_none() { resolution.applied.as_slice() } else { &[] };
        Self {
            conflict_id: siblings.conflict_id(),
            resolution_method: resolution.method.name(),
            winning_change: resolution.winner.map(|winner| outcome.changes[winner].as_str()),
            applied_changes: named(applied),
            discarded_changes: named(&resolution.discarded),
            conflicts: &resolution.conflicts,
            siblings: siblings.list().len(),
            open_since: None,
            waiting: None,
            conflict_record: None,
            superseded_record: None,
        }
    }

    /// With what is known of the case.
    fn waiting(self, record: &'a Case) -> Self {
        let (waiting, conflicts) = (Some(Waiting::of(record)), record.conflicts.as_slice());
        Self { waiting, conflicts, conflict_record: Some(record), ..self }
    }
}

/// The notice that changes of a key stand against each other; `None` if they do not.
///
/// # Errors
/// If a stored value is no JSON, which it was when it was taken in.
pub fn detected(key: (Option<&str>, &str), turn: &Turn, moved: &Moved) -> Result<Option<Record>> {
    let Some(outcome) = turn.outcome().filter(|_| turn.after.is_conflict()) else { return Ok(None) };
    let record = moved.opened.as_ref().map(|case| case.showing(&turn.after, MOST_BYTES));
    let metadata = Metadata::of_open(&turn.after, outcome);
    let mut metadata = match &record {
        Some(record) => metadata.waiting(record),
        None => metadata,
    };
    metadata.superseded_record = moved.closed.as_ref().filter(|_| moved.opened.is_some());
    notice(CONFLICT_DETECTED, key, shown(outcome)?, &metadata, outcome).map(Some)
}

/// The sweep's notice that changes still stand against each other; `None` if they do not.
///
/// # Errors
/// As [`detected`].
pub fn still_open(key: (Option<&str>, &str), siblings: &Siblings, since: Time) -> Result<Option<Record>> {
    let Some(outcome) = siblings.outcome().filter(|_| siblings.is_conflict()) else { return Ok(None) };
    let metadata = Metadata { open_since: Some(since), ..Metadata::of_open(siblings, &outcome) };
    notice(CONFLICT_DETECTED, key, shown(&outcome)?, &metadata, &outcome).map(Some)
}

/// The notice that somebody still has to decide.
///
/// # Errors
/// As [`detected`].
pub fn reminder(case: &Case, siblings: &Siblings) -> Result<Option<Record>> {
    of_case(CONFLICT_DETECTED, case, siblings)
}

/// The notice that somebody is to decide it, or nobody any more.
///
/// # Errors
/// As [`detected`].
pub fn assigned(case: &Case, siblings: &Siblings) -> Result<Option<Record>> {
    of_case(CONFLICT_ASSIGNED, case, siblings)
}

fn of_case(event_type: &str, case: &Case, siblings: &Siblings) -> Result<Option<Record>> {
    let Some(outcome) = siblings.outcome() else { return Ok(None) };
    let record = case.showing(siblings, MOST_BYTES);
    let metadata = Metadata { open_since: Some(case.open_since), ..Metadata::of_open(siblings, &outcome) };
    notice(event_type, case.names(), shown(&outcome)?, &metadata.waiting(&record), &outcome).map(Some)
}

/// The notice that a change covers everything that stood against each other, or that a case is decided.
///
/// # Errors
/// As [`detected`].
pub fn resolved(key: (Option<&str>, &str), turn: &Turn, moved: &Moved) -> Result<Record> {
    let by = turn.subject();
    let stood = turn.before.list().iter().filter(|change| change.dot != by.dot);
    let metadata = Metadata {
        conflict_id: turn.before.conflict_id(),
        resolution_method: by.strategy.name(),
        winning_change: Some(&by.event_id),
        applied_changes: Vec::new(),
        discarded_changes: stood.map(|change| change.event_id.as_str()).collect(),
        conflicts: &[],
        siblings: turn.after.list().len(),
        open_since: None,
        waiting: None,
        conflict_record: moved.decided(),
        superseded_record: None,
    };
    let shown = turn.new_value().map_or_else(|| Ok(Json::null()), |value| Json::parse(value))?;
    let mut notice = made(CONFLICT_RESOLVED, key, shown, &metadata, by.strategy.name())?;
    notice.set_user_id(by.user_id.clone());
    Ok(Record::notice(notice))
}

fn shown(outcome: &Outcome) -> Result<Json> {
    outcome.resolution.value.as_ref().map_or_else(|| Ok(Json::null()), |value| Json::parse(value))
}

fn notice(
    event_type: &str,
    key: (Option<&str>, &str),
    shown: Json,
    metadata: &Metadata<'_>,
    outcome: &Outcome,
) -> Result<Record> {
    made(event_type, key, shown, metadata, outcome.strategy.name()).map(Record::notice)
}

fn made(
    event_type: &str,
    (tenant, key): (Option<&str>, &str),
    shown: Json,
    metadata: &Metadata<'_>,
    strategy: &str,
) -> Result<Change> {
    let mut notice = Change::new(key, shown);
    notice.set_event_type(event_type);
    notice.set_tenant_id(tenant.map(Text::from));
    notice.set_event_id(Some(Uuid::now_v7().to_string().into()));
    notice.set_timestamp_us(Some(time::now_us()));
    notice.set_metadata(Some(Json::write(metadata)?));
    notice.set_strategy(Some(strategy.into()));
    Ok(notice)
}

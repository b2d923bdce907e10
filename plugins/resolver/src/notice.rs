//! The notices of conflicts: what subscribers, sinks that take notices, and whoever has to decide are told.
//!
//! A notice shows the value that the key shows, so that a subscriber that takes it for a change still learns nothing wrong.
//! What competing authors want is told in `siblings`, as a change tells it, and nowhere else: whoever seals values finds
//! them there. Where that is too much, or sealed already, the notice names the changes alone.

use crate::{
    conflict::Conflict,
    manual::{Case, Decision, MOST_BYTES, Moved, Status, Time, Wanted, Withheld, withheld},
    report::{CONFLICT_DETECTED, CONFLICT_RESOLVED},
    siblings::{Outcome, Siblings},
    turn::Turn,
    wire,
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
    /// The conflict whose place this one takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    supersedes: Option<Uuid>,
    #[serde(flatten)]
    case: Option<OfCase<'a>>,
    /// The case that this one goes on from, as it is from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_record: Option<Case>,
}

/// What is said of a conflict that a person decides: the fields of its record, but for what the change itself says.
#[derive(Serialize)]
struct OfCase<'a> {
    requires_human_intervention: bool,
    status: Status,
    competing_changes: Vec<Wanted>,
    /// Why `siblings` is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<Withheld>,
    created_at: Time,
    expires_at: Time,
    assigned_to: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    escalated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<&'a Decision>,
}

impl<'a> OfCase<'a> {
    /// The case of what stood, or stands, against each other.
    fn new(case: &'a Case, siblings: &Siblings) -> Self {
        let is_pending = case.status == Status::Pending;
        Self {
            requires_human_intervention: is_pending,
            status: case.status,
            competing_changes: siblings.contenders().iter().map(|one| Wanted::named(one, None)).collect(),
            withheld: withheld(siblings, MOST_BYTES),
            created_at: case.created_at,
            expires_at: case.expires_at,
            assigned_to: case.assigned_to.as_deref(),
            escalated: is_pending && case.escalated_at.is_some(),
            resolution: case.resolution.as_ref(),
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
            supersedes: None,
            case: None,
            superseded_record: None,
        }
    }

    /// With what is known of the case.
    fn of_case(self, case: &'a Case, siblings: &Siblings) -> Self {
        let supersedes = case.supersedes.or(self.supersedes);
        let case = OfCase::new(case, siblings);
        let conflicts = if case.withheld.is_some() { &[] } else { self.conflicts };
        Self { case: Some(case), conflicts, supersedes, ..self }
    }
}

/// The notice that changes of a key stand against each other; `None` if they do not.
///
/// # Errors
/// If a stored value is no JSON, which it was when it was taken in.
pub fn detected(key: (Option<&str>, &str), turn: &Turn, moved: &Moved) -> Result<Option<Record>> {
    let Some(outcome) = turn.outcome().filter(|_| turn.after.is_conflict()) else { return Ok(None) };
    let supersedes = superseded(turn, moved);
    let metadata = Metadata { supersedes, ..Metadata::of_open(&turn.after, outcome) };
    let Some(case) = &moved.opened else {
        return notice(CONFLICT_DETECTED, key, shown(outcome)?, &metadata, outcome)
            .map(|it| Some(Record::notice(it)));
    };
    let superseded_record = moved.closed.as_ref().map(Case::without_values);
    let metadata = Metadata { superseded_record, ..metadata.of_case(case, &turn.after) };
    let notice = notice(CONFLICT_DETECTED, key, shown(outcome)?, &metadata, outcome)?;
    with_siblings(notice, &turn.after).map(Some)
}

/// The conflict that stood before and that the one that stands now goes on from, unless it was decided.
fn superseded(turn: &Turn, moved: &Moved) -> Option<Uuid> {
    let stood = turn.before.is_conflict() && moved.decided().is_none();
    stood.then(|| turn.before.conflict_id()).filter(|id| *id != turn.after.conflict_id())
}

/// The sweep's notice that changes still stand against each other; `None` if they do not.
///
/// # Errors
/// As [`detected`].
pub fn still_open(key: (Option<&str>, &str), siblings: &Siblings, since: Time) -> Result<Option<Record>> {
    let Some(outcome) = siblings.outcome().filter(|_| siblings.is_conflict()) else { return Ok(None) };
    let metadata = Metadata { open_since: Some(since), ..Metadata::of_open(siblings, &outcome) };
    notice(CONFLICT_DETECTED, key, shown(&outcome)?, &metadata, &outcome).map(|it| Some(Record::notice(it)))
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
    let metadata = Metadata { open_since: Some(case.open_since), ..Metadata::of_open(siblings, &outcome) };
    let metadata = metadata.of_case(case, siblings);
    let notice = notice(event_type, case.names(), shown(&outcome)?, &metadata, &outcome)?;
    with_siblings(notice, siblings).map(Some)
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
        supersedes: moved.decided().and_then(|case| case.supersedes),
        case: moved.decided().map(|case| OfCase::new(case, &turn.before)),
        superseded_record: None,
    };
    let shown = turn.new_value().map_or_else(|| Ok(Json::null()), |value| Json::parse(value))?;
    let mut notice = made(CONFLICT_RESOLVED, key, shown, &metadata, by.strategy.name())?;
    notice.set_user_id(by.user_id.clone());
    match moved.decided() {
        Some(_) => with_siblings(notice, &turn.before),
        None => Ok(Record::notice(notice)),
    }
}

/// The notice with what each author wants, unless that is too much.
fn with_siblings(mut notice: Change, siblings: &Siblings) -> Result<Record> {
    if withheld(siblings, MOST_BYTES).is_none() {
        notice.set_siblings(Some(wire::siblings_json(siblings)?));
    }
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
) -> Result<Change> {
    made(event_type, key, shown, metadata, outcome.strategy.name())
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

//! `/v1/keys`: what is configured now, what was before, who changed what of it, and the way back.

mod moment;
mod version;
mod list;
mod show;
mod history;
mod room;
mod compared;
mod diff;
mod blame;
mod rollback;

pub(super) use blame::blame;
pub(super) use diff::diff;
pub(super) use history::history;
pub(super) use list::list;
pub use moment::Moment;
pub(super) use rollback::rollback;
pub(super) use show::show;

use super::answer::Refusal;
use crate::log::Log;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use lockstep_plugin_api::{Change, Record, time};
use serde::Deserialize;

/// How many are listed unless asked otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// How many changes of a key are read at once: each holds its value.
const READ: usize = 16;

/// Of a key, when nothing else is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyAsked {
    tenant: Option<String>,
}

/// What was asked in the query.
pub(super) fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    let Query(asked) = query.map_err(|rejection| Refusal::bad_message(rejection.body_text()))?;
    Ok(asked)
}

/// A change as JSON, with its epoch and revision, and when the host committed it: a moment of history is meant by that, and
/// not by the time its author says.
pub(super) fn committed(log: &Log, record: &Record) -> Result<String, Refusal> {
    let text = text(record);
    let revision = record.known_change().and_then(Change::revision);
    let at_us = revision.map(|revision| log.committed_at(revision)).transpose()?.flatten();
    // No change has a field of that name: what a log does not know of it does not keep.
    Ok(match (at_us, text.strip_prefix('{')) {
        (Some(at_us), Some(rest)) => format!(r#"{{"committed_at":"{}",{rest}"#, time::format_us(at_us)),
        _ => text,
    })
}

/// A change as JSON, with its epoch and revision.
pub(super) fn text(record: &Record) -> String {
    let value = record.value().unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

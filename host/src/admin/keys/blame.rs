//! Which change gave a key each part of its value.

use super::super::HostView;
use super::super::answer::{Refusal, apart};
use super::super::log_view::check_names;
use super::room::Room;
use super::show::no_value;
use super::version::{Version, Versions};
use super::{KeyAsked, READ, asked};
use crate::history::{Blame, Part, Tree};
use crate::log::Before;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use lockstep_plugin_api::{Change, Json, Record, time};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Bytes of a key's changes that are looked through at most: what is older than that is not told.
const MAX_BYTES: usize = 256 << 20;

/// What a change counts beside its value: who made it is kept.
const CHANGE_BYTES: usize = 512;

#[derive(Serialize)]
struct Answer<'a> {
    config_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    epoch: &'a str,
    revision: Option<u64>,
    /// The oldest change that was looked at. A part without a revision is as old as it, or older.
    reaches_back_to: Option<u64>,
    parts: Box<RawValue>,
}

#[derive(Serialize)]
struct ShownPart<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    value: &'a RawValue,
    #[serde(flatten)]
    by: &'a By,
}

/// Who made a change, and when.
#[derive(Default, Serialize)]
struct By {
    revision: Option<u64>,
    user_id: Option<String>,
    timestamp: Option<String>,
    source_node: Option<String>,
}

pub(in crate::admin) async fn blame(
    State(host): State<Arc<HostView>>,
    Path(key): Path<String>,
    query: Result<Query<KeyAsked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let KeyAsked { tenant } = asked(query)?;
    check_names(tenant.as_deref(), &key)?;
    apart(move || {
        let log = &host.log.log;
        let versions = Versions { log, tenant: tenant.as_deref(), key: &key };
        let newest = versions.newest()?;
        let revision = newest.revision;
        let value = newest.tree().ok_or_else(|| no_value(&key, &newest))?;
        let blame = Blame::of(&value)?;
        drop(value);
        let Looked { blame, changes } = look(versions, newest, blame)?;
        let nobody = By::default();
        let parts = blame.parts();
        let parts: Vec<_> = parts.iter().map(|part| ShownPart::of(part, &changes, &nobody)).collect();
        let parts = Room::default().write(&parts)?;
        let reaches_back_to = changes.last().and_then(|change| change.revision);
        let (tenant_id, epoch) = (tenant.as_deref(), log.epoch());
        let answer = Answer { config_key: &key, tenant_id, epoch, revision, reaches_back_to, parts };
        Ok(axum::Json(answer).into_response())
    })
    .await
}

struct Looked {
    blame: Blame,
    /// From the newest back.
    changes: Vec<By>,
}

/// Looks at change after change, going back, until every part has one.
fn look(versions: Versions<'_>, newest: Version, blame: Blame) -> Result<Looked, Refusal> {
    let mut looked = Looked { blame, changes: Vec::new() };
    let (mut after, mut n_bytes) = (newest, 0);
    while !looked.blame.is_done() && n_bytes < MAX_BYTES {
        let history = versions.log.history(versions.tenant, versions.key, after.revision, READ)?;
        for record in history.records {
            n_bytes += size(&record);
            let before = Version::of(record);
            looked.at(&after, before.value.as_ref());
            after = before;
            if looked.blame.is_done() {
                return Ok(looked);
            }
        }
        match history.before {
            Before::More => continue,
            Before::Nothing => looked.at(&after, None),
            Before::Compacted => match after.replaced() {
                Some(replaced) => looked.at(&after, replaced.as_ref()),
                None => looked.changes.push(By::of(&after)),
            },
        }
        break;
    }
    Ok(looked)
}

fn size(record: &Record) -> usize {
    CHANGE_BYTES + record.known_change().map_or(0, |change| change.new_value().as_str().len())
}

impl<'a> ShownPart<'a> {
    fn of(part: &'a Part, changes: &'a [By], nobody: &'a By) -> Self {
        let by = part.by.and_then(|by| changes.get(by)).unwrap_or(nobody);
        Self { path: &part.path, line: part.line, value: &part.value, by }
    }
}

impl Looked {
    fn at(&mut self, after: &Version, before: Option<&Json>) {
        let before = before.map(|value| Tree::of(value.as_str()));
        if let Some(after) = after.tree() {
            self.blame.changed(&after, before.as_ref());
        }
        self.changes.push(By::of(after));
    }
}

impl By {
    fn of(version: &Version) -> Self {
        let change = version.change();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            revision: version.revision,
            user_id: owned(change.and_then(Change::user_id)),
            timestamp: change.and_then(Change::timestamp_us).map(time::format_us),
            source_node: owned(change.and_then(Change::source_node)),
        }
    }
}

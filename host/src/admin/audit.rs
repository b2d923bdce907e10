//! `/v1/audit`: who did what, whether it is all there, and the whole of it as a file.

use super::HostView;
use super::answer::{Refusal, apart};
use super::keys::asked;
use crate::audit::{self, Broken, Export, Filter, Step, Verified, Walk, WalkError};
use crate::store::{AuditRecord, Link, Store, hex};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use lockstep_plugin_api::glob::Glob;
use lockstep_plugin_api::time;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// How many entries are listed unless asked otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListAsked {
    key: Option<String>,
    tenant: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    since: Option<String>,
    before: Option<u64>,
    limit: Option<NonZeroUsize>,
}

/// Some entries, the newest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditList {
    pub entries: Vec<AuditShown>,
    /// Where to go on; none at the end.
    pub next: Option<u64>,
}

/// An entry of the audit.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditShown {
    pub id: u64,
    pub time: String,
    pub hash: String,
    pub entry: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyAsked {
    /// `NUMBER:HASH`.
    head: Option<String>,
}

impl ListAsked {
    fn filter(&self) -> Result<Filter, Refusal> {
        let glob = |text: &Option<String>| {
            let glob = text.as_deref().map(Glob::new).transpose();
            glob.map_err(|error| Refusal::of_code("bad_pattern", format!("not a pattern: {error}")))
        };
        let since_us = self.since.as_deref().map(time::parse_us).transpose();
        let since_us =
            since_us.map_err(|_| Refusal::bad_message("`since` is a time, 2026-01-31T12:00:00Z"))?;
        let (tenant, before) = (self.tenant.clone(), self.before);
        Ok(Filter { key: glob(&self.key)?, tenant, event_type: glob(&self.event_type)?, since_us, before })
    }
}

pub(super) async fn list(
    State(host): State<Arc<HostView>>,
    query: Result<Query<ListAsked>, QueryRejection>,
) -> Result<Json<AuditList>, Refusal> {
    let asked = asked(query)?;
    let filter = asked.filter()?;
    let limit = asked.limit.map_or(LIMIT, NonZeroUsize::get).min(MAX_LIMIT);
    apart(move || Ok(Json(audit_list(&host.store, &filter, limit)?))).await
}

/// The entries of a store that a filter lets pass.
///
/// # Errors
/// If the store cannot be read.
pub fn audit_list(
    store: &Store,
    filter: &Filter,
    limit: usize,
) -> Result<AuditList, crate::store::StoreError> {
    let listed = audit::list(store, filter, limit)?;
    Ok(AuditList { entries: listed.records.into_iter().map(shown).collect(), next: listed.next })
}

fn shown(record: AuditRecord) -> AuditShown {
    // What is no JSON is an altered entry: `verify` says so.
    let entry = RawValue::from_string(record.entry).unwrap_or_default();
    AuditShown { id: record.number, time: time::format_us(record.at_us), hash: hex(&record.hash), entry }
}

/// What verification says, line by line; the last line has `ok`: true, false, or null where nobody knows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AuditVerdict {
    Whole { ok: bool, entries: u64, anchor: String, head: String },
    Broken { ok: bool, number: Option<u64>, problem: String },
    Unknown { ok: (), problem: String },
    Progress { checked: u64 },
}

/// The lines of a verification or an export, page by page.
pub enum AuditLines {
    Verify(Option<Result<Walk, Broken>>),
    Export(Export),
}

impl AuditLines {
    /// Of a verification; `noted` are places that the chain must have.
    pub fn verify(store: Store, noted: Vec<Link>) -> Self {
        Self::Verify(Some(Walk::begin(store, noted)))
    }

    /// Of an export.
    pub fn export(store: Store) -> Self {
        Self::Export(Export::begin(store))
    }

    /// The next lines; none at the end.
    ///
    /// # Errors
    /// If an export cannot go on.
    pub fn next_lines(&mut self) -> Result<Option<String>, WalkError> {
        let walk = match self {
            Self::Export(export) => return export.next_lines(),
            Self::Verify(walk) => walk,
        };
        let verdict = match walk.take() {
            None => return Ok(None),
            Some(Err(broken)) => verdict_of(&broken.into()),
            Some(Ok(next)) => match next.step() {
                Ok(Step::On(next)) => {
                    let checked = next.n_entries();
                    *walk = Some(Ok(next));
                    AuditVerdict::Progress { checked }
                }
                Ok(Step::End(verified)) => verdict(&verified),
                Err(error) => verdict_of(&error),
            },
        };
        Ok(Some(serde_json::to_string(&verdict).expect("a verdict is plain data") + "\n"))
    }
}

/// Nothing is wrong; what was noted and given up since cannot be told.
pub fn verdict(verified: &Verified) -> AuditVerdict {
    let Verified { n_entries: entries, anchor, head, forgotten, .. } = verified;
    let Some(noted) = forgotten.first() else {
        let (anchor, head) = (anchor.to_string(), head.to_string());
        return AuditVerdict::Whole { ok: true, entries: *entries, anchor, head };
    };
    let problem = format!(
        "entry {} was noted, and what is here begins after entry {}: what became of it cannot be told. The chain from \
         there to its head is whole: {entries} entries, anchor {anchor}, head {head}",
        noted.number, anchor.number
    );
    AuditVerdict::Unknown { ok: (), problem }
}

fn verdict_of(error: &WalkError) -> AuditVerdict {
    match error {
        WalkError::Broken(broken) => broken_at(broken),
        WalkError::Store(_) | WalkError::GivenUp => {
            AuditVerdict::Unknown { ok: (), problem: error.to_string() }
        }
    }
}

/// Something is wrong there.
pub fn broken_at(broken: &Broken) -> AuditVerdict {
    AuditVerdict::Broken { ok: false, number: Some(broken.number), problem: broken.to_string() }
}

pub(super) async fn verify(
    State(host): State<Arc<HostView>>,
    query: Result<Query<VerifyAsked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let noted = asked(query)?.head.map(|head| head.parse()).transpose();
    let noted = noted.map_err(|expected: &str| Refusal::bad_message(format!("`head`: {expected}")))?;
    Ok(answer(AuditLines::verify(host.store.clone(), noted.into_iter().collect())))
}

pub(super) async fn export(State(host): State<Arc<HostView>>) -> Response {
    answer(AuditLines::export(host.store.clone()))
}

/// Read page by page, as the other side takes them. An answer that breaks off has no end: its reader learns of it.
fn answer(lines: AuditLines) -> Response {
    let next = |lines: Option<AuditLines>| async move {
        let mut lines = lines?;
        let read = tokio::task::spawn_blocking(move || (lines.next_lines(), lines)).await;
        match read {
            Ok((Ok(page), lines)) => page.map(|page| (Ok(Bytes::from(page)), Some(lines))),
            Ok((Err(error), _)) => {
                tracing::warn!(%error, "an export of the audit breaks off");
                Some((Err(io::Error::other(error)), None))
            }
            Err(error) => Some((Err(io::Error::other(error)), None)),
        }
    };
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(stream::unfold(Some(lines), next))).into_response()
}

//! The changes of a key.

use super::super::HostView;
use super::super::answer::{Refusal, apart};
use super::super::log_view::check_names;
use super::{LIMIT, MAX_LIMIT, READ, asked, committed};
use crate::log::Before;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Bytes of one answer after which no further change is added to it.
const MAX_BYTES: usize = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct HistoryAsked {
    tenant: Option<String>,
    before: Option<u64>,
    limit: Option<NonZeroUsize>,
}

/// Values stay as they were written.
#[derive(Serialize)]
struct Page {
    changes: Vec<Box<RawValue>>,
    /// Where to go on; none at the end.
    next: Option<u64>,
    /// Up to here, only the newest change of each key is kept.
    compacted: u64,
    /// Whether the key had changes before the last one here, which are no longer kept.
    is_cut: bool,
}

/// The newest change first.
pub(in crate::admin) async fn history(
    State(host): State<Arc<HostView>>,
    Path(key): Path<String>,
    query: Result<Query<HistoryAsked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let asked = asked(query)?;
    check_names(asked.tenant.as_deref(), &key)?;
    apart(move || {
        let (log, tenant) = (&host.log.log, asked.tenant.as_deref());
        let limit = asked.limit.map_or(LIMIT, NonZeroUsize::get).min(MAX_LIMIT);
        let (mut changes, mut n_bytes, mut next) = (Vec::new(), 0, asked.before);
        let before = loop {
            let read = log.history(tenant, &key, next, READ.min(limit - changes.len()))?;
            for record in &read.records {
                next = record.known_change().and_then(|change| change.revision());
                let change = committed(log, record)?;
                n_bytes += change.len();
                changes.extend(RawValue::from_string(change));
            }
            if read.before != Before::More || changes.len() >= limit || n_bytes >= MAX_BYTES {
                break read.before;
            }
        };
        if changes.is_empty() && asked.before.is_none() {
            return Err(Refusal::not_found(format!("there is no key `{key}`")));
        }
        let next = next.filter(|_| before == Before::More);
        let is_cut = before == Before::Compacted;
        Ok(Json(Page { changes, next, compacted: log.compacted(), is_cut }).into_response())
    })
    .await
}

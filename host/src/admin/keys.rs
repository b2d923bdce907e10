//! `/v1/keys`: what is configured now, and what was before.

use super::HostView;
use super::answer::{Refusal, apart};
use super::log_view::{check_names, check_tenant};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use lockstep_plugin_api::Record;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

/// How many are listed unless asked otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Bytes of one answer after which no further change is added to it.
const MAX_BYTES: usize = 4 << 20;

/// How many changes of a key are read at once: each holds its value.
const READ: usize = 16;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysAsked {
    tenant: Option<String>,
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyAsked {
    tenant: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryAsked {
    tenant: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// What was asked in the query.
pub(super) fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    let Query(asked) = query.map_err(|rejection| Refusal::bad_message(rejection.body_text()))?;
    Ok(asked)
}

pub(super) async fn list(
    State(host): State<Arc<HostView>>,
    query: Result<Query<KeysAsked>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let asked = asked(query)?;
    check_tenant(asked.tenant.as_deref())?;
    apart(move || {
        let limit = asked.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
        let log = &host.log.log;
        let found = log.keys(asked.tenant.as_deref(), &asked.prefix, asked.after.as_deref(), limit)?;
        let next = found.last().filter(|_| found.len() == limit).map(|(key, _)| key.clone());
        let shown = |(key, revision): (String, u64)| json!({ "config_key": key, "revision": revision });
        Ok(Json(json!({ "keys": found.into_iter().map(shown).collect::<Vec<_>>(), "next": next })))
    })
    .await
}

/// The change that gave the key its value, as it lies in the log.
pub(super) async fn show(
    State(host): State<Arc<HostView>>,
    Path(key): Path<String>,
    query: Result<Query<KeyAsked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let KeyAsked { tenant } = asked(query)?;
    check_names(tenant.as_deref(), &key)?;
    apart(move || {
        let Some(record) = host.log.log.get(tenant.as_deref(), &key)? else {
            return Err(Refusal::not_found(format!("there is no key `{key}`")));
        };
        match record.known_change().filter(|change| change.is_deletion()) {
            Some(deleted) => {
                let revision = deleted.revision().unwrap_or_default();
                Err(Refusal::not_found(format!("`{key}` was deleted by revision {revision}")))
            }
            None => Ok(([(CONTENT_TYPE, "application/json")], text(&record)).into_response()),
        }
    })
    .await
}

/// The newest change first.
pub(super) async fn history(
    State(host): State<Arc<HostView>>,
    Path(key): Path<String>,
    query: Result<Query<HistoryAsked>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let asked = asked(query)?;
    check_names(asked.tenant.as_deref(), &key)?;
    apart(move || {
        let limit = asked.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
        let (mut changes, mut n_bytes, mut before) = (Vec::new(), 0, asked.before);
        loop {
            let some = READ.min(limit - changes.len());
            let read = host.log.log.history(asked.tenant.as_deref(), &key, before, some)?;
            let is_end = read.len() < some;
            for record in &read {
                before = record.known_change().and_then(|change| change.revision());
                let change = text(record);
                n_bytes += change.len();
                changes.extend(RawValue::from_string(change));
            }
            if is_end || changes.len() >= limit || n_bytes >= MAX_BYTES {
                if changes.is_empty() && asked.before.is_none() {
                    return Err(Refusal::not_found(format!("there is no key `{key}`")));
                }
                let next = before.filter(|_| !is_end);
                let compacted = host.log.log.compacted();
                return Ok(Json(json!({ "changes": changes, "next": next, "compacted": compacted })));
            }
        }
    })
    .await
}

/// A change as JSON, with its epoch and revision.
pub(super) fn text(record: &Record) -> String {
    let value = record.value().unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}

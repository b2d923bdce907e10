//! `/v1/operations`: what components offer to be called by name. The host knows none of the names.

use super::HostView;
use super::answer::{Refusal, apart};
use super::keys::asked;
use crate::runtime::{AuditEntry, OperationInfo};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many entries of the audit are listed unless asked otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub(super) async fn list(State(host): State<Arc<HostView>>) -> Json<Vec<OperationInfo>> {
    Json(host.log.pipeline.as_ref().map(|pipeline| pipeline.operations()).unwrap_or_default())
}

/// Without a body, there are no arguments.
pub(super) async fn call(
    State(host): State<Arc<HostView>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let arguments = if body.is_empty() { "{}" } else { std::str::from_utf8(&body).unwrap_or_default() };
    if !serde_json::from_str(arguments).is_ok_and(|arguments: Value| arguments.is_object()) {
        return Err(Refusal::bad_message("the arguments must be a JSON object"));
    }
    let pipeline = host.log_pipeline()?;
    let (tell, told) = oneshot::channel();
    pipeline.call(&name, arguments, Box::new(|answer| drop(tell.send(answer))));
    let answer = told.await.map_err(|_| Refusal::unavailable("the component is gone"))?;
    let answer = answer.map_err(|error| Refusal::from(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditAsked {
    before: Option<u64>,
    limit: Option<usize>,
}

/// The newest entry first.
pub(super) async fn audit(
    State(host): State<Arc<HostView>>,
    query: Result<Query<AuditAsked>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let asked = asked(query)?;
    let pipeline = host.log_pipeline()?;
    apart(move || {
        let limit = asked.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
        let entries = pipeline.audit(asked.before, limit)?;
        let next = entries.last().filter(|_| entries.len() == limit).map(|entry| entry.number);
        let shown = |entry: AuditEntry| json!({ "id": entry.number, "entry": entry.entry });
        let entries: Vec<_> = entries.into_iter().map(shown).collect();
        Ok(Json(json!({ "entries": entries, "next": next })))
    })
    .await
}

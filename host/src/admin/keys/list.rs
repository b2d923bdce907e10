//! Which keys there are.

use super::super::HostView;
use super::super::answer::{Refusal, apart};
use super::super::log_view::check_tenant;
use super::{LIMIT, MAX_LIMIT, asked};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::sync::Arc;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct KeysAsked {
    tenant: Option<String>,
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<NonZeroUsize>,
}

pub(in crate::admin) async fn list(
    State(host): State<Arc<HostView>>,
    query: Result<Query<KeysAsked>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let asked = asked(query)?;
    check_tenant(asked.tenant.as_deref())?;
    apart(move || {
        let limit = asked.limit.map_or(LIMIT, NonZeroUsize::get).min(MAX_LIMIT);
        let log = &host.log.log;
        let found = log.keys(asked.tenant.as_deref(), &asked.prefix, asked.after.as_deref(), limit)?;
        let next = found.last().filter(|_| found.len() == limit).map(|(key, _)| key.clone());
        let shown = |(key, revision): (String, u64)| json!({ "config_key": key, "revision": revision });
        Ok(Json(json!({ "keys": found.into_iter().map(shown).collect::<Vec<_>>(), "next": next })))
    })
    .await
}

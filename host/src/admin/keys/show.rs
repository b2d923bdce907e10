//! The change that gave a key its value, now or at some revision or moment.

use super::super::HostView;
use super::super::answer::{Refusal, apart};
use super::super::log_view::check_names;
use super::moment::Moment;
use super::version::{Version, Versions};
use super::{asked, committed};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct ShowAsked {
    tenant: Option<String>,
    at: Option<Moment>,
}

/// As it lies in the log, and when it was committed.
pub(in crate::admin) async fn show(
    State(host): State<Arc<HostView>>,
    Path(key): Path<String>,
    query: Result<Query<ShowAsked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let ShowAsked { tenant, at } = asked(query)?;
    check_names(tenant.as_deref(), &key)?;
    apart(move || {
        let versions = Versions { log: &host.log.log, tenant: tenant.as_deref(), key: &key };
        let version = at.map_or_else(|| versions.newest(), |at| versions.at(&at))?;
        match &version.record {
            Some(record) if version.value.is_some() => {
                let text = committed(versions.log, record)?;
                Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
            }
            _ => Err(no_value(&key, &version)),
        }
    })
    .await
}

/// Why a key has no value, now or then.
pub(super) fn no_value(key: &str, version: &Version) -> Refusal {
    let Some(deletion) = version.change() else {
        return Refusal::not_found(format!("there was no key `{key}` then"));
    };
    let revision = deletion.revision().unwrap_or_default();
    let by = deletion.user_id().map(|user| format!(" by {user}")).unwrap_or_default();
    Refusal::not_found(format!("`{key}` was deleted{by}, at revision {revision}"))
}

//! How a key differs between two revisions or moments.

use super::super::HostView;
use super::super::answer::{Refusal, apart};
use super::super::log_view::check_names;
use super::asked;
use super::compared::{Compared, Versus};
use super::moment::Moment;
use super::version::Versions;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct DiffAsked {
    tenant: Option<String>,
    from: Option<Moment>,
    to: Option<Moment>,
}

/// What the newest change has changed, unless something else is asked for: from some version to what is now, or what the
/// change that was the newest at some moment has changed.
pub(in crate::admin) async fn diff(
    State(host): State<Arc<HostView>>,
    Path(key): Path<String>,
    query: Result<Query<DiffAsked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let DiffAsked { tenant, from, to } = asked(query)?;
    check_names(tenant.as_deref(), &key)?;
    apart(move || {
        let log = &host.log.log;
        let versions = Versions { log, tenant: tenant.as_deref(), key: &key };
        // Whoever asks about a key that never was should hear that and not that nothing changed.
        let newest = versions.newest()?;
        let to = to.map_or(Ok(newest), |to| versions.at(&to))?;
        let from = from.map_or_else(|| versions.before(&to), |from| versions.at(&from))?;
        let answer = Versus {
            config_key: &key,
            tenant_id: tenant.as_deref(),
            epoch: log.epoch(),
            from: from.shown(),
            to: to.shown(),
            compared: Compared::of(&from, &to)?,
        };
        Ok(axum::Json(answer).into_response())
    })
    .await
}

//! The way back: a key gets what it had at some revision, by a change like any other.
//!
//! The change is made from what is current, so that one which somebody makes at the same moment stands beside it and is
//! told, and is not overwritten unseen.

use super::super::HostView;
use super::super::acts;
use super::super::answer::{Refusal, apart};
use super::super::changes::{Asked, Base, Done, Fence, Op, enter, without_value};
use super::super::log_view::check_names;
use super::compared::Outline;
use super::moment::Moment;
use super::version::{Version, Versions};
use super::{KeyAsked, asked};
use axum::Extension;
use axum::Json as Body;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use lockstep_plugin_api::Json;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the answer says itself beside what every change is answered with: no transform does it in its place.
const OWN_FIELDS: [&str; 7] =
    ["rollback_to", "base_revision", "changed", "dry_run", "changes", "patch", "too_large"];

/// As it is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackAsked {
    /// When the key was what it is to be.
    to: Moment,
    /// Only if the newest change of the key is still this one.
    #[serde(default)]
    if_revision: Option<u64>,
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    fence: Option<Fence>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, Box<RawValue>>>,
}

/// What is to be done.
struct Plan {
    /// The revision that is gone back to.
    to: u64,
    now: Version,
    then: Version,
    outline: Outline,
}

pub(in crate::admin) async fn rollback(
    State(host): State<Arc<HostView>>,
    Path(key): Path<String>,
    query: Result<Query<KeyAsked>, QueryRejection>,
    Extension(act): Extension<acts::Asked>,
    body: Bytes,
) -> Result<Response, Refusal> {
    act.is("admin_rollback", key.as_str());
    act.with("config_key", key.as_str());
    let KeyAsked { tenant } = asked(query)?;
    act.with("tenant_id", tenant.as_deref());
    check_names(tenant.as_deref(), &key)?;
    let asked: RollbackAsked = serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad_message(format!("the body asks for no rollback: {}", without_value(&error)))
    })?;
    asked.describe(&act);
    let (view, place) = (Arc::clone(&host), (tenant.clone(), key.clone()));
    let (to, if_revision) = (asked.to.clone(), asked.if_revision);
    let plan = apart(move || {
        let (tenant, key) = place;
        let versions = Versions { log: &view.log.log, tenant: tenant.as_deref(), key: &key };
        Plan::of(versions, &to, if_revision)
    })
    .await?;
    let is_needed = plan.is_needed();
    if asked.dry_run || !is_needed {
        let mut done = Done::new(&key);
        // What is current is what was asked for.
        done.revision = plan.now.revision.filter(|_| !is_needed);
        act.with("changed", false);
        return Ok(Body(Answer::of(done, is_needed, asked.dry_run, &plan)).into_response());
    }
    let metadata = asked.metadata(plan.to);
    let change = asked.into_change(tenant, key, &plan, &metadata, host.log.log.epoch());
    change.describe("admin_rollback", &act);
    Ok(match enter(&host, &act, change).await {
        Ok(done) => {
            let is_repeat = done.repeated;
            Body(Answer::of(done, !is_repeat, false, &plan)).into_response()
        }
        Err(refused) => *refused,
    })
}

/// What became of it.
#[derive(Serialize)]
struct Answer<'p> {
    /// As every change is answered.
    #[serde(flatten)]
    done: Done,
    rollback_to: u64,
    /// The newest change of the key before.
    base_revision: Option<u64>,
    /// Whether there was something to do, and it was not done before.
    changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(flatten)]
    outline: &'p Outline,
}

impl<'p> Answer<'p> {
    fn of(done: Done, changed: bool, dry_run: bool, plan: &'p Plan) -> Self {
        let (base_revision, outline) = (plan.now.revision, &plan.outline);
        let done = done.without_details(&OWN_FIELDS);
        Self { done, rollback_to: plan.to, base_revision, changed, dry_run, outline }
    }
}

impl Plan {
    fn of(versions: Versions<'_>, to: &Moment, if_revision: Option<u64>) -> Result<Self, Refusal> {
        let now = versions.newest()?;
        let then = versions.at(to)?;
        if if_revision.is_some_and(|expected| now.revision != Some(expected)) {
            let (key, newest) = (versions.key, now.revision.unwrap_or_default());
            let message = format!("`{key}` was changed in between: its newest revision is {newest}");
            return Err(Refusal::of_code("conflict", message).with_details(json!({ "revision": newest })));
        }
        // The way back is open also where there is too much to tell of it.
        let outline = Outline::of(&now, &then);
        let to = match to {
            Moment::Revision { revision, .. } => *revision,
            Moment::Time(_) => then.revision.unwrap_or_default(),
        };
        Ok(Self { to, now, then, outline })
    }

    /// Whether there is something to do. Where changes stand against each other, there is: they are ended.
    fn is_needed(&self) -> bool {
        !self.outline.is_empty || self.now.n_standing() > 1
    }
}

impl RollbackAsked {
    /// What the audit tells of it if it does not come to a change.
    fn describe(&self, act: &acts::Asked) {
        act.with("user_id", self.user_id.as_deref());
        act.with("to", self.to.to_string());
        act.with("dry_run", self.dry_run.then_some(true));
    }

    /// What the author says about the change, and where it comes from.
    fn metadata(&self, to: u64) -> Box<RawValue> {
        let mut metadata = self.metadata.clone().unwrap_or_default();
        metadata.insert("rollback_to".to_owned(), to_raw_value(&to).expect("a number"));
        to_raw_value(&metadata).expect("JSON can be written as JSON")
    }

    fn into_change<'p>(
        self,
        tenant_id: Option<String>,
        config_key: String,
        plan: &'p Plan,
        metadata: &'p RawValue,
        epoch: &str,
    ) -> Asked<'p> {
        let value = plan.then.value.as_ref().map(Json::as_str);
        let base = Base { epoch: epoch.to_owned(), revision: plan.now.revision.unwrap_or_default() };
        Asked {
            config_key,
            new_value: value.and_then(|value| serde_json::from_str(value).ok()),
            ops: None,
            op: value.is_none().then_some(Op::Delete),
            tenant_id,
            user_id: self.user_id,
            base: Some(base),
            base_revision: None,
            fence: self.fence,
            session: self.session,
            idempotency_key: self.idempotency_key,
            metadata: Some(metadata),
        }
    }
}

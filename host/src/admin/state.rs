//! `/v1/state`: how the store lies on the disk, and a new data key for it.

use super::HostView;
use super::acts::Asked;
use super::answer::{Refusal, apart};
use crate::store::{Health, SealingStatus, StoreError};
use axum::Json;
use axum::extract::{Extension, State};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::info;

/// The store, for its operator.
#[derive(Debug, Serialize)]
pub(super) struct StateStatus {
    /// `ok`, or why it takes no commits.
    health: &'static str,
    /// Whether values are sealed on the disk.
    sealed: bool,
    /// With which keys, and whether all of them with the newest.
    sealing: Option<SealingStatus>,
}

pub(super) async fn status(State(host): State<Arc<HostView>>) -> Result<Json<StateStatus>, Refusal> {
    apart(move || {
        let health = match host.store.health() {
            Health::Ok => "ok",
            Health::DiskFull => "disk_full",
            Health::Recovering => "recovering",
            Health::Failed => "failed",
        };
        Ok(Json(StateStatus { health, sealed: host.store.is_sealed(), sealing: host.store.sealing() }))
    })
    .await
}

/// Answered when the new key is on the disk; what the older ones have sealed is sealed anew from then on.
pub(super) async fn rotate_key(
    State(host): State<Arc<HostView>>,
    Extension(act): Extension<Asked>,
) -> Result<Json<Value>, Refusal> {
    act.is("admin_rotate_key", "state");
    apart(move || {
        let data_key = host.store.rotate_key().map_err(refusal)?;
        act.with("data_key", data_key);
        info!(data_key, "a new data key seals the store from now on");
        Ok(Json(json!({ "data_key": data_key })))
    })
    .await
}

fn refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::Sealing(refused) => Refusal::of_code("not_sealed".to_owned(), refused.to_string()),
        error => error.into(),
    }
}

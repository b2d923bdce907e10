//! `/v1/metrics`: the guide's metrics document, its rates, and starting them anew.

use super::HostView;
use super::acts::Asked;
use crate::telemetry::Document;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::info;

pub(super) async fn document(State(host): State<Arc<HostView>>) -> Json<Document> {
    Json(host.metrics.guide().document())
}

pub(super) async fn rates(State(host): State<Arc<HostView>>) -> Json<BTreeMap<String, f64>> {
    Json(host.metrics.guide().rates())
}

pub(super) async fn reset(State(host): State<Arc<HostView>>, Extension(act): Extension<Asked>) -> StatusCode {
    act.is("admin_metrics_reset", "metrics");
    host.metrics.guide().reset();
    info!("the metrics document was reset");
    StatusCode::NO_CONTENT
}

//! `/v1/plugins`: what is installed, and what is not used and why.

use super::HostView;
use crate::registry::Registry;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(host): State<Arc<HostView>>) -> Json<Value> {
    Json(plugins(&host.registry))
}

/// The plugins of a host as JSON.
pub fn plugins(registry: &Registry) -> Value {
    let plugins: Vec<_> = registry
        .installed()
        .iter()
        .map(|plugin| {
            let mut shown = json!(plugin.metadata);
            shown["file"] = json!(plugin.file);
            shown
        })
        .collect();
    let refused: Vec<_> =
        registry.problems().map(|problem| json!({ "reason": problem.to_string() })).collect();
    json!({ "plugins": plugins, "refused": refused })
}

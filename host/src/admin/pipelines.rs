//! `/v1/pipelines`: what each pipeline and each of its components does, has done and last complained about.

use super::HostView;
use super::answer::Refusal;
use crate::runtime::{ComponentStatus, PipelineStatus};
use crate::telemetry::Metrics;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(host): State<Arc<HostView>>) -> Json<Value> {
    let shown = host.pipelines().iter().map(|pipeline| shown(pipeline.status(), &host.metrics));
    Json(shown.collect())
}

pub(super) async fn show(
    State(host): State<Arc<HostView>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let pipeline = host.pipeline(&name);
    let pipeline = pipeline.ok_or_else(|| Refusal::not_found(format!("there is no pipeline `{name}`")))?;
    Ok(Json(shown(pipeline.status(), &host.metrics)))
}

/// The components are shown in three lists, by kind.
fn shown(mut status: PipelineStatus, metrics: &Metrics) -> Value {
    let components = std::mem::take(&mut status.components);
    let of_kind = |kind: &str| -> Value {
        let own = components.iter().filter(|component| component.kind == kind);
        own.map(|component| shown_component(component, &status.name, metrics)).collect()
    };
    let lists =
        [("sources", of_kind("source")), ("transforms", of_kind("transform")), ("sinks", of_kind("sink"))];
    let mut shown = serde_json::to_value(&status).expect("a status is plain data");
    let fields = shown.as_object_mut().expect("a status is an object");
    fields.remove("components");
    fields.extend(lists.map(|(name, list)| (name.to_owned(), list)));
    shown
}

fn shown_component(component: &ComponentStatus, pipeline: &str, metrics: &Metrics) -> Value {
    let labels = [("pipeline", pipeline), ("component", component.name.as_str()), ("kind", component.kind)];
    let values = metrics.values(&labels);
    let mut shown = serde_json::to_value(component).expect("a status is plain data");
    if component.kind == "source" {
        // What a source says it still has to read; only its plugin can know.
        shown["lag"] = values.gauges.get("lockstep_plugin_lag").map_or(Value::Null, |lag| json!(lag));
    }
    shown["counters"] = json!(values.counters);
    shown["gauges"] = json!(values.gauges);
    shown
}

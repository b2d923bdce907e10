//! `/healthz`: the process answers. `/readyz`: it does its work, or what keeps it from that.

use super::HostView;
use super::access::Caller;
use crate::runtime::{ComponentState, ComponentStatus, PipelineState, PipelineStatus, RunningPipeline};
use crate::store::Health;
use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::{Json, response::IntoResponse};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// For so long a source's endpoint may be away before the host counts as not ready.
const MAX_AWAY: SignedDuration = SignedDuration::from_secs(60);

/// One thing that readiness depends on.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    ok: bool,
    /// It does not work, and the host is ready all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
    detail: String,
}

pub(super) async fn alive(State(host): State<Arc<HostView>>) -> impl IntoResponse {
    Json(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "node_id": host.node_id,
        "uptime_seconds": host.started.elapsed().as_secs(),
    }))
}

/// Without `?verbose`, only what is wrong is listed.
pub(super) async fn ready(
    State(host): State<Arc<HostView>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> impl IntoResponse {
    let statuses: Vec<_> = host.pipelines().iter().map(RunningPipeline::status).collect();
    let mut checks = checks(host.store.health(), &statuses, Timestamp::now());
    let ready = checks.iter().all(|check| check.ok);
    let is_verbose = query
        .is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    checks.retain(|check| is_verbose || !check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = match caller.may_read {
        true => json!({ "ready": ready, "checks": checks }),
        false => json!({ "ready": ready }),
    };
    (status, Json(body))
}

fn checks(store: Health, pipelines: &[PipelineStatus], now: Timestamp) -> Vec<Check> {
    let mut checks = vec![store_check(store)];
    for pipeline in pipelines {
        checks.push(pipeline_check(pipeline));
        let components = pipeline.components.iter();
        let ended = |component: &&ComponentStatus| component.state != ComponentState::Finished;
        checks.extend(components.filter(ended).map(|component| component_check(pipeline, component, now)));
    }
    checks
}

fn store_check(health: Health) -> Check {
    let detail = match health {
        Health::Ok => "takes commits",
        Health::DiskFull => "disk full: commits are refused until there is space",
        Health::Recovering => {
            "its engine has stopped, or its key file cannot be written; the next commit tries anew"
        }
        Health::Failed => "a write to the disk failed: restart the host when the disk is sound",
    };
    Check { name: "store".into(), ok: health == Health::Ok, degraded: false, detail: detail.into() }
}

fn pipeline_check(pipeline: &PipelineStatus) -> Check {
    let ok = matches!(pipeline.state, PipelineState::Running | PipelineState::Finished);
    let mut detail = named(&pipeline.state);
    if let Some(last) = pipeline.last_error.as_ref().filter(|_| !ok) {
        detail = format!("{detail}: {} in {} of {}", last.error.message, last.error.call, last.component);
    }
    Check { name: format!("pipeline {}", pipeline.name), ok, degraded: false, detail }
}

/// A sink that is away or failed degrades the host and a source that is away for long unreadies it: what a source misses
/// is nowhere yet, what a sink misses is kept by the source, or by the log.
fn component_check(pipeline: &PipelineStatus, component: &ComponentStatus, now: Timestamp) -> Check {
    let away = component.not_connected_since.map(|since| now.duration_since(since));
    let is_up_to_date = !component.is_catching_up && away.is_none_or(|away| away <= MAX_AWAY);
    let ok = component.kind != "source" || is_up_to_date;
    let is_down = match component.state {
        ComponentState::NotConnected
        | ComponentState::Failed
        | ComponentState::Hung
        | ComponentState::Restarting => true,
        ComponentState::Starting | ComponentState::Running | ComponentState::Finished => false,
    };
    let mut detail = named(&component.state);
    if let Some(away) = away {
        detail = format!("{detail} for {} s", away.as_secs());
    }
    if component.is_catching_up {
        detail += ", reads what was there before it started";
    }
    if let Some(error) = component.last_error.as_ref().filter(|_| is_down) {
        detail = format!("{detail}: {}", error.message);
    }
    let name = format!("{} {}/{}", component.kind, pipeline.name, component.name);
    Check { name, ok, degraded: ok && is_down, detail }
}

/// A state as it is written everywhere.
pub(super) fn named(state: &impl Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(state: PipelineState, components: Vec<ComponentStatus>) -> PipelineStatus {
        PipelineStatus {
            name: "flow".into(),
            file: "flow.yaml".into(),
            state,
            since: Timestamp::UNIX_EPOCH,
            restarts: 0,
            last_error: None,
            in_flight_records: 0,
            in_flight_bytes: 0,
            components,
        }
    }

    fn away(kind: &'static str, since: Option<Timestamp>) -> ComponentStatus {
        let state = if since.is_some() { ComponentState::NotConnected } else { ComponentState::Running };
        let status = ComponentStatus::new("in", kind, "p", "1", state);
        ComponentStatus { not_connected_since: since, ..status }
    }

    /// The names of what is not ok.
    fn check(store: Health, pipelines: &[PipelineStatus], expected: &[&str]) {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(100);
        let wrong =
            checks(store, pipelines, now).into_iter().filter(|check| !check.ok).map(|check| check.name);
        assert_eq!(wrong.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_host_is_ready_when_everything_runs_or_is_done() {
        let running = pipeline(PipelineState::Running, vec![away("source", None)]);
        let finished = pipeline(PipelineState::Finished, vec![]);
        check(Health::Ok, &[running, finished], &[]);
        check(Health::DiskFull, &[], &["store"]);
        for state in [
            PipelineState::Starting,
            PipelineState::Draining,
            PipelineState::Restarting,
            PipelineState::Failed,
            PipelineState::Stopped,
        ] {
            check(Health::Ok, &[pipeline(state, vec![])], &["pipeline flow"]);
        }
    }

    #[test]
    fn a_source_may_be_away_for_a_minute_and_a_sink_for_ever() {
        let at = |second| Some(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second));
        let running = |components| [pipeline(PipelineState::Running, components)];
        check(Health::Ok, &running(vec![away("source", at(40)), away("sink", at(0))]), &[]);
        check(Health::Ok, &running(vec![away("source", at(39))]), &["source flow/in"]);
    }

    #[test]
    fn a_source_that_still_reads_what_was_there_is_not_ready_whether_it_is_away_or_not() {
        for since in [None, Some(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(99))] {
            let source = ComponentStatus { is_catching_up: true, ..away("source", since) };
            check(Health::Ok, &[pipeline(PipelineState::Running, vec![source])], &["source flow/in"]);
        }
    }
}

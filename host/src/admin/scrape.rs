//! `/metrics`: what the runtime and the plugins counted, and what is measured when somebody looks.

use super::{HostView, process::Process};
use crate::runtime::{PipelineState, RunningPipeline};
use crate::store::Health;
use crate::telemetry::{Counter, Metrics};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use std::sync::{Arc, Mutex, PoisonError};

use super::health::named;

const HELP: &[(&str, &str)] = &[
    ("lockstep_build", "1; the label is the host's version."),
    ("lockstep_uptime_seconds", "Since the host was started."),
    ("process_resident_memory_bytes", "Memory of this process that is in RAM."),
    ("process_open_fds", "Open files and sockets of this process."),
    ("process_threads", "Threads of this process."),
    ("lockstep_store_commits_total", "Commits that are on disk."),
    ("lockstep_store_conflicts_total", "Commits whose checks failed."),
    ("lockstep_store_fsyncs_total", "Groups of commits written, one fsync each."),
    ("lockstep_store_writable", "1 while the store takes commits."),
    ("lockstep_audit_head", "Number of the newest entry of the audit."),
    ("lockstep_audit_entries", "Entries of the audit that are kept."),
    ("lockstep_audit_bytes", "Their bytes."),
    ("lockstep_pipeline_state", "1 for the state a pipeline is in, 0 for the others."),
    ("lockstep_pipeline_restarts_total", "How often a pipeline was started again after a failure."),
    ("lockstep_in_flight_records", "Records polled and not yet written everywhere."),
    ("lockstep_in_flight_bytes", "Their bytes."),
    ("lockstep_dead_letters", "Records in the dead letter queue of a component."),
    ("lockstep_dead_letter_bytes", "Their bytes."),
];

const STATES: [PipelineState; 7] = [
    PipelineState::Starting,
    PipelineState::Running,
    PipelineState::Draining,
    PipelineState::Restarting,
    PipelineState::Failed,
    PipelineState::Finished,
    PipelineState::Stopped,
];

/// One at a time: a counter is brought up to date by what is missing.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) async fn metrics(State(host): State<Arc<HostView>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], text(&host))
}

pub(super) fn text(host: &HostView) -> String {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    measure_process(host);
    measure_store(host);
    host.pipelines().iter().for_each(|pipeline| measure_pipeline(&host.metrics, pipeline));
    for (queue, size) in host.dead_letters.sizes() {
        let scope = host.metrics.scope(&[("pipeline", &queue.pipeline), ("component", &queue.component)]);
        scope.gauge("lockstep_dead_letters").set(clamp(size.records));
        scope.gauge("lockstep_dead_letter_bytes").set(clamp(size.bytes));
    }
    host.metrics.render()
}

/// Says what the metrics here tell; once per host.
pub(super) fn describe(metrics: &Metrics) {
    HELP.iter().for_each(|(name, help)| metrics.describe(name, help));
}

fn measure_process(host: &HostView) {
    let (scope, process) = (host.metrics.scope(&[]), Process::now());
    host.metrics.scope(&[("version", env!("CARGO_PKG_VERSION"))]).gauge("lockstep_build").set(1);
    scope.gauge("lockstep_uptime_seconds").set(clamp(host.started.elapsed().as_secs()));
    scope.gauge("process_resident_memory_bytes").set(process.resident_bytes);
    scope.gauge("process_open_fds").set(process.open_files);
    scope.gauge("process_threads").set(process.threads);
}

fn measure_store(host: &HostView) {
    let (scope, counts) = (host.metrics.scope(&[]), host.store.counts());
    advance(&scope.counter("lockstep_store_commits_total"), counts.n_commits);
    advance(&scope.counter("lockstep_store_conflicts_total"), counts.n_conflicts);
    advance(&scope.counter("lockstep_store_fsyncs_total"), counts.n_syncs);
    scope.gauge("lockstep_store_writable").set((host.store.health() == Health::Ok).into());
    let audit = host.audit.chain();
    scope.gauge("lockstep_audit_head").set(clamp(audit.head.number));
    scope.gauge("lockstep_audit_entries").set(clamp(audit.n_entries()));
    scope.gauge("lockstep_audit_bytes").set(clamp(audit.n_bytes));
}

fn measure_pipeline(metrics: &Metrics, pipeline: &RunningPipeline) {
    let status = pipeline.status();
    let scope = metrics.scope(&[("pipeline", &status.name)]);
    for state in STATES {
        let is_current = state == status.state;
        scope.with(&[("state", &named(&state))]).gauge("lockstep_pipeline_state").set(is_current.into());
    }
    advance(&scope.counter("lockstep_pipeline_restarts_total"), status.restarts);
    scope.gauge("lockstep_in_flight_records").set(clamp(status.in_flight_records as u64));
    scope.gauge("lockstep_in_flight_bytes").set(clamp(status.in_flight_bytes));
}

fn advance(counter: &Counter, to: u64) {
    counter.add(to.saturating_sub(counter.get()));
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

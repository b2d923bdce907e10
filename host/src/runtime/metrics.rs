//! The runtime's own numbers: counters in pairs, so that what is between two points is a subtraction.

use super::through_log::ADMIN;
use crate::pipeline::Pipeline;
use crate::telemetry::{Counter, Gauge, GuideMetrics, Histogram, Metrics, Scope, component_host};
use lockstep_plugin_api::abi::vtable::ComponentHostBox;

/// The numbers of one component.
#[derive(Clone)]
pub struct StepMetrics {
    /// Records that came in: polled by a source, given to a transform or sink.
    pub records_in: Counter,
    /// Records that went out: written by every sink for a source, passed on by a transform, written by a sink.
    pub records_out: Counter,
    /// Of sources only: records are measured once, when they come in.
    pub bytes_read: Option<Counter>,
    pub dropped: Counter,
    pub failed: Counter,
    pub retried: Counter,
    pub rejected: Counter,
    pub dead_lettered: Counter,
    pub skipped: Counter,
    /// From a record's own timestamp to its poll for a source, from poll to ack for a sink.
    pub age: Histogram,
    calls: Histogram,
    breaker_opened: Counter,
    breaker_open: Gauge,
    /// Of sinks behind the log.
    delivery: Option<DeliveryMetrics>,
    scope: Scope,
}

/// How far a sink has come in the log.
#[derive(Clone)]
struct DeliveryMetrics {
    revision: Gauge,
    lag: Gauge,
    gaps: Counter,
}

/// The numbers of a pipeline through the log.
#[derive(Clone)]
struct LogMetrics {
    head: Gauge,
    reapplied: Counter,
    admin_read: Counter,
    admin_acked: Counter,
}

/// The numbers of every component of a pipeline, by its place in the status.
#[derive(Clone)]
pub struct PipelineMetrics {
    steps: Vec<StepMetrics>,
    log: Option<LogMetrics>,
    guide: GuideMetrics,
}

const HELP: &[(&str, &str)] = &[
    ("lockstep_records_read_total", "Records polled from a source."),
    (
        "lockstep_records_acked_total",
        "Records of a source that every sink has written, or that were taken care of otherwise.",
    ),
    ("lockstep_records_received_total", "Records given to a transform or sink."),
    ("lockstep_records_passed_total", "Records a transform passed on."),
    ("lockstep_records_written_total", "Records a sink has written."),
    ("lockstep_bytes_read_total", "Bytes of the records polled from a source."),
    ("lockstep_records_dropped_total", "Records a transform dropped."),
    ("lockstep_records_failed_total", "Attempts on a record that failed."),
    ("lockstep_records_retried_total", "Records tried again after they failed."),
    ("lockstep_records_rejected_total", "Records refused, their author was told."),
    ("lockstep_records_dead_lettered_total", "Records put into the dead letter queue."),
    ("lockstep_records_skipped_total", "Records given up by `on_error: skip`."),
    ("lockstep_source_age_seconds", "From a record's timestamp to its poll; the first record of each batch."),
    ("lockstep_delivery_seconds", "From a batch's poll to its ack by the sink."),
    ("lockstep_call_seconds", "How long calls into the component took: its processing time."),
    ("lockstep_breaker_opened_total", "How often the component's endpoint went away."),
    ("lockstep_log_head", "The newest revision of the log."),
    (
        "lockstep_batches_reapplied_total",
        "Batches applied again because what they had read was changed meanwhile.",
    ),
    ("lockstep_sink_revision", "Up to where a sink behind the log has written."),
    ("lockstep_sink_lag", "How many revisions a sink is behind the log."),
    ("lockstep_sink_gaps_total", "How often history did not reach back to a sink's place."),
    ("lockstep_breaker_open", "1 while the component's endpoint is away."),
];

impl PipelineMetrics {
    pub fn new(metrics: &Metrics, pipeline: &Pipeline) -> Self {
        for (name, help) in HELP {
            metrics.describe(name, help);
        }
        let steps = pipeline.steps().map(|step| {
            let kind = step.component.kind().as_str();
            let scope =
                metrics.scope(&[("pipeline", &pipeline.name), ("component", &step.name), ("kind", kind)]);
            StepMetrics::new(scope, kind, pipeline.through_log && kind == "sink")
        });
        let log = pipeline.through_log.then(|| LogMetrics::new(metrics, &pipeline.name));
        Self { steps: steps.collect(), log, guide: metrics.guide().clone() }
    }

    /// The document that authors' changes are counted in.
    pub fn guide(&self) -> &GuideMetrics {
        &self.guide
    }

    pub fn step(&self, index: usize) -> &StepMetrics {
        &self.steps[index]
    }

    pub fn call_durations(&self, index: usize) -> Histogram {
        self.steps[index].calls.clone()
    }

    pub fn component_host(&self, index: usize) -> ComponentHostBox {
        component_host(self.steps[index].scope.clone())
    }

    /// The log's newest revision.
    pub fn log_head(&self, head: u64) {
        self.log.iter().for_each(|log| log.head.set(head as i64));
    }

    /// A batch has to be applied again.
    pub fn reapplied(&self) {
        self.log.iter().for_each(|log| log.reapplied.add(1));
    }

    /// A change of an operator came in.
    pub fn admin_read(&self) {
        self.log.iter().for_each(|log| log.admin_read.add(1));
    }

    /// Changes of operators were answered.
    pub fn admin_acked(&self, n_records: usize) {
        self.log.iter().for_each(|log| log.admin_acked.add(n_records as u64));
    }

    /// How far a sink has come in the log.
    pub fn sink_at(&self, index: usize, revision: u64, lag: u64) {
        let Some(delivery) = &self.steps[index].delivery else { return };
        delivery.revision.set(revision as i64);
        delivery.lag.set(lag as i64);
    }

    /// History did not reach back to a sink's place.
    pub fn fell_out(&self, index: usize) {
        self.steps[index].delivery.iter().for_each(|delivery| delivery.gaps.add(1));
    }

    pub fn breaker_opened(&self, index: usize) {
        self.steps[index].breaker_opened.add(1);
        self.steps[index].breaker_open.set(1);
    }

    /// A new run knows of no endpoint that is away.
    pub fn close_breakers(&self) {
        self.steps.iter().for_each(|step| step.breaker_open.set(0));
    }

    pub fn breaker_closed(&self, index: usize) {
        self.steps[index].breaker_open.set(0);
    }
}

impl LogMetrics {
    fn new(metrics: &Metrics, pipeline: &str) -> Self {
        let scope = metrics.scope(&[("pipeline", pipeline)]);
        let admin = metrics.scope(&[("pipeline", pipeline), ("component", ADMIN), ("kind", "source")]);
        Self {
            head: scope.gauge("lockstep_log_head"),
            reapplied: scope.counter("lockstep_batches_reapplied_total"),
            admin_read: admin.counter("lockstep_records_read_total"),
            admin_acked: admin.counter("lockstep_records_acked_total"),
        }
    }
}

impl StepMetrics {
    fn new(scope: Scope, kind: &str, is_behind_log: bool) -> Self {
        let (came_in, went_out, age) = match kind {
            "source" => {
                ("lockstep_records_read_total", "lockstep_records_acked_total", "lockstep_source_age_seconds")
            }
            "transform" => (
                "lockstep_records_received_total",
                "lockstep_records_passed_total",
                "lockstep_delivery_seconds",
            ),
            _ => (
                "lockstep_records_received_total",
                "lockstep_records_written_total",
                "lockstep_delivery_seconds",
            ),
        };
        let counter = |name| scope.counter(name);
        Self {
            records_in: counter(came_in),
            records_out: counter(went_out),
            bytes_read: (kind == "source").then(|| counter("lockstep_bytes_read_total")),
            dropped: counter("lockstep_records_dropped_total"),
            failed: counter("lockstep_records_failed_total"),
            retried: counter("lockstep_records_retried_total"),
            rejected: counter("lockstep_records_rejected_total"),
            dead_lettered: counter("lockstep_records_dead_lettered_total"),
            skipped: counter("lockstep_records_skipped_total"),
            age: scope.histogram(age),
            calls: scope.histogram("lockstep_call_seconds"),
            breaker_opened: counter("lockstep_breaker_opened_total"),
            breaker_open: scope.gauge("lockstep_breaker_open"),
            delivery: is_behind_log.then(|| DeliveryMetrics {
                revision: scope.gauge("lockstep_sink_revision"),
                lag: scope.gauge("lockstep_sink_lag"),
                gaps: scope.counter("lockstep_sink_gaps_total"),
            }),
            scope,
        }
    }
}

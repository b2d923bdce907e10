//! What a component counts.

use lockstep_plugin_api::prelude::*;

/// The counters of a source.
#[derive(Debug, Clone)]
pub(crate) struct SourceMetrics {
    pub(crate) entries: Counter,
    pub(crate) cells: Counter,
    pub(crate) bad: Counter,
    pub(crate) own: Counter,
    pub(crate) gaps: Counter,
    pub(crate) claimed: Counter,
    pub(crate) streams: Gauge,
}

impl SourceMetrics {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            entries: context.counter("redis_entries_read"),
            cells: context.counter("redis_cells_read"),
            bad: context.counter("redis_bad_entries"),
            own: context.counter("redis_own_entries_dropped"),
            gaps: context.counter("redis_gaps"),
            claimed: context.counter("redis_entries_claimed"),
            streams: context.gauge("redis_streams"),
        }
    }
}

/// The counters of a sink.
#[derive(Debug, Clone)]
pub(crate) struct SinkMetrics {
    pub(crate) written: Counter,
    pub(crate) known: Counter,
    pub(crate) refused: Counter,
    pub(crate) received: Counter,
    pub(crate) covered: Counter,
    pub(crate) untold: Counter,
    pub(crate) connections: Gauge,
}

impl SinkMetrics {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            written: context.counter("redis_records_written"),
            known: context.counter("redis_records_known"),
            refused: context.counter("redis_cells_refused"),
            received: context.counter("redis_cells_received"),
            covered: context.counter("redis_cells_covered"),
            untold: context.counter("redis_hints_refused"),
            connections: context.gauge("redis_connections"),
        }
    }
}

/// The counter that every operation on a server goes into; it feeds the metrics document.
pub(crate) fn operations(context: &Context) -> Counter {
    context.feeds("redis_operations", "redis_operations");
    context.counter("redis_operations")
}

//! What a server counts.

use crate::outbox::Pushed;
use lockstep_plugin_api::prelude::*;

/// The server's counters and its gauge.
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) refused: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) bad: Counter,
    pub(crate) changes: Counter,
    pub(crate) resyncs: Counter,
    conflated: Counter,
    slow_closed: Counter,
}

impl Metrics {
    pub(crate) fn new(context: &Context) -> Self {
        context.feeds("connections", "active_connections.websocket");
        Self {
            connections: context.gauge("connections"),
            refused: context.counter("connections_refused"),
            received: context.counter("messages_received"),
            sent: context.counter("messages_sent"),
            bad: context.counter("bad_messages"),
            changes: context.counter("changes"),
            resyncs: context.counter("resyncs"),
            conflated: context.counter("changes_conflated"),
            slow_closed: context.counter("slow_closed"),
        }
    }

    /// Counts what it took to queue something.
    pub(crate) fn count(&self, pushed: &Pushed) {
        match pushed {
            Pushed::Overflowed => self.slow_closed.add(1),
            Pushed::Conflated(n_entries) => self.conflated.add(*n_entries as u64),
            Pushed::Queued | Pushed::Skipped | Pushed::FellBehind | Pushed::Closed => {}
        }
    }
}

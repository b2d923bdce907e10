//! What the sink counts.

use lockstep_plugin_api::prelude::*;

/// The counters of one sink.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Messages that a receiver took.
    pub(crate) delivered: Counter,
    /// Messages that a receiver refused for good.
    pub(crate) refused: Counter,
    /// Attempts after which a message has to be sent again.
    pub(crate) retried: Counter,
    /// Records of event types that are not told.
    pub(crate) skipped: Counter,
    /// Receivers that take nothing at the moment.
    pub(crate) away: Gauge,
    /// How long a request takes.
    pub(crate) request: Histogram,
}

impl Metrics {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            delivered: context.counter("webhook_messages_delivered"),
            refused: context.counter("webhook_messages_refused"),
            retried: context.counter("webhook_attempts_failed"),
            skipped: context.counter("webhook_records_skipped"),
            away: context.gauge("webhook_receivers_away"),
            request: context.histogram("webhook_request"),
        }
    }
}

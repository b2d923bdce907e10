//! What the components count.

use lockstep_plugin_api::prelude::*;

/// What a sink counts.
#[derive(Debug)]
pub(crate) struct SinkMetrics {
    /// Publishes that the broker has.
    pub(crate) sent: Counter,
    /// Publishes that it refused.
    pub(crate) refused: Counter,
    pub(crate) connections: Counter,
}

impl SinkMetrics {
    pub(crate) fn new(context: &Context) -> Self {
        context.feeds("mqtt_messages_sent", "message_throughput.mqtt_sent");
        Self {
            sent: context.counter("mqtt_messages_sent"),
            refused: context.counter("mqtt_publishes_refused"),
            connections: context.counter("mqtt_connections"),
        }
    }
}

/// What a source counts.
#[derive(Debug)]
pub(crate) struct SourceMetrics {
    /// Messages that the broker sent.
    pub(crate) received: Counter,
    /// Messages that could not be read.
    pub(crate) bad: Counter,
    /// Messages that were of no concern: a status, another key, an own message.
    pub(crate) passed_over: Counter,
    pub(crate) connections: Counter,
}

impl SourceMetrics {
    pub(crate) fn new(context: &Context) -> Self {
        context.feeds("mqtt_messages_received", "message_throughput.mqtt_received");
        Self {
            received: context.counter("mqtt_messages_received"),
            bad: context.counter("mqtt_bad_messages"),
            passed_over: context.counter("mqtt_messages_passed_over"),
            connections: context.counter("mqtt_connections"),
        }
    }
}

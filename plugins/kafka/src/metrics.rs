//! What the components count.

use lockstep_plugin_api::prelude::*;

/// What a sink counts.
#[derive(Clone)]
pub(crate) struct SinkMetrics {
    /// Messages that brokers have acknowledged.
    pub(crate) sent: Counter,
    /// Records that were given back as failed.
    pub(crate) failed: Counter,
    /// Producers that had to be replaced.
    pub(crate) replaced: Counter,
}

impl SinkMetrics {
    pub(crate) fn new(context: &Context) -> Self {
        context.feeds("kafka_messages_sent", "kafka_messages_sent");
        Self {
            sent: context.counter("kafka_messages_sent"),
            failed: context.counter("kafka_messages_failed"),
            replaced: context.counter("kafka_clients_replaced"),
        }
    }

    /// For the producer of a source's dead letters.
    pub(crate) fn of_dead_letters(context: &Context) -> Self {
        Self {
            sent: context.counter("kafka_dead_letters_sent"),
            failed: context.counter("kafka_dead_letters_failed"),
            replaced: context.counter("kafka_clients_replaced"),
        }
    }
}

/// What a source counts.
#[derive(Clone)]
pub(crate) struct SourceMetrics {
    /// Messages that were read.
    pub(crate) received: Counter,
    /// Messages that could not be read as a change.
    pub(crate) bad: Counter,
    /// Messages of this host that were passed over.
    pub(crate) own: Counter,
    /// Topics that are not there, or may not be read.
    pub(crate) missing: Gauge,
    /// Consumers that had to be replaced.
    pub(crate) replaced: Counter,
}

impl SourceMetrics {
    pub(crate) fn new(context: &Context) -> Self {
        context.feeds("kafka_messages_received", "kafka_messages_received");
        Self {
            received: context.counter("kafka_messages_received"),
            bad: context.counter("kafka_bad_messages"),
            own: context.counter("kafka_own_messages"),
            missing: context.gauge("kafka_topics_missing"),
            replaced: context.counter("kafka_clients_replaced"),
        }
    }
}

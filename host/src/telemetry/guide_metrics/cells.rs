//! The cells of the document that plugins fill: which there are, and which metrics feed them.
//!
//! What a cell counts is the sum of its feeds since they began to feed it or since the last reset. A gauge has no past.

use crate::telemetry::metrics::{Counter, Gauge};

/// A number of the document that only a plugin can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    WebsocketConnections,
    KafkaSent,
    KafkaReceived,
    MqttSent,
    MqttReceived,
    LocksAcquired,
    LocksReleased,
    LockContentions,
    ConflictsDetected,
    ConflictsResolved,
    RedisOperations,
}

/// By its place in the document and by the guide's name of the counter behind it. Of conflicts the document shows only
/// the rate, so they have the counter's name alone.
const NAMES: [(&str, &str, Cell); 11] = [
    ("active_connections.websocket", "websocket_connections", Cell::WebsocketConnections),
    ("message_throughput.kafka_sent", "kafka_messages_sent", Cell::KafkaSent),
    ("message_throughput.kafka_received", "kafka_messages_received", Cell::KafkaReceived),
    ("message_throughput.mqtt_sent", "mqtt_messages_sent", Cell::MqttSent),
    ("message_throughput.mqtt_received", "mqtt_messages_received", Cell::MqttReceived),
    ("lock_statistics.acquired", "locks_acquired", Cell::LocksAcquired),
    ("lock_statistics.released", "locks_released", Cell::LocksReleased),
    ("lock_statistics.contentions", "lock_contentions", Cell::LockContentions),
    ("conflicts_detected", "conflicts_detected", Cell::ConflictsDetected),
    ("conflicts_resolved", "conflicts_resolved", Cell::ConflictsResolved),
    ("redis_operations", "redis_operations", Cell::RedisOperations),
];

impl Cell {
    /// The cell of this name; none if the document has no such cell.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(place, counter, _)| *place == name || *counter == name).map(|(_, _, cell)| *cell)
    }

    /// Whether the cell shows what is, and not what was counted.
    pub fn is_gauge(self) -> bool {
        self == Self::WebsocketConnections
    }
}

/// Which metrics feed which cells.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    counters: Vec<CounterFeed>,
    gauges: Vec<(Cell, Gauge)>,
}

#[derive(Debug)]
struct CounterFeed {
    cell: Cell,
    counter: Counter,
    /// What it had counted when it began to feed the cell.
    before: u64,
}

impl Feeds {
    /// A component that starts again says again what it feeds, with the counter it had.
    pub fn add_counter(&mut self, cell: Cell, counter: Counter) {
        let is_known = |feed: &CounterFeed| feed.cell == cell && feed.counter.is_same(&counter);
        if !self.counters.iter().any(is_known) {
            let before = counter.get();
            self.counters.push(CounterFeed { cell, counter, before });
        }
    }

    pub fn add_gauge(&mut self, cell: Cell, gauge: Gauge) {
        let is_known = |(known, of): &(Cell, Gauge)| *known == cell && of.is_same(&gauge);
        if !self.gauges.iter().any(is_known) {
            self.gauges.push((cell, gauge));
        }
    }

    pub fn counted(&self, cell: Cell) -> u64 {
        let feeds = self.counters.iter().filter(|feed| feed.cell == cell);
        feeds.map(|feed| feed.counter.get().saturating_sub(feed.before)).sum()
    }

    pub fn current(&self, cell: Cell) -> i64 {
        self.gauges.iter().filter(|(of, _)| *of == cell).map(|(_, gauge)| gauge.get()).sum()
    }

    pub fn reset(&mut self) {
        self.counters.iter_mut().for_each(|feed| feed.before = feed.counter.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_the_documents_name_and_the_guides() {
        for (place, counter, cell) in NAMES {
            assert_eq!((Cell::named(place), Cell::named(counter)), (Some(cell), Some(cell)), "{place}");
        }
        for unknown in ["", "lock_statistics", "lock_statistics.contention_rate", "total_events"] {
            assert_eq!(Cell::named(unknown), None, "{unknown}");
        }
    }
}

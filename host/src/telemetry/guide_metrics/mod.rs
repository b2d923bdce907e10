//! The guide's metrics document: what has happened since the start or the last reset, in one JSON object.
//!
//! Three things feed it: the runtime says what became of each record, plugins say which of their metrics feed which
//! cell, and a clock that never goes back. The document always has all of its keys. A reset forgets what was counted; it
//! touches neither what is (connections) nor the metrics that Prometheus scrapes.

mod cells;
mod latency;
mod rates;

pub use cells::Cell;

use super::metrics::{Counter, Gauge};
use cells::Feeds;
use latency::Latencies;
use rates::Rates;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Event types that are told apart. Authors choose theirs freely, and memory is not theirs to choose.
const MAX_EVENT_TYPES: usize = 64;

/// What further event types are counted as.
const OTHER: &str = "other";

/// Keeps the document. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct GuideMetrics(Arc<Mutex<Counted>>);

/// One change whose way into the log is over.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub event_type: &'a str,
    /// From the moment it was taken in until its author could be answered.
    pub latency: Duration,
    /// Whether it was committed.
    pub is_success: bool,
}

/// Everything since `since`.
#[derive(Debug)]
struct Counted {
    since: Instant,
    total_events: u64,
    successful: u64,
    failed: u64,
    latencies: Latencies,
    rates: Rates,
    errors: BTreeMap<String, u64>,
    feeds: Feeds,
}

/// The guide's document. Its keys are the contract; a test holds them fast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    pub uptime_seconds: f64,
    pub total_events: u64,
    /// Over the whole time; what happens now is in the rates.
    pub event_rate_per_second: f64,
    pub success_rate: f64,
    pub average_latency_ms: f64,
    pub percentile_latencies: Percentiles,
    pub conflict_resolution_rate: f64,
    pub active_connections: ActiveConnections,
    pub message_throughput: MessageThroughput,
    pub lock_statistics: LockStatistics,
    pub error_breakdown: BTreeMap<String, u64>,
    pub redis_operations: u64,
}

/// In milliseconds; 0 as long as there is none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// Connections that are open now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ActiveConnections {
    pub websocket: i64,
}

/// Messages that brokers took and gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MessageThroughput {
    pub kafka_sent: u64,
    pub kafka_received: u64,
    pub mqtt_sent: u64,
    pub mqtt_received: u64,
}

/// Leases given, taken back and not had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LockStatistics {
    pub acquired: u64,
    pub released: u64,
    pub contentions: u64,
    pub contention_rate: f64,
}

impl GuideMetrics {
    /// Counts changes whose way is over; a batch of them costs one lock.
    pub fn record<'a>(&self, events: impl IntoIterator<Item = Event<'a>>) {
        self.record_at(Instant::now(), events);
    }

    /// From now on, `counter` counts into the cell too; what it counted before does not.
    pub fn feed_counter(&self, cell: Cell, counter: Counter) {
        self.lock().feeds.add_counter(cell, counter);
    }

    /// From now on, the cell shows `gauge` too.
    pub fn feed_gauge(&self, cell: Cell, gauge: Gauge) {
        self.lock().feeds.add_gauge(cell, gauge);
    }

    /// The document as it is now.
    pub fn document(&self) -> Document {
        self.lock().document(Instant::now())
    }

    /// Events per second by event type, over the last [`rates::WINDOW`] seconds.
    pub fn rates(&self) -> BTreeMap<String, f64> {
        let now = Instant::now();
        let counted = self.lock();
        counted.rates.per_second(counted.second(now))
    }

    /// Starts the document anew.
    pub fn reset(&self) {
        self.lock().reset(Instant::now());
    }

    fn record_at<'a>(&self, now: Instant, events: impl IntoIterator<Item = Event<'a>>) {
        let mut counted = self.lock();
        let second = counted.second(now);
        events.into_iter().for_each(|event| counted.count(second, event));
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            total_events: 0,
            successful: 0,
            failed: 0,
            latencies: Latencies::default(),
            rates: Rates::default(),
            errors: BTreeMap::new(),
            feeds: Feeds::default(),
        }
    }
}

impl Counted {
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }

    fn count(&mut self, second: u64, event: Event<'_>) {
        self.total_events += 1;
        self.latencies.add(event.latency);
        self.rates.add(second, event.event_type);
        if event.is_success {
            self.successful += 1;
            return;
        }
        self.failed += 1;
        *bounded(&mut self.errors, event.event_type) += 1;
    }

    fn document(&self, now: Instant) -> Document {
        let uptime_seconds = now.saturating_duration_since(self.since).as_secs_f64();
        let cell = |cell| self.feeds.counted(cell);
        let (acquired, contentions) = (cell(Cell::LocksAcquired), cell(Cell::LockContentions));
        let (detected, resolved) = (cell(Cell::ConflictsDetected), cell(Cell::ConflictsResolved));
        Document {
            uptime_seconds,
            total_events: self.total_events,
            event_rate_per_second: quotient(self.total_events as f64, uptime_seconds).unwrap_or(0.0),
            success_rate: percent(self.successful, self.successful + self.failed).unwrap_or(100.0),
            average_latency_ms: self.latencies.average_ms(),
            percentile_latencies: self.latencies.percentiles(),
            conflict_resolution_rate: percent(resolved, detected).unwrap_or(100.0),
            active_connections: ActiveConnections {
                websocket: self.feeds.current(Cell::WebsocketConnections),
            },
            message_throughput: MessageThroughput {
                kafka_sent: cell(Cell::KafkaSent),
                kafka_received: cell(Cell::KafkaReceived),
                mqtt_sent: cell(Cell::MqttSent),
                mqtt_received: cell(Cell::MqttReceived),
            },
            lock_statistics: LockStatistics {
                acquired,
                released: cell(Cell::LocksReleased),
                contentions,
                contention_rate: percent(contentions, acquired + contentions).unwrap_or(0.0),
            },
            error_breakdown: self.errors.clone(),
            redis_operations: cell(Cell::RedisOperations),
        }
    }

    fn reset(&mut self, now: Instant) {
        let mut feeds = std::mem::take(&mut self.feeds);
        feeds.reset();
        *self = Self { since: now, feeds, ..Self::default() };
    }
}

fn quotient(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    quotient(part as f64, whole as f64).map(|share| share * 100.0)
}

/// The value of an event type, or of [`OTHER`] once there are too many.
fn bounded<'a, T: Default>(values: &'a mut BTreeMap<String, T>, event_type: &str) -> &'a mut T {
    let is_new = !values.contains_key(event_type);
    let name = if is_new && values.len() >= MAX_EVENT_TYPES { OTHER } else { event_type };
    // Nearly every event is of a type that is known, and needs no name of its own.
    if !values.contains_key(name) {
        values.insert(name.to_owned(), T::default());
    }
    values.get_mut(name).expect("it was there, or is there now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use serde_json::{Value, json};

    fn event(event_type: &str, ms: u64, is_success: bool) -> Event<'_> {
        Event { event_type, latency: Duration::from_millis(ms), is_success }
    }

    fn shown(metrics: &GuideMetrics) -> Value {
        let mut document = serde_json::to_value(metrics.document()).expect("plain data");
        assert!(document["uptime_seconds"].as_f64().is_some_and(|uptime| uptime >= 0.0));
        document["uptime_seconds"] = json!(0);
        document["event_rate_per_second"] = json!(0);
        document
    }

    #[test]
    fn the_document_of_a_host_that_has_seen_nothing_has_every_key() {
        let expected = json!({
            "uptime_seconds": 0, "total_events": 0, "event_rate_per_second": 0, "success_rate": 100.0,
            "average_latency_ms": 0.0, "percentile_latencies": { "p50": 0.0, "p95": 0.0, "p99": 0.0 },
            "conflict_resolution_rate": 100.0, "active_connections": { "websocket": 0 },
            "message_throughput": { "kafka_sent": 0, "kafka_received": 0, "mqtt_sent": 0, "mqtt_received": 0 },
            "lock_statistics": { "acquired": 0, "released": 0, "contentions": 0, "contention_rate": 0.0 },
            "error_breakdown": {}, "redis_operations": 0,
        });
        assert_eq!(shown(&GuideMetrics::default()), expected);
    }

    #[test]
    fn successes_failures_and_latencies_are_counted() {
        let metrics = GuideMetrics::default();
        metrics.record([event("config_updated", 10, true), event("config_updated", 20, true)]);
        metrics.record([event("config_deleted", 30, false), event("config_updated", 40, true)]);
        let document = metrics.document();
        assert_eq!((document.total_events, document.success_rate), (4, 75.0));
        assert_eq!(document.average_latency_ms, 25.0);
        assert_eq!(document.error_breakdown, [("config_deleted".to_owned(), 1)].into());
        assert!(document.event_rate_per_second > 0.0);
    }

    #[test]
    fn plugins_feed_cells_and_a_restarted_one_does_not_feed_twice() {
        let (metrics, guide) = (Metrics::new(), GuideMetrics::default());
        for _restart in 0..2 {
            let scope = metrics.scope(&[("component", "lock")]);
            guide.feed_counter(Cell::LocksAcquired, scope.counter("lockstep_plugin_acquired_total"));
            guide.feed_counter(Cell::LockContentions, scope.counter("lockstep_plugin_refused_total"));
            scope.counter("lockstep_plugin_acquired_total").add(3);
            scope.counter("lockstep_plugin_refused_total").add(1);
        }
        let other = metrics.scope(&[("component", "other")]).counter("lockstep_plugin_acquired_total");
        other.add(100);
        guide.feed_counter(Cell::LocksAcquired, other.clone());
        other.add(2);
        let locks = guide.document().lock_statistics;
        assert_eq!((locks.acquired, locks.contentions, locks.contention_rate), (8, 2, 20.0));
    }

    #[test]
    fn a_reset_forgets_what_was_counted_and_keeps_what_is() {
        let (metrics, guide) = (Metrics::new(), GuideMetrics::default());
        let (open, taken) = (metrics.scope(&[]).gauge("open"), metrics.scope(&[]).counter("taken_total"));
        guide.feed_gauge(Cell::WebsocketConnections, open.clone());
        guide.feed_counter(Cell::LocksAcquired, taken.clone());
        open.add(3);
        taken.add(5);
        guide.record([event("config_updated", 10, false)]);
        guide.reset();
        let empty = GuideMetrics::default();
        empty.feed_gauge(Cell::WebsocketConnections, open.clone());
        assert_eq!(shown(&guide), shown(&empty));
        assert!(guide.rates().is_empty());
        open.add(-3);
        taken.add(1);
        let document = guide.document();
        assert_eq!((document.active_connections.websocket, document.lock_statistics.acquired), (0, 1));
        assert_eq!(taken.get(), 6, "what Prometheus scrapes only grows");
    }

    #[test]
    fn event_types_are_bounded_and_the_rest_is_counted_together() {
        let guide = GuideMetrics::default();
        for n in 0..MAX_EVENT_TYPES + 10 {
            guide.record([event(&format!("type-{n}"), 1, false)]);
        }
        let document = guide.document();
        assert_eq!(document.error_breakdown.len(), MAX_EVENT_TYPES + 1);
        assert_eq!(document.error_breakdown[OTHER], 10);
        assert_eq!(guide.rates().len(), MAX_EVENT_TYPES + 1);
    }
}

//! A Kafka producer as tuned as they come: idempotent, with a bound on what is on its way.
//!
//! Invariant: whoever waits is woken by a delivery report. `flush` would sleep in steps of a tenth of a second.

use rdkafka::{
    ClientConfig, ClientContext,
    message::DeliveryResult,
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use std::sync::{Arc, Condvar, Mutex};

/// How many records may be on their way.
const MAX_IN_FLIGHT: usize = 20_000;
/// At how many whoever waits for room goes on: not for every record that leaves.
const HALF: usize = MAX_IN_FLIGHT / 2;

/// Writes to one topic.
pub struct Producer {
    producer: ThreadedProducer<Reports>,
    window: Arc<Window>,
    topic: String,
}

struct Reports(Arc<Window>);

#[derive(Default)]
struct Window {
    n_in_flight: Mutex<usize>,
    changed: Condvar,
}

impl Producer {
    pub fn new(servers: &str, topic: &str) -> Self {
        let window = Arc::<Window>::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "none")
            .set("linger.ms", "5")
            .set("partitioner", "murmur2_random")
            .create_with_context(Reports(window.clone()));
        Self { producer: producer.expect("librdkafka takes the settings"), window, topic: topic.to_owned() }
    }

    /// Hands a record over, as soon as there is room for it.
    pub fn send(&self, key: &[u8], value: &[u8]) {
        self.window.enter();
        let record = BaseRecord::to(&self.topic).key(key).payload(value);
        let sent = self.producer.send(record);
        sent.unwrap_or_else(|(error, _)| panic!("{}: {error}", self.topic));
    }

    /// Waits until everything is written.
    pub fn drain(&self) {
        self.window.wait(0);
    }
}

impl Window {
    /// Waits for room, if it is full until half of it is free.
    fn enter(&self) {
        let n_in_flight = self.n_in_flight.lock().expect("nothing panics");
        let is_full = *n_in_flight >= MAX_IN_FLIGHT;
        let limit = if is_full { HALF } else { MAX_IN_FLIGHT };
        let mut n_in_flight = self.changed.wait_while(n_in_flight, |n| *n > limit).expect("nothing panics");
        *n_in_flight += 1;
    }

    fn wait(&self, limit: usize) {
        let n_in_flight = self.n_in_flight.lock().expect("nothing panics");
        drop(self.changed.wait_while(n_in_flight, |n| *n > limit).expect("nothing panics"));
    }

    fn leave(&self) {
        let mut n_in_flight = self.n_in_flight.lock().expect("nothing panics");
        *n_in_flight -= 1;
        if matches!(*n_in_flight, 0 | HALF) {
            self.changed.notify_all();
        }
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            // A panic cannot leave a call from C.
            eprintln!("a record was not written: {error}");
            std::process::exit(1);
        }
        self.0.leave();
    }
}

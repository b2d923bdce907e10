//! Kafka -> set a field -> Kafka, acknowledged by all replicas: the host with a direct pipeline, and the bare loop.

use crate::{
    message,
    process::Process,
    producer::Producer,
    rate::{self, Rate},
};
use lockstep_test_support::Kafka;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use std::{path::Path, time::Duration};

const N_RECORDS: u64 = 1_000_000;
const N_PARTITIONS: i32 = 4;
const N_SLICES: usize = 3;
const PEAK_GOAL_MB: f64 = 60.0;

pub fn run(built: &Path, dir: &Path) {
    let kafka = Kafka::start();
    let input = kafka.topic("bench-in", N_PARTITIONS, &[]);
    fill(&kafka, &input);
    let mut best = [Rate::default(); 2];
    for _ in 0..N_SLICES {
        best[0].take(slice(&kafka, |output| bare(dir, &kafka, &input, output)));
        best[1].take(slice(&kafka, |output| host(built, dir, &kafka, &input, output)));
    }
    let title =
        format!("Kafka -> set a field -> Kafka, {N_PARTITIONS} partitions, values of 200 bytes, acks=all");
    rate::print(&title, ("rdkafka consume + produce", best[0]), best[1], Some(PEAK_GOAL_MB));
}

fn fill(kafka: &Kafka, topic: &str) {
    let producer = Producer::new(&kafka.plaintext(), topic);
    for n in 0..N_RECORDS {
        producer.send(message::config_key(n).as_bytes(), message::value(n).as_bytes());
    }
    producer.drain();
}

/// One process copies the whole input into a topic of its own.
fn slice(kafka: &Kafka, start: impl FnOnce(&str) -> Process) -> Rate {
    let output = kafka.topic("bench-out", N_PARTITIONS, &[]);
    let observer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.plaintext())
        .create()
        .expect("librdkafka takes the settings");
    let process = start(&output);
    let rate = Rate::of(&process, N_RECORDS, || n_written(&observer, &output));
    drop(process);
    kafka.client().delete(&output);
    rate
}

fn n_written(observer: &BaseConsumer, topic: &str) -> u64 {
    let limit = Duration::from_secs(10);
    let end = |partition| observer.fetch_watermarks(topic, partition, limit).map_or(0, |(_, end)| end as u64);
    (0..N_PARTITIONS).map(end).sum()
}

fn bare(dir: &Path, kafka: &Kafka, input: &str, output: &str) -> Process {
    Process::bare(dir, &format!("kafka {} {input} {output}", kafka.plaintext()))
}

/// Settings that both sides have are the same on both.
fn host(built: &Path, dir: &Path, kafka: &Kafka, input: &str, output: &str) -> Process {
    let servers = kafka.plaintext();
    let pipeline = format!(
        r#"sources:
  - plugin: kafka
    config: {{ bootstrap_servers: ["{servers}"], topic: {input}, auto_offset_reset: earliest, max_poll_records: 1000 }}
transforms:
  - plugin: bench_set_user
    config: {{ user: bench }}
sinks:
  - plugin: kafka
    config:
      bootstrap_servers: ["{servers}"]
      topic: {output}
      format: bytes
      compression_type: none
      linger_ms: 5
      batch_size: 10000
delivery: {{ batch: {{ records: 1000 }}, in_flight: {{ records: 20000 }} }}
"#
    );
    Process::host(built, dir, &pipeline)
}

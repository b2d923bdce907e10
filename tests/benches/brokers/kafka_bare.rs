//! The limit for Kafka -> set a field -> Kafka: a loop around librdkafka's consumer and producer, at least once.

use crate::{message::Change, producer::Producer};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use std::time::{Duration, Instant};

const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Copies until the process is ended.
pub fn run(servers: &str, input: &str, output: &str) {
    let consumer = consumer(servers, &format!("bare-{output}"));
    consumer.subscribe(&[input]).expect("a topic");
    let producer = Producer::new(servers, output);
    let (mut value, mut committed) = (Vec::new(), Instant::now());
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.expect("the broker is there");
            set_user(message.payload().unwrap_or_default(), &mut value);
            producer.send(message.key().unwrap_or_default(), &value);
        }
        if committed.elapsed() > COMMIT_INTERVAL {
            producer.drain();
            // Before the first record there is nothing to commit.
            let _ = consumer.commit_consumer_state(CommitMode::Async);
            committed = Instant::now();
        }
    }
}

fn consumer(servers: &str, group: &str) -> BaseConsumer {
    let consumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "8192")
        .create();
    consumer.expect("librdkafka takes the settings")
}

fn set_user(payload: &[u8], value: &mut Vec<u8>) {
    let mut change: Change<'_> = serde_json::from_slice(payload).expect("a change");
    change.user_id = "bench";
    value.clear();
    serde_json::to_writer(value, &change).expect("JSON, into memory");
}

//! Messages that cannot be read, on their way to the topic for such messages.
//!
//! Invariant: a message counts as taken only when the topic has it; everything else is left to the host's own queue.

use crate::{
    config::{Connection, KafkaSourceConfig, resolved},
    message::Message,
    metrics::SinkMetrics,
    producer::{Producer, Unsent},
    taken::Origin,
    topics::{Creation, Topics},
};
use lockstep_plugin_api::{prelude::*, time};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
};
use std::{collections::BTreeSet, time::Duration};

/// How long the topic may take to take what one poll found.
const WAIT: Duration = Duration::from_secs(4);

/// The topic and the client that writes into it.
pub(crate) struct DeadLetters {
    connection: Connection,
    settings: ClientConfig,
    topics: Topics,
    metrics: SinkMetrics,
    node_id: String,
    /// Made when it is first needed.
    producer: Option<Producer>,
    seq: u64,
}

/// A message that cannot be read.
pub(crate) struct DeadLetter<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) record: &'a Record,
    pub(crate) error: &'a Error,
}

impl DeadLetters {
    /// None, if there is no topic for them.
    pub(crate) fn new(config: &KafkaSourceConfig, context: &Context) -> Option<Self> {
        let topic = config.dead_letter_topic.clone()?;
        let connection = config.connection();
        let settings = config.dead_letter_producer(context.node_id(), resolved(context));
        let creation = Creation::new(&connection, &settings).map(Creation::plain);
        Some(Self {
            topics: Topics::new(vec![topic], creation),
            metrics: SinkMetrics::of_dead_letters(context),
            node_id: context.node_id().to_owned(),
            connection,
            settings,
            producer: None,
            seq: 0,
        })
    }

    /// Sends messages and waits for it; gives the places of those that the topic has.
    pub(crate) fn send(&mut self, letters: &[DeadLetter<'_>]) -> BTreeSet<usize> {
        if !self.is_ready() {
            return BTreeSet::new();
        }
        let Some(producer) = &self.producer else { return BTreeSet::new() };
        let first = producer.flight.begin(self.seq, (0..letters.len() as u64).collect());
        for (place, letter) in letters.iter().enumerate() {
            let sent = producer.send(self.topics.name(0), self.message(letter), first + place);
            if let Err(Unsent::Failed(error) | Unsent::Away(error)) = sent {
                producer.flight.failed(first + place, error);
            }
        }
        if !producer.flight.wait_empty(WAIT) {
            // What it still has it would send later, after the host's queue was given the same.
            self.producer = None;
            return BTreeSet::new();
        }
        let failed: BTreeSet<u64> =
            producer.flight.news(Duration::ZERO).failed.into_iter().map(|(place, _)| place).collect();
        self.metrics.failed.add(failed.len() as u64);
        (0..letters.len()).filter(|place| !failed.contains(&(*place as u64))).collect()
    }

    /// Whether there is a client that works, and the topic exists.
    fn is_ready(&mut self) -> bool {
        self.seq += 1;
        if self.producer.as_ref().is_none_or(|producer| producer.fatal().is_some()) {
            self.producer = None;
            self.producer =
                Producer::open(&self.settings, &self.connection, "dead letters", &self.metrics).ok();
        }
        let Some(producer) = &self.producer else { return false };
        let away = || Error::not_connected(producer.health.silence());
        matches!(self.topics.ensure(0, producer.client(), away), Ok(Ok(())))
    }

    fn message(&self, letter: &DeadLetter<'_>) -> Message {
        let DeadLetter { origin, record, error } = letter;
        let own = record.headers().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(&**value) })
        });
        let (partition, offset) = (origin.partition.to_string(), origin.offset.to_string());
        let failed_at = time::format_us(time::now_us());
        let why = [
            ("error_code", error.code().unwrap_or("failed")),
            ("error_message", error.message()),
            ("original_topic", &origin.topic),
            ("original_partition", &partition),
            ("original_offset", &offset),
            ("failed_at", &failed_at),
            ("failed_by", &self.node_id),
        ];
        let headers = why
            .into_iter()
            .fold(own, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let timestamp_ms = Some(record.timestamp_us() / 1000).filter(|made_at| *made_at > 0);
        Message {
            topic: 0,
            key: record.key().cloned(),
            value: record.raw_value().cloned(),
            headers,
            timestamp_ms,
        }
    }
}

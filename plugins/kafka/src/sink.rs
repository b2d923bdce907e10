//! The sink: batches become messages, and reports of their delivery become acks.
//!
//! Invariant: what a client was given once it is not given again, however often the host repeats it, unless that client
//! was replaced; then everything unfinished is sent again, in order.

use crate::{
    config::{Connection, KafkaSinkConfig, resolved},
    message::Writer,
    metrics::SinkMetrics,
    producer::{Producer, Unsent, log_failure},
    route::Routes,
    topics::{Creation, Topics},
};
use lockstep_plugin_api::{prelude::*, wire::Form};
use rdkafka::ClientConfig;
use std::{
    mem,
    time::{Duration, Instant},
};
use tracing::warn;

/// The `kafka` sink.
pub(crate) struct KafkaSink {
    connection: Connection,
    settings: ClientConfig,
    writer: Writer,
    topics: Topics,
    metrics: SinkMetrics,
    /// `None` only while it is replaced.
    producer: Option<Producer>,
    /// The last batch that the producer was given, in whole or in part.
    given: u64,
    /// The batch of which it was given a part, while brokers are away.
    partial: Option<Partial>,
    /// What is finished, as far as the host is or will be told.
    acked: Acked,
}

struct Partial {
    seq: u64,
    /// The number of the batch's first message.
    first: usize,
    /// The record to go on with.
    next: usize,
}

/// What a look at the producer showed.
struct Look {
    /// Why it can do nothing any more.
    done_for: Option<String>,
    /// Why what it was given does not arrive.
    trouble: Option<String>,
}

impl PipelinedSink for KafkaSink {
    type Config = KafkaSinkConfig;

    fn check(config: &KafkaSinkConfig) -> Result<()> {
        config.check()
    }

    fn new(config: KafkaSinkConfig, context: &Context) -> Result<Self> {
        let connection = config.connection();
        context.endpoint(&config.endpoint());
        let settings = config.producer(context.node_id(), resolved(context));
        let metrics = SinkMetrics::new(context);
        let producer = Producer::open(&settings, &connection, "sink", &metrics)?;
        let (routes, topics) = Routes::new(&config.routes());
        Ok(Self {
            topics: Topics::new(topics, Creation::new(&connection, &settings)),
            writer: Writer {
                routes,
                format: config.format,
                form: Form { naive_timestamps: config.compat.naive_timestamps, replicate: config.replicate },
                node_id: context.node_id().to_owned(),
                through_log: context.through_log(),
                has_topic: config.topic.is_some(),
            },
            connection,
            settings,
            metrics,
            producer: Some(producer),
            given: 0,
            partial: None,
            acked: Acked::default(),
        })
    }

    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        if let Some(reason) = self.look(Duration::ZERO)?.done_for {
            return Err(self.replace(&reason));
        }
        let (first, mut next) = match self.partial.take_if(|partial| partial.seq == seq) {
            Some(partial) => (partial.first, partial.next),
            // It is on its way, or finished and not told yet.
            None if seq <= self.given => return Ok(()),
            None => (self.producer()?.flight.begin(seq, batch.iter().map(Record::id).collect()), 0),
        };
        self.given = self.given.max(seq);
        while let Some(record) = batch.get(next) {
            match self.send(record, first + next)? {
                Ok(()) => {}
                Err(Unsent::Failed(error)) => self.producer()?.flight.failed(first + next, error),
                Err(Unsent::Away(error)) => {
                    self.partial = Some(Partial { seq, first, next });
                    return Err(error);
                }
            }
            next += 1;
        }
        Ok(())
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        let Look { done_for, trouble } = self.look(wait)?;
        if let Some(reason) = done_for {
            return Err(self.replace(&reason));
        }
        if let Some(trouble) = trouble {
            return Err(Error::not_connected(trouble));
        }
        Ok(Acked { through_seq: self.acked.through_seq, failed: mem::take(&mut self.acked.failed) })
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        let producer = self.producer()?;
        let until = Instant::now() + deadline;
        // The client sends by itself within `linger_ms`; its own flush would only wait in steps of 100 ms.
        while !producer.flight.wait_empty(Duration::from_millis(50)) {
            if let Some(trouble) = producer.trouble() {
                return Err(Error::not_connected(trouble));
            }
            if Instant::now() >= until || producer.fatal().is_some() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl KafkaSink {
    fn producer(&self) -> Result<&Producer> {
        self.producer.as_ref().ok_or_else(|| Error::fatal("the client could not be made anew"))
    }

    /// Takes in what has become of what was sent, waiting for it.
    fn look(&mut self, wait: Duration) -> Result<Look> {
        let producer = self.producer()?;
        let news = producer.flight.news(wait);
        let has_come_further = news.through > self.acked.through_seq;
        let done_for = news.broken.or_else(|| producer.fatal());
        let trouble = if has_come_further { None } else { producer.trouble() };
        if producer.is_topic_lost() {
            self.topics.look_again();
        }
        self.metrics.failed.add(news.failed.len() as u64);
        news.failed.iter().for_each(|(_, error)| log_failure(error));
        self.acked.through_seq = self.acked.through_seq.max(news.through);
        self.acked.failed.extend(news.failed);
        Ok(Look { done_for, trouble })
    }

    /// Sends one record; why it was not, inside.
    fn send(&mut self, record: &Record, number: usize) -> Result<Result<(), Unsent>> {
        let message = match self.writer.message(record) {
            Ok(message) => message,
            Err(error) => return Ok(Err(Unsent::Failed(error))),
        };
        let producer = self.producer.as_ref().ok_or_else(|| Error::fatal("there is no client"))?;
        let away = || Error::not_connected(producer.health.silence());
        match self.topics.ensure(message.topic, producer.client(), away) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ok(Err(Unsent::Failed(error))),
            Err(error) => return Ok(Err(Unsent::Away(error))),
        }
        Ok(producer.send(self.topics.name(message.topic), message, number))
    }

    /// Makes another producer; the host gives it everything that is not finished.
    fn replace(&mut self, reason: &str) -> Error {
        warn!(reason, "the Kafka client is replaced");
        self.metrics.replaced.add(1);
        self.producer = None;
        self.partial = None;
        self.given = self.acked.through_seq;
        match Producer::open(&self.settings, &self.connection, "sink", &self.metrics) {
            Ok(producer) => {
                self.producer = Some(producer);
                Error::not_connected(reason)
            }
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests;

//! A producer with its reports: messages go in one by one, what became of them comes out by batch.
//!
//! Invariant: nothing is sent twice by the client itself, and nothing passes what was sent before it with the same key.
//! Once a message was given up for no reason of its own, this producer is done for: another one sends again what is left.

use crate::{config::Connection, flight::Flight, health::Health, message::Message, metrics::SinkMetrics};
use lockstep_plugin_api::prelude::*;
use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    client::Client,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tracing::{debug, error};

/// How long nobody may answer before the brokers count as away, although no connection has failed.
const SILENCE: Duration = Duration::from_secs(5);

/// How far back trouble may lie to be the reason why something just sent is not answered.
const RECENT: Duration = Duration::from_secs(2);

/// How long to wait for room in the client's queue.
const ROOM_WAIT: Duration = Duration::from_secs(3);

/// A client that sends, and what is on its way.
pub(crate) struct Producer {
    client: ThreadedProducer<Reports>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) health: Arc<Health>,
    is_topic_lost: Arc<AtomicBool>,
}

/// Why a message was not taken.
pub(crate) enum Unsent {
    /// It cannot be sent.
    Failed(Error),
    /// Not now.
    Away(Error),
}

impl Producer {
    pub(crate) fn open(
        config: &ClientConfig,
        connection: &Connection,
        role: &'static str,
        metrics: &SinkMetrics,
    ) -> Result<Self> {
        let flight = Arc::new(Flight::new());
        let health = Arc::new(Health::new(connection, role));
        let is_topic_lost = Arc::<AtomicBool>::default();
        let reports = Reports {
            flight: flight.clone(),
            health: health.clone(),
            metrics: metrics.clone(),
            is_topic_lost: is_topic_lost.clone(),
        };
        let client = config.create_with_context(reports).map_err(refused_settings)?;
        Ok(Self { client, flight, health, is_topic_lost })
    }

    pub(crate) fn client(&self) -> &Client<Reports> {
        self.client.client()
    }

    /// Hands a message to the client. Whatever becomes of it is reported under `number`.
    pub(crate) fn send(&self, topic: &str, message: Message, number: usize) -> Result<(), Unsent> {
        let Message { key, value, headers, timestamp_ms, .. } = message;
        let mut record = BaseRecord::<'_, [u8], [u8], usize>::with_opaque_to(topic, number).headers(headers);
        record.key = key.as_deref();
        record.payload = value.as_deref();
        record.timestamp = timestamp_ms;
        let asked_at = Instant::now();
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((error, unsent)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::QueueFull) if asked_at.elapsed() < ROOM_WAIT => {
                        self.flight.wait_empty(Duration::from_millis(20));
                        record = unsent;
                    }
                    Some(RDKafkaErrorCode::QueueFull) => {
                        return Err(Unsent::Away(Error::not_connected(self.health.silence())));
                    }
                    Some(code) => match verdict(code, topic) {
                        Some(error) => return Err(Unsent::Failed(error)),
                        None => {
                            self.flight.break_off(reason_of(code));
                            return Err(Unsent::Away(Error::not_connected(reason_of(code))));
                        }
                    },
                    None => return Err(Unsent::Failed(Error::failed(error))),
                },
            }
        }
    }

    /// Why what is on its way does not arrive; `None` while it does.
    pub(crate) fn trouble(&self) -> Option<String> {
        let since = self.flight.waits_since()?;
        let told = self.health.trouble_since(since.checked_sub(RECENT));
        told.or_else(|| (since.elapsed() > SILENCE).then(|| self.health.silence()))
    }

    /// Whether a topic has gone since the last look.
    pub(crate) fn is_topic_lost(&self) -> bool {
        self.is_topic_lost.swap(false, Ordering::Relaxed)
    }

    /// Why this client can send nothing any more.
    pub(crate) fn fatal(&self) -> Option<String> {
        self.health.fatal()
    }
}

/// What librdkafka says when it makes no client of these settings; it knows files, and what does not go together.
pub(crate) fn refused_settings(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientCreation(text) => {
            Error::config(format!("librdkafka refuses these settings: {text}"))
        }
        KafkaError::ClientConfig(_, _, name, _) => {
            Error::config(format!("librdkafka does not take this value of `{name}`"))
        }
        error => Error::config(error),
    }
}

/// The client's reports.
pub(crate) struct Reports {
    flight: Arc<Flight>,
    health: Arc<Health>,
    metrics: SinkMetrics,
    is_topic_lost: Arc<AtomicBool>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.health.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(message) => {
                self.metrics.sent.add(1);
                self.health.is_well();
                if tracing::enabled!(tracing::Level::DEBUG) {
                    self.health.within(|| {
                        debug!(
                            "Event sent to Kafka: topic={}, partition={}, offset={}",
                            message.topic(),
                            message.partition(),
                            message.offset()
                        );
                    });
                }
                self.flight.written(number);
            }
            Err((error, message)) => self.not_delivered(error, message.topic(), number),
        }
    }
}

impl Reports {
    fn not_delivered(&self, error: &KafkaError, topic: &str, number: usize) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        if matches!(code, RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) {
            self.is_topic_lost.store(true, Ordering::Relaxed);
        }
        match verdict(code, topic) {
            Some(error) => self.flight.failed(number, error),
            None if is_purged(code) => {}
            None => self.flight.break_off(reason_of(code)),
        }
    }
}

/// What is said of every record that is not sent.
pub(crate) fn log_failure(error: &Error) {
    error!("Failed to send event to Kafka: {error}");
}

/// The producer was dropped.
fn is_purged(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
}

fn reason_of(code: RDKafkaErrorCode) -> String {
    format!("the client gave a message up ({code}); what is left is sent again in order")
}

/// What is wrong with a message; `None` if nothing is, and the cluster or the client is to blame.
fn verdict(code: RDKafkaErrorCode, topic: &str) -> Option<Error> {
    use RDKafkaErrorCode as Code;
    let rejected = |kind: &str, text: &str| {
        Some(
            Error::rejected(kind, text)
                .with_details(&serde_json::json!({ "topic": topic, "kafka": format!("{code:?}") })),
        )
    };
    match code {
        Code::MessageSizeTooLarge => {
            rejected("too_large", "the message is larger than the topic or the client allows")
        }
        Code::TopicAuthorizationFailed => rejected("forbidden", "this client may not write to the topic"),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            rejected("not_found", "the topic does not exist")
        }
        Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat => {
            rejected("bad_message", "the broker does not take such a message into this topic")
        }
        // Nothing is wrong with it but its neighbour.
        Code::InvalidDifferentRecord => Some(Error::failed(KafkaError::MessageProduction(code))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    #[test]
    fn d_13_only_a_report_says_what_became_of_a_message() {
        for (code, kind) in [
            (Code::MessageSizeTooLarge, "too_large"),
            (Code::TopicAuthorizationFailed, "forbidden"),
            (Code::UnknownTopicOrPartition, "not_found"),
            (Code::InvalidRecord, "bad_message"),
        ] {
            let error = verdict(code, "t").expect("the message's own fault");
            assert_eq!((error.kind(), error.code()), (ErrorKind::REJECTED, Some(kind)));
            assert!(error.details().is_some_and(|details| details.contains("\"t\"")));
        }
        assert_eq!(
            verdict(Code::InvalidDifferentRecord, "t").expect("tried again").kind(),
            ErrorKind::FAILED
        );
    }

    #[test]
    fn d_20c_what_the_cluster_is_to_blame_for_fails_no_message() {
        for code in
            [Code::MessageTimedOut, Code::BrokerTransportFailure, Code::NotEnoughReplicas, Code::Fatal]
        {
            assert!(verdict(code, "t").is_none(), "{code:?}");
        }
    }
}

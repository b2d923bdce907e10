//! A Kafka client for checks from outside: what it says was written is written, what it reads is everything there is.

use super::kafka_reader::{KafkaMessage, KafkaReader};
use crate::wait::LIMIT;
use rdkafka::{
    ClientConfig, ClientContext, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use std::{collections::BTreeMap, sync::mpsc};

/// How many records are on their way at once.
const AT_ONCE: usize = 10_000;

type Written = Result<(i32, i64), String>;

/// Passes every delivery report to whoever waits for it.
struct Reports;

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<mpsc::SyncSender<Written>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let written = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        let _ = waiting.send(written);
    }
}

/// A record to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaRecord {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A producer, an administrator and a maker of readers.
pub struct KafkaClient {
    config: ClientConfig,
    producer: ThreadedProducer<Reports>,
    admin: AdminClient<DefaultClientContext>,
}

impl std::fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaClient").finish_non_exhaustive()
    }
}

impl KafkaClient {
    /// A client of a listener without any security.
    pub fn new(bootstrap_servers: &str) -> Self {
        Self::with(bootstrap_servers, &[])
    }

    /// A client with these settings of librdkafka.
    ///
    /// # Panics
    /// If librdkafka refuses them.
    pub fn with(bootstrap_servers: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap_servers)
            .set("reconnect.backoff.max.ms", "500")
            .set("allow.auto.create.topics", "false");
        let mut producing = config.clone();
        producing
            .set("linger.ms", "1")
            .set("message.timeout.ms", "20000")
            .set("message.max.bytes", "12000000");
        for (name, value) in settings {
            config.set(*name, *value);
            producing.set(*name, *value);
        }
        Self {
            producer: producing.create_with_context(Reports).expect("librdkafka takes the settings"),
            admin: config.create().expect("librdkafka takes the settings"),
            config,
        }
    }

    /// Writes a record and gives its partition and offset.
    ///
    /// # Panics
    /// If it was not written.
    pub fn produce(
        &self,
        topic: &str,
        key: Option<&str>,
        value: impl AsRef<[u8]>,
        headers: &[(&str, &[u8])],
    ) -> (i32, i64) {
        self.try_produce(topic, key, value, headers).unwrap_or_else(|error| panic!("{topic}: {error}"))
    }

    /// As [`KafkaClient::produce`].
    ///
    /// # Errors
    /// What the broker or librdkafka says.
    pub fn try_produce(
        &self,
        topic: &str,
        key: Option<&str>,
        value: impl AsRef<[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Written {
        let (waiting, report) = mpsc::sync_channel(1);
        self.send(topic, key.map(str::as_bytes), value.as_ref(), headers, waiting)?;
        report.recv_timeout(LIMIT).expect("librdkafka reports every record")
    }

    /// Writes many records, by key and value, in order; gives back when all of them are written.
    ///
    /// # Panics
    /// If one was not written.
    pub fn produce_all<'a>(&self, topic: &str, records: impl IntoIterator<Item = (&'a str, String)>) {
        self.produce_records(
            topic,
            records.into_iter().map(|(key, value)| KafkaRecord {
                key: Some(key.into()),
                value: value.into(),
                headers: Vec::new(),
            }),
        );
    }

    /// The same with any bytes for a key, and headers.
    ///
    /// # Panics
    /// If one was not written.
    pub fn produce_records(&self, topic: &str, records: impl IntoIterator<Item = KafkaRecord>) {
        let (waiting, reports) = mpsc::sync_channel(AT_ONCE);
        let mut records = records.into_iter();
        loop {
            let mut n_sent = 0;
            for KafkaRecord { key, value, headers } in records.by_ref().take(AT_ONCE) {
                let headers: Vec<(&str, &[u8])> =
                    headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
                let sent = self.send(topic, key.as_deref(), &value, &headers, waiting.clone());
                sent.unwrap_or_else(|error| panic!("{topic}: {error}"));
                n_sent += 1;
            }
            for _ in 0..n_sent {
                let report = reports.recv_timeout(LIMIT).expect("librdkafka reports every record");
                report.unwrap_or_else(|error| panic!("{topic}: {error}"));
            }
            if n_sent < AT_ONCE {
                return;
            }
        }
    }

    fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &[u8])],
        waiting: mpsc::SyncSender<Written>,
    ) -> Result<(), String> {
        let named = headers.iter().map(|(key, value)| Header { key, value: Some(*value) });
        let headers = named.fold(OwnedHeaders::new(), OwnedHeaders::insert);
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, Box::new(waiting))
            .payload(value)
            .headers(headers);
        if let Some(key) = key {
            record = record.key(key);
        }
        self.producer.send(record).map_err(|(error, _)| error.to_string())
    }

    /// Everything that the topic holds now, by partition and offset.
    pub fn read_all(&self, topic: &str) -> Vec<KafkaMessage> {
        let mut reader = self.reader(topic);
        reader.read_to_end();
        reader.into_messages()
    }

    /// A reader of a topic from its beginning.
    pub fn reader(&self, topic: &str) -> KafkaReader {
        KafkaReader::new(&self.config, topic)
    }

    /// How far a group has committed, by partition: the offset that it reads next.
    ///
    /// # Panics
    /// If the broker does not say.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer =
            self.config.clone().set("group.id", group).create().expect("a consumer can be made");
        let metadata = consumer.fetch_metadata(Some(topic), LIMIT).expect("the broker answers");
        let mut asked = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            asked.add_partition(topic, partition.id());
        }
        let committed = consumer.committed_offsets(asked, LIMIT).expect("the broker answers");
        let elements = committed.elements();
        let offsets = elements.iter().map(|one| (one.partition(), one.offset().to_raw()));
        offsets
            .filter_map(|(partition, offset)| Some((partition, offset.filter(|offset| *offset >= 0)?)))
            .collect()
    }

    /// Makes topics.
    ///
    /// # Panics
    /// If one cannot be made.
    pub fn create(&self, topics: &[&str], n_partitions: i32, settings: &[(&str, &str)]) {
        let topic = |name| {
            let topic = NewTopic::new(name, n_partitions, TopicReplication::Fixed(1));
            settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        };
        let topics: Vec<NewTopic<'_>> = topics.iter().map(|name| topic(name)).collect();
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let made = crate::websocket::runtime().block_on(self.admin.create_topics(&topics, &options));
        for result in made.expect("the broker answers") {
            result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
        }
    }

    /// The topics that there are, without the broker's own.
    ///
    /// # Panics
    /// If the broker does not say.
    pub fn topics(&self) -> Vec<String> {
        let metadata = self.admin.inner().fetch_metadata(None, LIMIT).expect("the broker answers");
        let names = metadata.topics().iter().map(|topic| topic.name());
        names.filter(|name| !name.starts_with("__")).map(str::to_owned).collect()
    }

    /// Removes a topic.
    ///
    /// # Panics
    /// If it cannot be removed.
    pub fn delete(&self, topic: &str) {
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let deleted = crate::websocket::runtime().block_on(self.admin.delete_topics(&[topic], &options));
        for result in deleted.expect("the broker answers") {
            result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
        }
    }
}

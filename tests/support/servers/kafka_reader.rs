//! Reads a topic from its beginning, without a group, so that nothing it does is seen by anybody.

use crate::wait::{LIMIT, eventually};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaMessage {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    /// `None` is a null: a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// One reader of one topic.
pub struct KafkaReader {
    consumer: BaseConsumer,
    topic: String,
    messages: Vec<KafkaMessage>,
}

impl std::fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl KafkaMessage {
    /// The value as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The key as text.
    pub fn key_text(&self) -> Option<String> {
        self.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned())
    }

    /// A header as text, if there is exactly one of this name.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut named = self.headers.iter().filter(|(header, _)| header == name);
        let (_, value) = named.next()?;
        named.next().is_none().then(|| String::from_utf8_lossy(value).into_owned())
    }

    fn new(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_owned()))
                .collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_owned),
            value: message.payload().map(<[u8]>::to_owned),
            headers: headers.unwrap_or_default(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
        }
    }
}

impl KafkaReader {
    pub(crate) fn new(config: &ClientConfig, topic: &str) -> Self {
        let mut config = config.clone();
        config
            .set("group.id", "tests-read-without-a-group")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "12000000")
            .set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().expect("a consumer can be made");
        let mut reader = Self { consumer, topic: topic.to_owned(), messages: Vec::new() };
        reader.assign();
        reader
    }

    /// Starts each partition behind what was read of it.
    fn assign(&mut self) -> BTreeSet<i32> {
        let partitions = self.partitions();
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            let offset = self.next_offset(*partition).map_or(Offset::Beginning, Offset::Offset);
            let added = assignment.add_partition_offset(&self.topic, *partition, offset);
            added.expect("a partition with an offset");
        }
        self.consumer.assign(&assignment).expect("partitions can be assigned");
        partitions
    }

    /// A topic that was made a moment ago is known a moment later.
    fn partitions(&self) -> BTreeSet<i32> {
        let known = eventually(LIMIT, || {
            let metadata = self.consumer.fetch_metadata(Some(&self.topic), LIMIT).ok()?;
            let topic = metadata.topics().first().filter(|topic| topic.error().is_none())?;
            Some(topic.partitions().iter().map(|partition| partition.id()).collect())
        });
        known.unwrap_or_else(|| panic!("the broker does not know {}", self.topic))
    }

    /// What was read so far, in the order of each partition.
    pub fn messages(&self) -> &[KafkaMessage] {
        &self.messages
    }

    /// The same, without the reader.
    pub fn into_messages(self) -> Vec<KafkaMessage> {
        self.messages
    }

    /// Reads until the end of every partition as it is now.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn read_to_end(&mut self) {
        // Assigned anew, a partition that says it has ended has ended after this moment.
        let mut open = self.assign();
        let start = Instant::now();
        while !open.is_empty() {
            assert!(start.elapsed() < LIMIT, "{}: partitions {open:?} have no end", self.topic);
            if let Some(ended) = self.poll(Duration::from_millis(100)) {
                open.remove(&ended);
            }
        }
    }

    /// Reads until `condition` gives something of what was read since the beginning.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_for<T>(&mut self, what: &str, mut condition: impl FnMut(&[KafkaMessage]) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = condition(&self.messages) {
                return found;
            }
            let n = self.messages.len();
            assert!(start.elapsed() < LIMIT, "{}: waited {LIMIT:?} for {what}, {n} messages", self.topic);
            self.poll(Duration::from_millis(100));
        }
    }

    /// Reads until there are this many messages.
    pub fn wait_for_n(&mut self, n: usize) -> &[KafkaMessage] {
        self.wait_for(&format!("{n} messages"), |messages| (messages.len() >= n).then_some(()));
        &self.messages
    }

    /// Reads what comes within this time: a message, or the number of a partition that has ended.
    fn poll(&mut self, limit: Duration) -> Option<i32> {
        match self.consumer.poll(limit)? {
            Ok(message) => self.messages.push(KafkaMessage::new(&message)),
            Err(KafkaError::PartitionEOF(partition)) => return Some(partition),
            // A broker that is away comes back, or the limit is over.
            Err(_) => {}
        }
        None
    }

    fn next_offset(&self, partition: i32) -> Option<i64> {
        let read = self.messages.iter().filter(|message| message.partition == partition);
        read.map(|message| message.offset + 1).max()
    }
}

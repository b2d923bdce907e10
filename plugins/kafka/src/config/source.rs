//! What `plugin: kafka` accepts as a source.

use super::{
    DATABASE_TOPIC, DEAD_LETTER_TOPIC, FEATURES_TOPIC, GENERAL_TOPIC, SECURITY_TOPIC, Scope, check_topic,
    connection::check_native, kafka_config, within,
};
use lockstep_plugin_api::prelude::*;
use rdkafka::ClientConfig;
use std::time::Duration;

/// How long a topic's name may be for a position to hold it.
const LONGEST_TOPIC_READ: usize = 220;

kafka_config! {
    /// What `plugin: kafka` accepts under `config:`, as a source.
    struct KafkaSourceConfig {
        /// The topics to read. Default: the guide's four, `apg-config-general`, `-database`, `-security` and `-features`.
        topics: Option<Vec<String>> = None,
        /// One topic to read; write either this or `topics`.
        topic: Option<String> = None,
        /// The consumer group. Hosts that share one get a part of the messages each. Default: `apg-config-{node_id}`, so
        /// that every host gets all of them.
        group_id: Option<String> = None,
        /// How the group agrees on who reads what: `classic`, or `consumer` for KIP-848 (brokers from 4.0 on).
        /// Default: `classic`.
        group_protocol: GroupProtocol = GroupProtocol::Classic,
        /// Where a direct pipeline begins to read a partition without a position: `latest` or `earliest`. Through the log
        /// everything is read. Default: `latest`.
        auto_offset_reset: OffsetReset = OffsetReset::Latest,
        /// Whether the group is told how far the host has come; the host keeps its own positions either way.
        /// Default: true.
        enable_auto_commit: bool = true,
        /// How often the group is told; a bare number counts milliseconds. Default: 1 s.
        auto_commit_interval_ms: Millis = Millis(Duration::from_secs(1)),
        /// The most messages that are taken at a time. Default: 100.
        max_poll_records: u32 = 100,
        /// How long the group waits for a sign of life before it gives this host's partitions to others; a bare number
        /// counts milliseconds. Default: 30 s.
        session_timeout_ms: Millis = Millis(Duration::from_secs(30)),
        /// How often a sign of life is given; a bare number counts milliseconds. Default: 10 s.
        heartbeat_interval_ms: Millis = Millis(Duration::from_secs(10)),
        /// The largest message that is read as a change. Default: 10 MiB.
        max_message_bytes: Size = Size(10 << 20),
        /// Through the log, the topic for messages that cannot be read as a change, if it exists; `null`, or a topic that
        /// does not exist, leaves them to the host's own dead letter queue. Default: `apg-config-dlq`.
        dead_letter_topic: Option<String> = Some(DEAD_LETTER_TOPIC.to_owned()),
    }
}

/// How a group agrees on who reads what.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupProtocol {
    /// Among its members, which keep what they read while partitions move.
    Classic,
    /// By the broker (KIP-848).
    Consumer,
}

/// Where to begin without a position.
#[config]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetReset {
    /// At the first message that is there.
    Earliest,
    /// Behind the last message that is there.
    Latest,
}

impl KafkaSourceConfig {
    /// Checks what the types do not.
    pub(crate) fn check(&self) -> Result<()> {
        let connection = self.connection();
        connection.check()?;
        self.check_topics()?;
        within(self.max_poll_records, 1, 1_000_000, "max_poll_records")?;
        within(self.max_message_bytes.0, 1, 100_000_000, "max_message_bytes")?;
        within(self.auto_commit_interval_ms.0.as_millis(), 1, 86_400_000, "auto_commit_interval_ms")?;
        within(self.session_timeout_ms.0.as_millis(), 1, 3_600_000, "session_timeout_ms")?;
        within(self.heartbeat_interval_ms.0.as_millis(), 1, 3_600_000, "heartbeat_interval_ms")?;
        if self.heartbeat_interval_ms.0 >= self.session_timeout_ms.0 {
            let text = "`heartbeat_interval_ms` must be below `session_timeout_ms`, a third of it at most";
            return Err(Error::config(text).at("heartbeat_interval_ms"));
        }
        if self.group_id.as_ref().is_some_and(String::is_empty) {
            return Err(Error::config("`group_id` must not be empty").at("group_id"));
        }
        check_native(&self.consumer("check", str::to_owned))?;
        check_native(&self.dead_letter_producer("check", str::to_owned))
    }

    fn check_topics(&self) -> Result<()> {
        if self.topic.is_some() && self.topics.is_some() {
            return Err(Error::config("`topic` says the same as `topics`: write one of the two").at("topic"));
        }
        let field = if self.topic.is_some() { "topic" } else { "topics" };
        let topics = self.topics();
        if topics.is_empty() {
            return Err(Error::config("`topics` must not be empty").at("topics"));
        }
        for topic in &topics {
            check_topic(topic, field)?;
            if topic.len() > LONGEST_TOPIC_READ {
                let text = "a topic that is read has at most 220 characters: positions hold its name";
                return Err(Error::config(text).at(field));
            }
        }
        let Some(dead_letters) = &self.dead_letter_topic else { return Ok(()) };
        check_topic(dead_letters, "dead_letter_topic")?;
        if topics.contains(dead_letters) {
            let text = "dead letters must not go into a topic that is read";
            return Err(Error::config(text).at("dead_letter_topic"));
        }
        Ok(())
    }

    /// The topics to read.
    pub(crate) fn topics(&self) -> Vec<String> {
        match (&self.topic, &self.topics) {
            (Some(topic), _) => vec![topic.clone()],
            (None, Some(topics)) => topics.clone(),
            (None, None) => {
                [GENERAL_TOPIC, DATABASE_TOPIC, SECURITY_TOPIC, FEATURES_TOPIC].map(str::to_owned).to_vec()
            }
        }
    }

    /// The place that is read.
    pub(crate) fn endpoint(&self) -> String {
        self.connection().endpoint(self.topics().iter().map(String::as_str))
    }

    /// The consumer group.
    pub(crate) fn group(&self, node_id: &str) -> String {
        self.group_id.clone().unwrap_or_else(|| format!("apg-config-{node_id}"))
    }

    /// The consumer's settings.
    pub(crate) fn consumer(&self, node_id: &str, resolve: impl Fn(&str) -> String) -> ClientConfig {
        let connection = self.connection();
        let mut client = connection.client(node_id, resolve);
        client
            .set("group.id", self.group(node_id))
            // The host decides what is committed, and where a partition without a position begins; what is out of range
            // begins where there still is something.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // A full queue is looked at again at once, not after a second; it holds 2 MiB, which costs no speed and a quarter less memory than 8.
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.max.messages.kbytes", "2048")
            // A topic that is created later is found.
            .set("topic.metadata.refresh.interval.ms", "5000")
            // A broker that no longer answers is noticed.
            .set("socket.timeout.ms", "10000")
            .set("statistics.interval.ms", "5000");
        match self.group_protocol {
            GroupProtocol::Classic => client
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", self.session_timeout_ms.0.as_millis().to_string())
                .set("heartbeat.interval.ms", self.heartbeat_interval_ms.0.as_millis().to_string()),
            GroupProtocol::Consumer => client.set("group.protocol", "consumer"),
        };
        connection.finish(&mut client, Scope::Consumer);
        client
    }

    /// The settings of the producer of dead letters.
    pub(crate) fn dead_letter_producer(
        &self,
        node_id: &str,
        resolve: impl Fn(&str) -> String,
    ) -> ClientConfig {
        let connection = self.connection();
        let mut client = connection.producer(node_id, resolve);
        client.set("message.max.bytes", "10485760");
        connection.finish(&mut client, Scope::Producer);
        client
    }
}

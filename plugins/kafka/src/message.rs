//! From a record to the message that is sent: its topic, key, headers and value.
//!
//! Invariant: a change's key is its tenant and its config key, so all its changes lie in one partition, in order.

use crate::{config::Format, route::Routes};
use lockstep_plugin_api::{prelude::*, time, wire::Form};
use rdkafka::message::{Header, OwnedHeaders};
use std::borrow::Cow;

/// How "no tenant" and "no config key" are spelled in a message's key.
const NO_TENANT: &str = "default";
const NO_KEY: &str = "system";

/// The headers of the guide, and those that are added to them.
pub(crate) const EVENT_TYPE: &str = "event_type";
pub(crate) const TENANT_ID: &str = "tenant_id";
pub(crate) const TIMESTAMP: &str = "timestamp";
pub(crate) const CHANGE_HEADERS: [&str; 8] =
    [EVENT_TYPE, TENANT_ID, TIMESTAMP, "content_type", "event_id", "source_node", "revision", "epoch"];

/// The headers that belong to a host alone.
const HOST_HEADERS: &str = "lockstep.";

/// What is sent.
pub(crate) struct Message {
    /// The topic's place among those of the routing table.
    pub(crate) topic: usize,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: OwnedHeaders,
    /// In milliseconds since 1970; the client's clock if absent.
    pub(crate) timestamp_ms: Option<i64>,
}

/// Makes messages of records.
pub(crate) struct Writer {
    pub(crate) routes: Routes,
    pub(crate) format: Format,
    pub(crate) form: Form,
    pub(crate) node_id: String,
    /// Whether every record is a change.
    pub(crate) through_log: bool,
    /// Whether one topic takes everything.
    pub(crate) has_topic: bool,
}

impl Writer {
    /// The message of a record.
    ///
    /// # Errors
    /// `Rejected` if it has to be a change and is none, or no route takes it.
    pub(crate) fn message(&self, record: &Record) -> Result<Message> {
        if self.is_change(record) { self.of_change(&mut record.clone()) } else { Ok(of_bytes(record)) }
    }

    fn is_change(&self, record: &Record) -> bool {
        match self.format {
            Format::Change => true,
            Format::Bytes => false,
            Format::Auto => self.through_log || !self.has_topic || record.known_change().is_some(),
        }
    }

    fn of_change(&self, record: &mut Record) -> Result<Message> {
        let change = record.change()?;
        let Some(topic) = self.routes.topic(change.config_key()) else {
            return Err(Error::rejected("not_found", "no line of `topics` matches the config key"));
        };
        let key = message_key(change.tenant_id(), change.config_key());
        let source_node = change
            .source_node()
            .map_or(Cow::Borrowed(self.node_id.as_str()), |node| Cow::Owned(node.to_owned()));
        let extra = [("source_node", self.node_id.as_str())];
        // Who took a change in is always told (D-20).
        let extra = if change.source_node().is_none() { &extra[..] } else { &[] };
        let mut headers = change_headers(change, &source_node);
        for (name, value) in record.headers() {
            if !CHANGE_HEADERS.contains(&name) && !name.starts_with(HOST_HEADERS) {
                headers = headers.insert(Header { key: name, value: Some(&**value) });
            }
        }
        let value = Some(record.wire(self.form, extra)?);
        Ok(Message { topic, key: Some(Bytes::from(key)), value, headers, timestamp_ms: None })
    }
}

/// KF-02.
pub(crate) fn message_key(tenant: Option<&str>, config_key: &str) -> String {
    let tenant = tenant.filter(|tenant| !tenant.is_empty()).unwrap_or(NO_TENANT);
    format!("{tenant}:{}", if config_key.is_empty() { NO_KEY } else { config_key })
}

/// The tenant and the config key in a message's key, as [`message_key`] writes it; `None` if it is of another form.
pub(crate) fn parse_message_key(key: &str) -> Option<(Option<&str>, &str)> {
    let (tenant, config_key) = key.split_once(':')?;
    Some(((tenant != NO_TENANT).then_some(tenant), config_key))
}

/// KF-04, and what is added to it.
fn change_headers(change: &Change, source_node: &str) -> OwnedHeaders {
    let sent_at = (time::now_us() / 1_000_000).to_string();
    let headers = [
        (EVENT_TYPE, change.event_type()),
        (TENANT_ID, change.tenant_id().unwrap_or_default()),
        (TIMESTAMP, &sent_at),
        ("content_type", "application/json"),
        ("source_node", source_node),
    ];
    let revision = change.revision().map(|revision| revision.to_string());
    let known =
        [("event_id", change.event_id()), ("epoch", change.epoch()), ("revision", revision.as_deref())];
    let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
    headers.into_iter().chain(known).fold(OwnedHeaders::new_with_capacity(9), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

fn of_bytes(record: &Record) -> Message {
    let own = record.headers().filter(|(name, _)| !name.starts_with(HOST_HEADERS));
    let headers = own.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(&**value) })
    });
    let timestamp_ms = Some(record.timestamp_us() / 1000).filter(|made_at| *made_at > 0);
    Message { topic: 0, key: record.key().cloned(), value: record.value(), headers, timestamp_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KafkaSinkConfig;
    use rdkafka::message::Headers;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn writer(config: &str, through_log: bool) -> (Writer, Vec<String>) {
        let config: KafkaSinkConfig = serde_json::from_str(config).expect("a configuration");
        let (routes, topics) = Routes::new(&config.routes());
        let writer = Writer {
            routes,
            format: config.format,
            form: Form { naive_timestamps: config.compat.naive_timestamps, replicate: config.replicate },
            node_id: "node-1".to_owned(),
            through_log,
            has_topic: config.topic.is_some(),
        };
        (writer, topics)
    }

    fn headers(message: &Message) -> BTreeMap<String, String> {
        let text =
            |value: Option<&[u8]>| String::from_utf8(value.unwrap_or(b"NULL").to_vec()).expect("UTF-8");
        message.headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
    }

    fn value(message: &Message) -> Value {
        serde_json::from_slice(message.value.as_ref().expect("a value")).expect("JSON")
    }

    fn change(json: Value) -> Record {
        let mut record = Record::new(json.to_string());
        record.change().expect("a change");
        record
    }

    /// The golden vectors of the contract.
    #[test]
    fn keys_are_the_guides() {
        assert_eq!(message_key(None, "app.x"), "default:app.x");
        assert_eq!(message_key(Some("t1"), "app.x"), "t1:app.x");
        assert_eq!(message_key(Some("t1"), ""), "t1:system");
        assert_eq!(parse_message_key("default:app.x"), Some((None, "app.x")));
        assert_eq!(parse_message_key("t1:app.x"), Some((Some("t1"), "app.x")));
        assert_eq!(parse_message_key("app.x"), None);
    }

    #[test]
    fn d_14_headers_are_pairs_of_text() {
        let (writer, topics) = writer("{}", true);
        let record = change(json!({"config_key": "app.database.host", "new_value": "db1", "tenant_id": "t1",
            "event_type": "config_created", "event_id": "e1", "revision": 7, "epoch": "p", "source_node": "node-9"}));
        let message = writer.message(&record).expect("a message");
        assert_eq!(topics[message.topic], "apg-config-database");
        assert_eq!(message.key.as_deref(), Some(&b"t1:app.database.host"[..]));
        let headers = headers(&message);
        for (name, value) in [
            ("event_type", "config_created"),
            ("tenant_id", "t1"),
            ("event_id", "e1"),
            ("revision", "7"),
            ("epoch", "p"),
            ("source_node", "node-9"),
            ("content_type", "application/json"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let sent_at: i64 = headers["timestamp"].parse().expect("seconds");
        assert!((time::now_us() / 1_000_000 - sent_at).abs() < 60, "{sent_at}");
    }

    #[test]
    fn d_19_no_tenant_is_an_empty_header_and_default_in_the_key() {
        let (writer, _) = writer("{}", true);
        let message =
            writer.message(&change(json!({"config_key": "app.x", "new_value": 1}))).expect("a message");
        assert_eq!(message.key.as_deref(), Some(&b"default:app.x"[..]));
        assert_eq!(headers(&message)["tenant_id"], "");
        assert!(value(&message).get("tenant_id").is_none());
    }

    #[test]
    fn d_20_the_source_node_is_always_written() {
        let (writer, _) = writer("{}", false);
        let record = Record::from_change(Change::new("app.x", Json::parse("1").expect("JSON")));
        let message = writer.message(&record).expect("a message");
        assert_eq!(value(&message)["source_node"], "node-1");
        assert_eq!(headers(&message)["source_node"], "node-1");
        let message =
            writer.message(&change(json!({"config_key": "a", "source_node": "b"}))).expect("a message");
        assert_eq!(value(&message)["source_node"], "b");
    }

    #[test]
    fn d_20b_messages_carry_the_state_of_the_key_unless_they_are_for_readers_alone() {
        let record =
            change(json!({"config_key": "app.x", "new_value": 1, "timestamp": "2024-01-01T12:00:00Z",
            "source_node": "n", "dot": {"node": "n@1", "seq": 1}, "ctx": {}, "hlc": "1"}));
        let (with, _) = writer("{}", true);
        assert_eq!(value(&with.message(&record).expect("a message"))["dot"]["seq"], 1);
        let (without, _) = writer(r#"{"replicate":false,"compat":{"naive_timestamps":true}}"#, true);
        let plain = value(&without.message(&record).expect("a message"));
        assert!(plain.get("dot").is_none() && plain.get("hlc").is_none());
        assert_eq!(plain["timestamp"], "2024-01-01T12:00:00");
    }

    /// GAP-11.
    #[test]
    fn a_deletion_is_a_record_and_never_null() {
        let (writer, _) = writer("{}", true);
        let record =
            change(json!({"config_key": "app.x", "event_type": "config_deleted", "new_value": null}));
        let message = writer.message(&record).expect("a message");
        assert_eq!(value(&message)["event_type"], "config_deleted");
        assert_eq!(headers(&message)["event_type"], "config_deleted");
    }

    #[test]
    fn headers_of_others_are_passed_on_and_the_hosts_own_are_not() {
        let (writer, _) = writer("{}", true);
        let mut record = change(json!({"config_key": "app.x"}));
        for (name, value) in
            [("traceparent", "00-1"), ("lockstep.endpoint", "kafka:x"), ("tenant_id", "forged")]
        {
            record.set_header(name, value);
        }
        let headers = headers(&writer.message(&record).expect("a message"));
        assert_eq!(headers["traceparent"], "00-1");
        assert_eq!(headers["tenant_id"], "");
        assert!(!headers.contains_key("lockstep.endpoint"));
    }

    #[test]
    fn with_a_topic_a_direct_pipeline_passes_bytes_on_as_they_are() {
        let (with_topic, _) = writer(r#"{"topic":"copy"}"#, false);
        let mut record = Record::new(r#"{"config_key":"app.x"}"#).with_key("k");
        record.set_header("h", "v");
        record.set_timestamp_us(5_000);
        let message = with_topic.message(&record).expect("a message");
        assert_eq!((message.key.as_deref(), message.timestamp_ms), (Some(&b"k"[..]), Some(5)));
        assert_eq!(headers(&message), BTreeMap::from([("h".to_owned(), "v".to_owned())]));
        record.set_value(None);
        assert!(with_topic.message(&record).expect("a message").value.is_none(), "a tombstone stays one");
        assert_eq!(
            writer("{}", false).0.message(&record).err().expect("no change").code(),
            Some("bad_message")
        );

        let read = change(json!({"config_key": "app.x"}));
        assert_eq!(with_topic.message(&read).expect("a message").key.as_deref(), Some(&b"default:app.x"[..]));
        let (bytes, _) = writer(r#"{"topic":"copy","format":"bytes"}"#, true);
        assert!(bytes.message(&read).expect("a message").key.is_none());
    }
}

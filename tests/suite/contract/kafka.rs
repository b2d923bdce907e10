//! The guide's Kafka program and a host exchange changes over the guide's topics.
//!
//! The topics have fixed names and are shared by these tests, so each of them has a tenant and a node of its own.

use super::bridge::{Bridge, Isoformat, ORDER, assert_fields, assert_without, change, delete, shown, synced};
use lockstep_test_support::{Kafka, KafkaMessage, Python, WsClient};
use serde_json::{Value, json};
use std::sync::Once;

/// Contract §14: which key goes to which topic.
const TOPICS: [(&str, &str); 6] = [
    ("app.ui.theme", "apg-config-general"),
    ("app.database", "apg-config-general"),
    ("App.database.x", "apg-config-general"),
    ("app.database.host", "apg-config-database"),
    ("app.security.tls", "apg-config-security"),
    ("app.features.x", "apg-config-features"),
];

/// A host, the guide's program, and WebSocket clients.
pub struct Exchange {
    kafka: &'static Kafka,
    pub bridge: Bridge,
    pub python: Python,
    time: Isoformat,
    pub node: String,
    pub tenant: String,
    naive: bool,
    pub author: WsClient,
    pub subscriber: WsClient,
}

/// The shared broker, with the guide's topics.
fn kafka() -> &'static Kafka {
    static TOPICS_ARE_THERE: Once = Once::new();
    let kafka = Kafka::shared();
    TOPICS_ARE_THERE.call_once(|| kafka.create_guide_topics());
    kafka
}

impl Exchange {
    pub fn start(tenant: &str, naive: bool, sink: &str) -> Self {
        let (kafka, node) = (kafka(), format!("node-{tenant}"));
        let servers = kafka.plaintext();
        let source = format!("bootstrap_servers: ['{servers}']");
        let sink = format!("{source}, compat: {{ naive_timestamps: {naive} }} {sink}");
        let bridge = Bridge::start(&node, "kafka", &source, &sink);
        let program = include_str!("../../support/peers/kafka.py");
        let python = Python::start(program, &[&servers, &format!("python-{tenant}")]);
        let (author, subscriber) = (bridge.client(Some(tenant)), bridge.client(Some(tenant)));
        let (tenant, time) = (tenant.to_owned(), Isoformat::start());
        Self { kafka, bridge, python, time, node, tenant, naive, author, subscriber }
    }

    /// The program's next event of a key of the tenant.
    pub fn shown(&mut self, key: &str) -> Value {
        shown(&mut self.python, &json!({ "config_key": key, "tenant_id": self.tenant }))
    }

    /// Every record of a topic that is the tenant's.
    pub fn records(&self, topic: &str) -> Vec<KafkaMessage> {
        let mut records = self.kafka.client().read_all(topic);
        records.retain(|record| record.json()["tenant_id"] == self.tenant);
        records
    }

    /// What the author changes, the program is shown, each in its topic.
    fn changes_reach_the_program(&mut self) {
        for (key, topic) in TOPICS {
            let answer = change(&mut self.author, key, &json!({ "of": key }));
            let shown = self.shown(key);
            assert_eq!(
                (&shown["topic"], &shown["key"]),
                (&json!(topic), &json!(format!("{}:{key}", self.tenant)))
            );
            self.assert_headers(&shown["headers"], "config_created", &self.tenant);
            let event = &shown["event"];
            assert_fields(
                event,
                &json!({
                    "event_type": "config_created", "tenant_id": self.tenant, "config_key": key,
                    "new_value": { "of": key }, "user_id": "suite", "source_node": self.node,
                    "revision": answer["revision"],
                }),
            );
            self.time.assert_now(&event["timestamp"], self.naive);
            let applied = json!({
                "event_type": "config_created", "config_key": key, "new_value": { "of": key }, "tenant_id": self.tenant,
            });
            assert_eq!(shown["applied"], applied, "what the guide's handler is given");
        }
    }

    /// KF-04: the guide's three headers, and nothing that means something inside the host alone.
    #[track_caller]
    fn assert_headers(&self, headers: &Value, event_type: &str, tenant: &str) {
        assert_fields(headers, &json!({ "event_type": event_type, "tenant_id": tenant }));
        let seconds: i64 = headers["timestamp"].as_str().expect("text").parse().expect("unix seconds");
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs() as i64;
        assert!((now - 120..=now + 5).contains(&seconds), "{headers}, now {now}");
        let names: Vec<&String> = headers.as_object().expect("headers").keys().collect();
        assert!(!names.iter().any(|name| name.starts_with("lockstep.")), "{names:?}");
    }

    /// A key's later changes say what was there before; a deletion is a record too, not a null.
    fn a_key_is_changed_and_deleted(&mut self) {
        let key = "app.database.host";
        change(&mut self.author, key, &json!("db2"));
        let event = &self.shown(key)["event"];
        let expected =
            json!({ "event_type": "config_updated", "old_value": { "of": key }, "new_value": "db2" });
        assert_fields(event, &expected);
        delete(&mut self.author, key);
        let shown = self.shown(key);
        self.assert_headers(&shown["headers"], "config_deleted", &self.tenant);
        let deletion = json!({ "event_type": "config_deleted", "config_key": key, "new_value": null });
        assert_fields(&shown["event"], &deletion);
    }

    /// What the program sends, subscribers are shown, and it does not come back to the topic.
    fn events_of_the_program_reach_clients(&mut self) {
        for (number, (key, topic)) in TOPICS.into_iter().enumerate() {
            let event = json!({
                "event_type": "config_updated", "tenant_id": self.tenant, "config_key": format!("{key}.python"),
                "new_value": number, "user_id": "eve", "timestamp": "2024-01-01T12:00:00.5", "source_node": "python",
            });
            let written = self.python.ask(&format!("send {event}"));
            // `app.database` and a segment more is below `app.database.`.
            let topic = if key == "app.database" { "apg-config-database" } else { topic };
            assert_eq!(written["topic"], topic, "the guide's own table");
            let message = synced(&mut self.subscriber, &format!("{key}.python"));
            assert_fields(
                &message,
                &json!({
                    "new_value": number, "tenant_id": self.tenant, "user_id": "eve", "source_node": "python",
                    "timestamp": "2024-01-01T12:00:00.500000Z",
                }),
            );
        }
        // Sinks keep the order of revisions: behind this one, nothing of the ones before is still to come.
        change(&mut self.author, "app.ui.last", &json!(1));
        self.shown("app.ui.last");
        let general = self.records("apg-config-general");
        let of = |key: &str| general.iter().filter(|record| record.json()["config_key"] == key).count();
        assert_eq!((of("app.ui.theme.python"), of("app.ui.last")), (1, 1), "nothing comes back");
    }

    /// No tenant is `default` in the key, nothing in the header, and null or absent in the body.
    fn no_tenant_is_spelled_as_the_guide_does(&mut self) {
        let key = format!("app.features.{}", self.tenant);
        let (mut author, mut subscriber) = (self.bridge.client(None), self.bridge.client(None));
        change(&mut author, &key, &json!(true));
        let shown = shown(&mut self.python, &json!({ "config_key": key }));
        assert_eq!(shown["key"], format!("default:{key}"));
        self.assert_headers(&shown["headers"], "config_created", "");
        assert_eq!(shown["applied"]["tenant_id"], Value::Null);

        synced(&mut subscriber, &key);
        let event = json!({ "event_type": "config_updated", "tenant_id": null, "config_key": key, "new_value": false });
        self.python.ask(&format!("send {event}"));
        let message = synced(&mut subscriber, &key);
        assert_fields(&message, &json!({ "new_value": false, "old_value": true }));
        assert_eq!(message["tenant_id"], Value::Null, "{message}");
    }
}

fn exchange(tenant: &str, naive: bool) {
    let mut exchange = Exchange::start(tenant, naive, "");
    exchange.changes_reach_the_program();
    exchange.a_key_is_changed_and_deleted();
    exchange.events_of_the_program_reach_clients();
    exchange.no_tenant_is_spelled_as_the_guide_does();
    exchange.bridge.host.stop();
}

#[test]
fn the_guides_kafka_program_and_a_host_exchange_changes() {
    exchange("kafka", false);
}

#[test]
fn the_guides_kafka_program_and_a_host_exchange_changes_with_naive_timestamps() {
    exchange("kafka-naive", true);
}

#[test]
fn messages_for_kafka_programs_that_only_read_have_nothing_that_orders_them() {
    let mut plain = Exchange::start("kafka-plain", false, ", replicate: false");
    change(&mut plain.author, "app.x", &json!(1));
    let event = plain.shown("app.x")["event"].clone();
    assert_fields(
        &event,
        &json!({ "new_value": 1, "event_type": "config_created", "source_node": plain.node }),
    );
    assert_without(&event, &ORDER);
    plain.bridge.host.stop();

    let mut whole = Exchange::start("kafka-whole", false, "");
    change(&mut whole.author, "app.x", &json!(1));
    let event = whole.shown("app.x")["event"].clone();
    assert!(ORDER.iter().all(|name| event.get(name).is_some()), "{event}");
    whole.bridge.host.stop();
}

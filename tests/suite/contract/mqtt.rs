//! The guide's MQTT program and a host exchange changes, seen by a third client of the broker.

use super::bridge::{Bridge, Isoformat, ORDER, assert_fields, assert_without, change, delete, shown, synced};
use lockstep_test_support::{
    Mosquitto, MosquittoOptions, MqttClient, MqttMessage, PASSWORD, Python, USER, WsClient,
};
use serde_json::{Value, json};

/// The guide's patterns, and one more for keys of two segments.
const PATTERNS: [&str; 4] = ["app.database.*", "app.features.*", "app.security.*", "app.*"];

/// A host, the guide's program, and somebody who sees everything that the broker passes on.
struct Exchange {
    mosquitto: Mosquitto,
    bridge: Bridge,
    python: Python,
    time: Isoformat,
    witness: MqttClient,
    naive: bool,
}

/// The settings of a component that uses this broker.
pub fn login(mosquitto: &Mosquitto) -> String {
    format!("broker_host: 127.0.0.1, broker_port: {}, username: {USER}, password: {PASSWORD}", mosquitto.port)
}

impl Exchange {
    fn start(naive: bool, both: &str, sink: &str) -> Self {
        let mosquitto = Mosquitto::start(&MosquittoOptions::default());
        let mut witness = MqttClient::connect(mosquitto.port);
        witness.subscribe("apg/config/#");
        let login = login(&mosquitto);
        let source = format!("{login} {both}");
        let sink = format!("{login} {both}, compat: {{ naive_timestamps: {naive} }} {sink}");
        let bridge = Bridge::start("node-mqtt", "mqtt", &source, &sink);
        let program = include_str!("../../support/peers/mqtt.py");
        let mut python = Python::start(program, &[&mosquitto.port.to_string(), USER, PASSWORD]);
        let granted = python.ask(&format!("subscribe {}", json!(PATTERNS)));
        assert_eq!(granted["filters"][0], "apg/config/+/app/database/+");
        Self { mosquitto, bridge, python, time: Isoformat::start(), witness, naive }
    }

    /// The next message on the topic, as it was published.
    fn published(&mut self, topic: &str) -> MqttMessage {
        self.witness.next_on(topic)
    }

    fn shown(&mut self, key: &str) -> Value {
        shown(&mut self.python, &json!({ "config_key": key }))
    }

    /// MQ-01 to MQ-03: topic, payload, QoS and the retained flag. Gives the publisher's name.
    #[track_caller]
    fn assert_change(&mut self, author: &mut WsClient, tenant: Option<&str>, topic: &str) -> String {
        change(author, "app.database.host", &json!("new-db-server.internal"));
        let message = self.published(topic);
        assert_eq!((message.qos, message.retain), (1, true));
        let payload = message.json();
        assert_fields(
            &payload,
            &json!({ "config_key": "app.database.host", "new_value": "new-db-server.internal", "user_id": "suite" }),
        );
        assert_eq!(payload["tenant_id"], json!(tenant));
        self.time.assert_now(&payload["timestamp"], self.naive);

        let shown = self.shown("app.database.host");
        assert_eq!((&shown["topic"], &shown["qos"]), (&json!(topic), &json!(1)));
        assert_eq!(shown["payload"], payload);
        let applied = json!({
            "config_key": "app.database.host", "new_value": "new-db-server.internal",
            "tenant_id": tenant.unwrap_or("global"),
        });
        assert_eq!(shown["applied"], applied, "what the guide's handler is given");
        payload["publisher_id"].as_str().expect("a name").to_owned()
    }

    fn changes_reach_the_program(&mut self) {
        let (mut one, mut nobody) = (self.bridge.client(Some("company-tenant")), self.bridge.client(None));
        let topic = "apg/config/company-tenant/app/database/host";
        let publisher = self.assert_change(&mut one, Some("company-tenant"), topic);
        let again = self.assert_change(&mut nobody, None, "apg/config/global/app/database/host");
        assert_eq!(publisher, again, "one client for everything");
        let digits = publisher.strip_prefix("apg_config_pub_").unwrap_or_else(|| panic!("{publisher}"));
        assert!(digits.len() == 8 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{publisher}");
        assert_eq!(self.status(&publisher), Some("online".to_owned()));
    }

    /// MQ-04: what the broker retains as the client's status.
    fn status(&self, publisher: &str) -> Option<String> {
        let retained = MqttClient::retained(self.mosquitto.port, &format!("apg/config/status/{publisher}"));
        retained.iter().map(MqttMessage::text).next()
    }

    /// A retained record, and no empty payload: whoever comes later must know that the key is gone, and when.
    fn a_key_is_deleted(&mut self) {
        let mut author = self.bridge.client(None);
        delete(&mut author, "app.database.host");
        let topic = "apg/config/global/app/database/host";
        let message = self.published(topic);
        assert!(message.retain);
        let deletion =
            json!({ "config_key": "app.database.host", "new_value": null, "event_type": "config_deleted" });
        assert_fields(&message.json(), &deletion);
        let retained = MqttClient::retained(self.mosquitto.port, topic);
        assert_eq!(
            retained.iter().map(|message| message.json()["event_type"].clone()).collect::<Vec<_>>(),
            ["config_deleted"]
        );
    }

    fn changes_of_the_program_reach_clients(&mut self) {
        for tenant in [Some("t1"), None] {
            let (mut author, mut subscriber) = (self.bridge.client(tenant), self.bridge.client(tenant));
            let change_of_python = json!({ "config_key": "app.features.beta", "new_value": { "on": true }, "tenant_id": tenant });
            let published = self.python.ask(&format!("publish {change_of_python}"));
            let topic = format!("apg/config/{}/app/features/beta", tenant.unwrap_or("global"));
            assert_eq!(published["topic"], topic.as_str());
            let message = synced(&mut subscriber, "app.features.beta");
            assert_fields(&message, &json!({ "new_value": { "on": true }, "event_type": "config_created" }));
            assert_eq!(message["tenant_id"], json!(tenant));
            // Naive text of six decimals, or of none.
            let instant = published["timestamp"].as_str().expect("a time").trim_end_matches(".000000");
            assert!(
                message["timestamp"].as_str().is_some_and(|text| text.starts_with(instant)),
                "{message} of {published}"
            );

            // Sinks keep the order of revisions: behind this one, nothing of the one before is still to come.
            change(&mut author, "app.last", &json!(1));
            let last = format!("apg/config/{}/app/last", tenant.unwrap_or("global"));
            let before = self.messages_before(&last);
            let n_messages = before.iter().filter(|message| message.topic == topic).count();
            assert_eq!(n_messages, 1, "the program's own alone: {before:?}");
        }
    }

    /// A program that empties a retained topic means that the key is gone.
    fn an_empty_message_deletes_a_key(&mut self) {
        let mut subscriber = self.bridge.client(Some("t1"));
        let mut device = MqttClient::connect(self.mosquitto.port);
        device.publish("apg/config/t1/app/features/beta", "", true);
        let deleted = synced(&mut subscriber, "app.features.beta");
        assert_fields(
            &deleted,
            &json!({ "event_type": "config_deleted", "new_value": null, "old_value": { "on": true } }),
        );
    }

    fn messages_before(&mut self, topic: &str) -> Vec<MqttMessage> {
        let mut messages = Vec::new();
        loop {
            let message = self.witness.next_message();
            if message.topic == topic {
                return messages;
            }
            messages.push(message);
        }
    }
}

fn exchange(naive: bool, protocol: &str) {
    let mut exchange = Exchange::start(naive, &format!(", protocol: {protocol}"), "");
    exchange.changes_reach_the_program();
    exchange.a_key_is_deleted();
    exchange.changes_of_the_program_reach_clients();
    exchange.an_empty_message_deletes_a_key();
    exchange.bridge.host.stop();
}

#[test]
fn the_guides_mqtt_program_and_a_host_exchange_changes() {
    exchange(false, "5");
}

#[test]
fn the_guides_mqtt_program_and_a_host_exchange_changes_by_mqtt_3_with_naive_timestamps() {
    exchange(true, "3.1.1");
}

#[test]
fn messages_for_mqtt_programs_that_only_read_have_nothing_that_orders_them() {
    for (replicate, retain) in [(false, false), (true, true)] {
        let sink = format!(", replicate: {replicate}, retain: {retain}");
        let mut exchange = Exchange::start(false, "", &sink);
        change(&mut exchange.bridge.client(None), "app.x", &json!(1));
        let message = exchange.published("apg/config/global/app/x");
        assert_eq!(message.retain, retain);
        assert_fields(
            &message.json(),
            &json!({ "config_key": "app.x", "new_value": 1, "source_node": "node-mqtt" }),
        );
        if replicate {
            assert!(ORDER.iter().all(|name| message.json().get(name).is_some()), "{message:?}");
        } else {
            assert_without(&message.json(), &ORDER);
        }
        exchange.bridge.host.stop();
    }
}

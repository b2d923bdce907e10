//! What the guide's Kafka code gets wrong, and a host does not (contract D-18 to D-20b, D-21): what a message says, and
//! what becomes of one that says nothing.

use super::{
    bridge::{Bridge, assert_fields, change, synced},
    kafka::Exchange,
};
use crate::dead_letter::dead_letters;
use lockstep_test_support::{Host, Kafka, LIMIT};
use serde_json::{Value, json};
use std::ops::Range;

pub fn fill(topic: &str, values: Range<u64>) {
    let records = values
        .map(|value| ("default:app.x", json!({ "config_key": "app.x", "new_value": value }).to_string()));
    Kafka::shared().client().produce_all(topic, records);
}

/// A host that reads one topic through the log and writes the same.
pub fn bridge(node_id: &str, topic: &str, source: &str) -> Bridge {
    let servers = format!("bootstrap_servers: ['{}'], topic: {topic}", Kafka::shared().plaintext());
    Bridge::start(node_id, "kafka", &format!("{servers} {source}"), &servers)
}

pub fn value_of(host: &Host, key: &str) -> Value {
    host.get(&format!("/v1/keys/{key}")).json()["new_value"].clone()
}

#[test]
fn d_18_what_is_no_change_is_put_aside_whole_and_its_neighbours_pass() {
    let kafka = Kafka::shared();
    let [topic, dead] = ["d-18", "d-18-dlq"].map(|name| kafka.topic(name, 1, &[]));
    let source = format!(", dead_letter_topic: {dead}");
    let mut bridge = bridge("d-18", &topic, &source);
    let poison: [&[u8]; 5] =
        [b"{\"config_key\":", b"", b"\xff\xfe", b"[1]", b"{\"config_key\":7,\"new_value\":1}"];
    for (number, value) in poison.into_iter().enumerate() {
        kafka.client().produce(
            &topic,
            Some("default:app.bad"),
            value,
            &[("number", number.to_string().as_bytes())],
        );
        let number = number as u64;
        fill(&topic, number..number + 1);
    }
    bridge.host.wait_until("the neighbours", LIMIT, |host| value_of(host, "app.x") == 4);
    let mut letters = kafka.client().reader(&dead);
    for (number, letter) in letters.wait_for_n(poison.len()).iter().enumerate() {
        assert_eq!(letter.value.as_deref(), Some(poison[number]), "as it came");
        assert_eq!(letter.key_text().as_deref(), Some("default:app.bad"));
        assert_eq!(letter.header("number"), Some(number.to_string()), "its own headers too");
        let headers = ["error_code", "original_topic", "original_partition", "original_offset", "failed_by"];
        let offset = (2 * number).to_string();
        let expected = ["bad_message", topic.as_str(), "0", offset.as_str(), "d-18"];
        assert_eq!(headers.map(|name| letter.header(name).unwrap_or_default()), expected);
    }
    bridge.host.kill();
    let mut host = bridge.site.start();
    fill(&topic, 5..6);
    host.wait_until("another one", LIMIT, |host| value_of(host, "app.x") == 5);
    letters.read_to_end();
    assert_eq!(letters.messages().len(), poison.len(), "each is put aside once");
    host.stop();
}

#[test]
fn d_18_without_a_topic_for_it_it_waits_in_the_hosts_queue() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("d-18-queue", 1, &[]);
    let mut bridge = bridge("d-18-queue", &topic, ", dead_letter_topic: null");
    kafka.client().produce(&topic, None, "{", &[]);
    fill(&topic, 0..1);
    bridge.host.wait_until("its neighbour", LIMIT, |host| value_of(host, "app.x") == 0);
    bridge.host.wait_until("a dead letter", LIMIT, |_| dead_letters(&bridge.site).len() == 1);
    let letter = dead_letters(&bridge.site)[0].to_string();
    assert!(letter.contains("bad_message"), "{letter}");
    let lines = bridge.host.logged("Error processing Kafka message: ");
    assert_eq!(lines.len(), 1, "the guide's line");
    bridge.host.stop();
}

#[test]
fn d_19_an_event_has_one_tenant() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("d-19", 1, &[]);
    let mut bridge = bridge("d-19", &topic, ", dead_letter_topic: null");
    let (mut nobodys, mut one) = (bridge.client(None), bridge.client(Some("t1")));
    let produce = |key: &str, body: Value, header: Option<&str>| {
        let event = json!({ "config_key": key, "new_value": key, "tenant_id": body }).to_string();
        let header = header.map(|header| ("tenant_id", header.as_bytes()));
        kafka.client().produce(&topic, None, event, header.as_slice());
    };
    // The header wins, an empty one is none, and then the body counts.
    produce("app.header", Value::Null, Some("t1"));
    produce("app.body", json!("t1"), Some(""));
    produce("app.body-alone", json!("t1"), None);
    produce("app.both", json!("t1"), Some("t1"));
    for key in ["app.header", "app.body", "app.body-alone", "app.both"] {
        let message = one.next_of_type("config_sync");
        assert_fields(&message, &json!({ "config_key": key, "tenant_id": "t1" }));
    }
    // Neither says one.
    produce("app.null", Value::Null, Some(""));
    produce("app.empty", json!(""), None);
    for key in ["app.null", "app.empty"] {
        let message = nobodys.next_of_type("config_sync");
        assert_eq!((&message["config_key"], &message["tenant_id"]), (&json!(key), &Value::Null), "{message}");
    }
    // They contradict each other, or cannot be.
    produce("app.mismatch", json!("t1"), Some("t2"));
    produce("app.reserved", Value::Null, Some("global"));
    produce("app.last", Value::Null, None);
    assert_eq!(nobodys.next_of_type("config_sync")["config_key"], "app.last");
    bridge.host.wait_until("two dead letters", LIMIT, |_| dead_letters(&bridge.site).len() == 2);
    let letters = json!(dead_letters(&bridge.site)).to_string();
    assert!(letters.contains("bad_message") && letters.contains("bad_tenant"), "{letters}");
    // What is written without a tenant has the key of one, not of `None`.
    change(&mut nobodys, "app.own", &json!(1));
    let record = kafka.client().reader(&topic).wait_for("the own change", |records| {
        records.iter().find(|record| record.json()["config_key"] == "app.own").cloned()
    });
    assert_eq!(record.key_text().as_deref(), Some("default:app.own"));
    assert_eq!(record.header("tenant_id").as_deref(), Some(""));
    bridge.host.stop();
}

/// D-20 and KF-10: a host says that a change was made here, and does not take its own plain messages for somebody's.
#[test]
fn d_20_a_host_names_itself_and_passes_over_its_own_plain_messages() {
    let mut exchange = Exchange::start("kafka-own", false, "");
    let event = |source_node: &str, value: u64| {
        json!({
            "event_type": "config_updated", "tenant_id": exchange.tenant, "config_key": "app.x", "new_value": value,
            "source_node": source_node,
        })
    };
    let (own, other) = (event(&exchange.node, 1), event("another-node", 2));
    exchange.python.ask(&format!("send {own}"));
    exchange.python.ask(&format!("send {other}"));
    let message = synced(&mut exchange.subscriber, "app.x");
    assert_fields(&message, &json!({ "new_value": 2, "old_value": null, "source_node": "another-node" }));
    change(&mut exchange.author, "app.y", &json!(3));
    assert_eq!(exchange.shown("app.y")["event"]["source_node"], exchange.node);
    exchange.bridge.host.stop();
}

/// KF-09: as the guide's consumer reads it, what the header says happened is what happened.
#[test]
fn the_header_says_what_happened_and_the_body_where_it_does_not() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("event-type", 1, &[]);
    let bridge = bridge("event-type", &topic, "");
    let mut subscriber = bridge.client(None);
    let mut happened = |value: Value, body: &str, header: &[u8]| {
        let event = json!({ "config_key": "app.x", "new_value": value, "event_type": body }).to_string();
        kafka.client().produce(&topic, None, event, &[("event_type", header)]);
        synced(&mut subscriber, "app.x")["event_type"].clone()
    };
    assert_eq!(happened(json!(1), "config_updated", b"config_updated"), "config_created", "it was not there");
    assert_eq!(happened(Value::Null, "config_updated", b""), "config_updated", "null is a value");
    assert_eq!(happened(Value::Null, "config_updated", b"config_deleted"), "config_deleted");
    assert_eq!(happened(json!(1), "config_deleted", b"config_updated"), "config_created");
    assert_eq!(happened(Value::Null, "config_deleted", b""), "config_deleted");
    bridge.host.stop();
}

/// Order is per partition alone: a key's older state that comes by another topic, or again, takes nothing back.
#[test]
fn d_20b_an_older_state_that_comes_later_changes_nothing() {
    let kafka = Kafka::shared();
    let [topic, other] = ["d-20b", "d-20b-other"].map(|name| kafka.topic(name, 1, &[]));
    let writer = bridge("d-20b-writer", &topic, "");
    let mut author = writer.client(None);
    change(&mut author, "app.x", &json!("older"));
    change(&mut author, "app.x", &json!("newer"));
    let states = kafka.client().reader(&topic).wait_for_n(2).to_vec();
    writer.host.stop();

    let mut reader = bridge("d-20b-reader", &other, "");
    let mut subscriber = reader.client(None);
    let produce = |value: &[u8], key: &str| kafka.client().produce(&other, Some(key), value, &[]);
    for state in states.iter().rev().chain(&states) {
        produce(state.value.as_deref().expect("never a null"), "default:app.x");
    }
    produce(br#"{"config_key":"app.last","new_value":1}"#, "default:app.last");
    assert_fields(&synced(&mut subscriber, "app.x"), &json!({ "new_value": "newer", "user_id": "suite" }));
    assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.last", "nothing in between");
    reader.host.wait_until("the newer one", LIMIT, |host| value_of(host, "app.x") == "newer");
    reader.host.stop();
}

#[test]
fn every_form_of_a_timestamp_is_taken_from_kafka() {
    let mut exchange = Exchange::start("kafka-times", false, "");
    let forms = [
        ("2024-01-01T12:00:00", "2024-01-01T12:00:00.000000Z"),
        ("2024-01-01T12:00:00.123456", "2024-01-01T12:00:00.123456Z"),
        ("2024-01-01T12:00:00.123Z", "2024-01-01T12:00:00.123000Z"),
        ("2024-01-01T12:00:00.123456789Z", "2024-01-01T12:00:00.123456Z"),
        ("2024-01-01T14:00:00+02:00", "2024-01-01T12:00:00.000000Z"),
    ];
    for (number, (form, instant)) in forms.into_iter().enumerate() {
        let key = format!("app.ui.time-{number}");
        let event = json!({
            "event_type": "config_updated", "tenant_id": exchange.tenant, "config_key": key, "new_value": number,
            "timestamp": form,
        });
        exchange.python.ask(&format!("send {event}"));
        assert_eq!(synced(&mut exchange.subscriber, &key)["timestamp"], instant, "{form}");
    }
    exchange.bridge.host.stop();
}

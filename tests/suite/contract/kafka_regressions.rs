//! What the guide's Kafka code gets wrong, and a host does not: D-13 to D-20c of the contract, from outside.
//!
//! Each test has topics of its own, but for those that need the guide's.

use super::{
    bridge::{Bridge, assert_fields, change, synced},
    kafka::Exchange,
};
use crate::dead_letter::dead_letters;
use lockstep_test_support::{Host, Kafka, LIMIT, Probe, Site, lines};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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

/// D-13: what became of an event is what the broker says, with partition and offset (L501).
#[test]
fn d_13_an_event_is_sent_when_the_broker_has_it_and_where_is_logged_without_its_value() {
    let mut exchange = Exchange::start("kafka-log", false, "");
    let secret = "a-value-that-nobody-logs";
    change(&mut exchange.author, "app.database.password", &json!(secret));
    exchange.shown("app.database.password");
    let [record] = &exchange.records("apg-config-database")[..] else { panic!("one record") };
    let line = format!(
        "Event sent to Kafka: topic=apg-config-database, partition={}, offset={}",
        record.partition, record.offset
    );
    exchange.bridge.host.wait_until("the guide's line", LIMIT, |host| host.logged(&line).len() == 1);
    assert!(!exchange.bridge.host.log().contains(secret));
    exchange.bridge.host.stop();
}

/// A direct pipeline from a topic to this sink, on a host of this name.
fn moves(node_id: &str, topic: &str, source: &str, sink: &str) -> Site {
    let servers = Kafka::shared().plaintext();
    let source = format!(
        "{{ plugin: kafka, config: {{ bootstrap_servers: ['{servers}'], topic: {topic}, auto_offset_reset: earliest {source} }} }}"
    );
    let yaml = format!("sources: [ {source} ]\nsinks: [ {sink} ]\n");
    Site::new().pipeline("moves", &yaml).env("LOCKSTEP_NODE_ID", node_id)
}

fn fill(topic: &str, values: std::ops::Range<u64>) {
    let records = values
        .map(|value| ("default:app.x", json!({ "config_key": "app.x", "new_value": value }).to_string()));
    Kafka::shared().client().produce_all(topic, records);
}

fn received(host: &Host) -> u64 {
    host.get("/v1/metrics").json()["message_throughput"]["kafka_received"].as_u64().expect("a number")
}

fn committed(node_id: &str, topic: &str) -> i64 {
    Kafka::shared().client().committed(&format!("apg-config-{node_id}"), topic).values().sum()
}

#[test]
fn d_15_hosts_that_name_no_group_get_every_change_each() {
    let topic = Kafka::shared().topic("d-15", 2, &[]);
    let file = "{ plugin: file, config: { path: SITE/out.ndjson } }";
    let sites = ["d-15-a", "d-15-b"].map(|node| moves(node, &topic, "", file));
    let mut hosts = sites.each_ref().map(Site::start);
    fill(&topic, 0..20);
    for (host, site) in hosts.iter_mut().zip(&sites) {
        host.wait_until("all of them", LIMIT, |_| lines(&site.path("out.ndjson")).len() == 20);
    }
    for (mut host, node) in hosts.into_iter().zip(["d-15-a", "d-15-b"]) {
        host.wait_until("a group of its own", LIMIT, |_| committed(node, &topic) == 20);
        host.stop();
    }
}

#[test]
fn d_16_the_group_is_told_only_of_what_was_written() {
    let topic = Kafka::shared().topic("d-16", 1, &[]);
    let site = moves(
        "d-16",
        &topic,
        ", auto_commit_interval_ms: 10",
        "{ plugin: probe, config: { dir: SITE/out } }",
    );
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_ready();
    sink.down();
    fill(&topic, 0..20);
    host.wait_until("everything read", LIMIT, |host| received(host) == 20);
    let read = Instant::now();
    host.wait_until("many times the interval", LIMIT, |_| read.elapsed() > Duration::from_millis(300));
    assert_eq!(committed("d-16", &topic), 0, "read is not written");
    host.kill();
    sink.up();
    let mut host = site.start();
    host.wait_until("everything written", LIMIT, |_| sink.written().len() == 20);
    host.wait_until("the group told", LIMIT, |_| committed("d-16", &topic) == 20);
    host.stop();
}

/// A host that reads one topic through the log and writes the same.
fn bridge(node_id: &str, topic: &str, source: &str) -> Bridge {
    let servers = format!("bootstrap_servers: ['{}'], topic: {topic}", Kafka::shared().plaintext());
    Bridge::start(node_id, "kafka", &format!("{servers} {source}"), &servers)
}

fn value_of(host: &Host, key: &str) -> Value {
    host.get(&format!("/v1/keys/{key}")).json()["new_value"].clone()
}

#[test]
fn d_17_what_was_sent_before_a_host_was_there_or_while_it_was_away_is_not_lost() {
    let topic = Kafka::shared().topic("d-17", 1, &[]);
    fill(&topic, 0..5);
    // `latest` is the default.
    let mut bridge = bridge("d-17", &topic, "");
    assert_eq!(value_of(&bridge.host, "app.x"), 4, "known as soon as it is ready");
    bridge.host.kill();
    fill(&topic, 5..10);
    let mut host = bridge.site.start();
    host.wait_ready();
    assert_eq!(value_of(&host, "app.x"), 9);
    host.stop();
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
        let all = format!(
            "{:?}",
            letter
                .headers
                .iter()
                .map(|(name, value)| (name, String::from_utf8_lossy(value)))
                .collect::<Vec<_>>()
        );
        assert!(all.contains("bad_message") && all.contains(&topic), "why, and where from: {all}");
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

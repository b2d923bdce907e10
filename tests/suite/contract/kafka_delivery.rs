//! What the guide's Kafka code gets wrong, and a host does not (contract D-13 to D-17, D-20c): what is sent arrives, and
//! what arrived is not forgotten.

use super::{
    bridge::change,
    kafka::Exchange,
    kafka_messages::{bridge, fill, value_of},
};
use crate::dead_letter::dead_letters;
use lockstep_test_support::{Host, Kafka, LIMIT, Probe, Proxy, Site, WsClient, free_port, lines};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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

/// The guide's program answers `False` and forgets the event. A host has it on disk, whatever happens to the host too.
#[test]
fn d_20c_an_event_that_cannot_be_sent_waits_and_is_sent_in_order() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("d-20c", 1, &[]);
    let (way, port) = (Proxy::new(kafka.port()), free_port());
    way.cut();
    let yaml = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
transforms: [ {{ plugin: resolver }} ]
sinks: [ {{ plugin: kafka, config: {{ bootstrap_servers: ['127.0.0.1:{}'], topic: {topic} }} }} ]
",
        way.port()
    );
    let site = Site::new().pipeline("flow", &yaml);
    let mut host = site.start();
    host.wait_ready();
    let mut author = WsClient::connect(port);
    (0..5).for_each(|value| drop(change(&mut author, "app.x", &json!(value))));
    host.wait_until("an open breaker", LIMIT, |host| {
        host.status().component("flow", "sinks", "kafka")["state"] == "not_connected"
    });
    host.kill();
    let mut host = site.start();
    host.wait_ready();
    let mut author = WsClient::connect(port);
    (5..10).for_each(|value| drop(change(&mut author, "app.x", &json!(value))));
    way.clear();
    let records = kafka.client().reader(&topic).wait_for_n(10).to_vec();
    let values: Vec<Value> = records.iter().map(|record| record.json()["new_value"].clone()).collect();
    assert_eq!(json!(values), json!((0..10).collect::<Vec<_>>()));
    assert_eq!(dead_letters(&site), [] as [Value; 0]);
    host.stop();
}

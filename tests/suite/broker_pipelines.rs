//! Every shipped pipeline that needs a broker does what its first lines say, as it is shipped: only addresses differ.

use crate::pipelines::shipped;
use lockstep_test_support::{
    Brokers, Host, Kafka, KafkaMessage, LIMIT, MqttClient, Redis, Site, WsClient, eventually, lines,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The entries of a stream, oldest first, by their fields.
pub(crate) fn stream(redis: &Redis, name: &str) -> Vec<BTreeMap<String, Vec<u8>>> {
    let entries: Vec<(String, BTreeMap<String, Vec<u8>>)> = redis.command(&["XRANGE", name, "-", "+"]);
    entries.into_iter().map(|(_, fields)| fields).collect()
}

fn run(site: &Site, name: &str) -> Host {
    let mut host = site.start_with(site.command(["run".to_owned(), format!("pipelines/{name}")]));
    host.wait_ready();
    host
}

fn change(key: &str, value: &Value) -> String {
    json!({ "config_key": key, "new_value": value, "user_id": "foreign" }).to_string()
}

#[test]
fn config_sync_takes_changes_from_everywhere_and_shows_them_everywhere() {
    let brokers = Brokers::start();
    let (site, port) = shipped("config-sync.yaml");
    let site = brokers.env(site);
    let mut host = run(&site, "config-sync.yaml");
    let (mut subscriber, mut author) = (WsClient::connect(port), WsClient::connect(port));
    let mut devices = MqttClient::connect(brokers.mqtt.port);
    devices.subscribe("apg/config/global/#");

    assert_eq!(author.change("app.database.host", &json!("db1"))["success"], true);
    assert_eq!(subscriber.next_of_type("config_sync")["new_value"], "db1");
    let mut database = brokers.kafka.client().reader("apg-config-database");
    let message = database.wait_for_n(1)[0].clone();
    assert_eq!(message.key_text().as_deref(), Some("default:app.database.host"));
    assert_eq!(
        (&message.json()["new_value"], message.header("event_type")),
        (&json!("db1"), Some("config_created".into()))
    );
    let message = devices.next_on("apg/config/global/app/database/host");
    assert_eq!((message.json()["new_value"].as_str(), message.retain), (Some("db1"), true));
    host.wait_until("the change in the cache", LIMIT, |_| {
        let cached: Option<String> =
            brokers.redis.command(&["HGET", "apg-config:cache:global", "app.database.host"]);
        cached.is_some_and(|state| state.contains("db1"))
    });

    let by_kafka = change("app.features.dark", &json!(true));
    brokers.kafka.client().produce("apg-config-features", Some("default:app.features.dark"), by_kafka, &[]);
    assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.features.dark");
    devices.next_on("apg/config/global/app/features/dark");
    devices.publish("apg/config/global/app/ui/theme", change("app.ui.theme", &json!("dark")), true);
    assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.ui.theme");
    let by_redis = change("app.ui.size", &json!(12));
    let _: String = brokers.redis.command(&["XADD", "apg-config:log:global", "*", "data", &by_redis]);
    assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.ui.size");
    let set = site.run(["set", "app.ui.size", "13"]).expect_code(0);
    assert!(set.stdout.contains('5'), "the fifth revision: {}", set.stdout);
    assert_eq!(subscriber.next_of_type("config_sync")["new_value"], 13);

    // What breaks a rule reaches nobody: an author is told, elsewhere it is kept.
    assert_eq!(author.change("app.features.dark", &json!("yes"))["code"], "invalid_value");
    let bad = change("app.features.dark", &json!("yes"));
    brokers.kafka.client().produce("apg-config-features", Some("default:app.features.dark"), bad, &[]);
    host.wait_until("the dead letter", LIMIT, |_| {
        site.run(["dlq", "list", "--json"]).expect_code(0).stdout.contains("invalid_value")
    });
    host.stop();
}

#[test]
fn kafka_to_websocket_shows_what_is_in_the_topics_to_clients_that_only_read() {
    let brokers = Brokers::start();
    brokers.kafka.create_guide_topics();
    let kafka = brokers.kafka.client();
    for number in 0..30 {
        let key = format!("app.database.n{}", number % 10);
        kafka.produce(
            "apg-config-database",
            Some(&format!("default:{key}")),
            change(&key, &json!(number)),
            &[],
        );
    }
    kafka.produce(
        "apg-config-general",
        Some("default:app.ui.theme"),
        change("app.ui.theme", &json!("dark")),
        &[],
    );
    let (site, port) = shipped("kafka-to-websocket.yaml");
    let site = brokers.env(site);
    let host = run(&site, "kafka-to-websocket.yaml");
    let mut client = WsClient::connect(port);
    client.send(&json!({ "type": "subscribe", "id": 1, "patterns": ["app.*"], "snapshot": true }));
    client.next_of_type("subscribed");
    let snapshot: BTreeMap<String, Value> = (0..11)
        .map(|_| client.next_of_type("config_sync"))
        .map(|shown| (shown["config_key"].as_str().expect("a key").to_owned(), shown["new_value"].clone()))
        .collect();
    assert_eq!((snapshot.len(), &snapshot["app.database.n9"]), (11, &json!(29)));
    let refused = client.change("app.ui.theme", &json!("light"));
    assert_eq!((&refused["success"], &refused["code"]), (&json!(false), &json!("read_only")));
    kafka.produce(
        "apg-config-general",
        Some("default:app.ui.theme"),
        change("app.ui.theme", &json!("light")),
        &[],
    );
    assert_eq!(client.next_of_type("config_sync")["new_value"], "light");
    host.stop();
}

/// The values of one topic. Those of two may stand in any order: the sink has several connections, and a key one of them.
fn of<'a>(entries: &'a [BTreeMap<String, Vec<u8>>], topic: &str) -> Vec<&'a [u8]> {
    entries.iter().filter(|entry| entry["key"] == topic.as_bytes()).map(|entry| &entry["value"][..]).collect()
}

#[test]
fn mqtt_to_redis_writes_what_devices_say_and_nothing_twice_over_a_restart() {
    let brokers = Brokers::start();
    let (site, _) = shipped("mqtt-to-redis.yaml");
    let site = brokers.env(site);
    let host = run(&site, "mqtt-to-redis.yaml");
    let mut device = MqttClient::connect(brokers.mqtt.port);
    let entries = |n: usize| {
        eventually(LIMIT, || Some(stream(&brokers.redis, "devices")).filter(|entries| entries.len() >= n))
            .unwrap_or_else(|| panic!("{n} entries: {:?}", stream(&brokers.redis, "devices")))
    };
    device.publish("devices/a/temperature", "21.5", false);
    device.publish("devices/b/raw", [0xff, 0xfe], false);
    let first = entries(2);
    assert_eq!(of(&first, "devices/a/temperature"), [b"21.5"]);
    assert_eq!(of(&first, "devices/b/raw"), [[0xff, 0xfe]], "any payload passes");
    host.stop();
    // What is published while the host is away waits at the broker.
    device.publish("devices/a/temperature", "22", false);
    let host = run(&site, "mqtt-to-redis.yaml");
    entries(3);
    device.publish("devices/a/temperature", "23", false);
    entries(4);
    host.stop();
    let all = stream(&brokers.redis, "devices");
    assert_eq!(of(&all, "devices/a/temperature"), [&b"21.5"[..], b"22", b"23"], "in order");
    assert_eq!(all.len(), 4);
}

#[test]
fn kafka_to_kafka_copies_records_as_they_are_in_order() {
    let kafka = Kafka::shared();
    let (from, to) = (kafka.topic("orders", 3, &[]), kafka.topic("orders-copy", 3, &[]));
    let client = kafka.client();
    for number in 0..300 {
        let (key, value) = (format!("customer-{}", number % 7), number.to_string());
        client.produce(&from, Some(&key), value, &[("number", number.to_string().as_bytes())]);
    }
    client.produce(&from, Some("binary"), [0_u8, 159, 146, 150], &[("raw", &[0xff])]);
    let (site, _) = shipped("kafka-to-kafka.yaml");
    let site = site
        .env("KAFKA_FROM", kafka.plaintext())
        .env("KAFKA_TO", kafka.plaintext())
        .env("KAFKA_FROM_TOPIC", &from)
        .env("KAFKA_TO_TOPIC", &to);
    let host = run(&site, "kafka-to-kafka.yaml");
    let mut copies = client.reader(&to);
    let copied = by_key(copies.wait_for_n(301));
    assert_eq!(copied, by_key(&client.read_all(&from)));
    host.stop();
    let committed: i64 = client.committed("lockstep-kafka-to-kafka", &from).values().sum();
    assert_eq!(committed, 301, "the group was told what is written");
}

/// A record without its place and time.
type Passed = (Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

/// What a consumer sees of each key, in order.
fn by_key(messages: &[KafkaMessage]) -> BTreeMap<Option<Vec<u8>>, Vec<Passed>> {
    let mut messages = messages.to_vec();
    messages.sort_by_key(|message| (message.partition, message.offset));
    messages.into_iter().fold(BTreeMap::new(), |mut found, message| {
        found.entry(message.key).or_default().push((message.value, message.headers));
        found
    })
}

#[test]
fn handlers_get_the_changes_that_are_theirs_the_most_specific_first() {
    let brokers = Brokers::start();
    brokers.kafka.create_guide_topics();
    let (site, _) = shipped("handlers.yaml");
    let site = brokers.env(site);
    let mut host = run(&site, "handlers.yaml");
    let kafka = brokers.kafka.client();
    let mut device = MqttClient::connect(brokers.mqtt.port);
    for key in ["app.database.host", "app.database.port", "app.features.dark", "app.security.tls"] {
        let topic = format!("apg/config/global/{}", key.replace('.', "/"));
        device.publish(&topic, change(key, &json!("by mqtt")), false);
    }
    kafka.produce("apg-config-general", None, change("app.ui.theme", &json!("by kafka")), &[]);
    let handled = |handler: &str| {
        let file = site.path(format!("lockstep-data/handlers/{handler}.ndjson"));
        let keys = lines(&file).into_iter().map(|line| {
            let change: Value = serde_json::from_str(&line).expect("JSON");
            change["config_key"].as_str().expect("a key").to_owned()
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort();
        keys
    };
    host.wait_until("the change that is to be undone", LIMIT, |_| !handled("database-host").is_empty());
    // KF-11: the header says what happened.
    let gone = json!({ "config_key": "app.database.host", "new_value": null }).to_string();
    kafka.produce(
        "apg-config-database",
        None,
        gone,
        &[("event_type", b"config_deleted"), ("tenant_id", b"")],
    );
    let table: [(&str, &[&str]); 5] = [
        ("removed", &["app.database.host"]),
        ("database-host", &["app.database.host"]),
        ("database", &["app.database.port"]),
        ("features", &["app.features.dark"]),
        ("generic", &["app.security.tls", "app.ui.theme"]),
    ];
    host.wait_until("every change at its handler", LIMIT, |_| {
        table.iter().all(|(handler, keys)| handled(handler).len() >= keys.len())
    });
    for (handler, keys) in table {
        assert_eq!(handled(handler), keys, "{handler}");
    }
    host.stop();
}

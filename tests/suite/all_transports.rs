//! All four transports on one host, by the shipped pipeline: a change that comes in anywhere goes out everywhere, once.
//!
//! What is where is read from outside, from the brokers themselves: Kafka's topics, what MQTT publishes, Redis' stream.

use crate::{broker_pipelines::stream, pipelines::shipped};
use lockstep_test_support::{Brokers, Host, KafkaReader, LIMIT, MqttClient, Site, WsClient, scale};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, time::Duration};

const TOPICS: [&str; 4] =
    ["apg-config-general", "apg-config-database", "apg-config-security", "apg-config-features"];

/// Long enough for a message that should not come to have come: the brokers answer within milliseconds.
const QUIET: Duration = Duration::from_secs(2);

/// The ways in.
const WAYS: [&str; 5] = ["websocket", "kafka", "mqtt", "redis", "set"];

/// A message as a broker has it: the key, the value, and the revision if a host has written it.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    key: String,
    value: Value,
    revision: Option<u64>,
}

impl Shown {
    fn of(change: &Value) -> Self {
        let key = change["config_key"].as_str().expect("a key").to_owned();
        Self { key, value: change["new_value"].clone(), revision: change["revision"].as_u64() }
    }
}

/// A host with the shipped pipeline, programs that make changes in every way, and programs that watch every place.
struct Everywhere {
    brokers: Brokers,
    site: Site,
    host: Host,
    author: WsClient,
    subscriber: WsClient,
    device: MqttClient,
    published: MqttClient,
    topics: Vec<KafkaReader>,
}

impl Everywhere {
    /// The pipeline as it is shipped.
    fn start() -> Self {
        Self::start_with(|yaml| yaml)
    }

    fn start_with(edit: impl FnOnce(String) -> String) -> Self {
        let brokers = Brokers::start();
        let (site, port) = shipped("config-sync.yaml");
        let yaml = fs::read_to_string(site.path("pipelines/config-sync.yaml")).expect("the pipeline");
        let site = site.pipeline("config-sync", &edit(yaml));
        // The heartbeat is a revision of its own.
        let site = brokers.env(site).env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
        let mut host = site.start();
        host.wait_ready();
        let mut published = MqttClient::connect(brokers.mqtt.port);
        published.subscribe("apg/config/global/#");
        let topics = TOPICS.map(|topic| brokers.kafka.client().reader(topic)).into();
        let device = MqttClient::connect(brokers.mqtt.port);
        let (author, subscriber) = (WsClient::connect(port), WsClient::connect(port));
        Self { brokers, site, host, author, subscriber, device, published, topics }
    }

    /// Makes a change, as a program that knows the guide alone would.
    fn change(&mut self, way: &str, key: &str, value: &Value) {
        let text = json!({ "config_key": key, "new_value": value, "user_id": way }).to_string();
        match way {
            "websocket" => assert_eq!(self.author.change(key, value)["success"], true),
            "kafka" => {
                let (topic, record_key) = (topic_of(key), format!("default:{key}"));
                let headers: [(&str, &[u8]); 2] = [("event_type", b"config_updated"), ("tenant_id", b"")];
                self.brokers.kafka.client().produce(topic, Some(&record_key), text, &headers);
            }
            "mqtt" => {
                let topic = format!("apg/config/global/{}", key.replace('.', "/"));
                self.device.publish(&topic, text, true);
            }
            "redis" => {
                let words = ["XADD", "apg-config:log:global", "*", "data", &text];
                let _: String = self.brokers.redis.command(&words);
            }
            _ => drop(self.site.run(["set", key, &value.to_string()]).expect_code(0)),
        }
    }

    /// The next changes that the subscriber is shown.
    fn synced(&mut self, n: usize) -> Vec<Shown> {
        (0..n).map(|_| Shown::of(&self.subscriber.next_of_type("config_sync"))).collect()
    }

    /// Waits until every sink has written everything up to this revision.
    fn delivered(&mut self, revision: u64) {
        self.host.wait_until("every sink to have written it", LIMIT, |host| {
            let status = host.status();
            let sinks = status.pipeline("config-sync")["sinks"].as_array().cloned().unwrap_or_default();
            sinks.len() == 4
                && sinks.iter().all(|sink| sink["delivery"]["revision"].as_u64() >= Some(revision))
        });
    }

    /// The same, and then until nothing can come any more.
    fn settle(&mut self, revision: u64) {
        self.delivered(revision);
        // Nothing tells that a message does not come.
        std::thread::sleep(QUIET);
    }

    fn in_kafka(&mut self) -> Vec<Shown> {
        self.topics.iter_mut().for_each(KafkaReader::read_to_end);
        let messages = self.topics.iter().flat_map(|topic| topic.messages());
        messages.map(|message| Shown::of(&message.json())).collect()
    }

    /// What was published since the last time.
    fn in_mqtt(&mut self) -> Vec<Shown> {
        self.published.messages_so_far().iter().map(|message| Shown::of(&message.json())).collect()
    }

    fn in_redis(&self) -> Vec<Shown> {
        let entries = stream(&self.brokers.redis, "apg-config:log:global");
        entries
            .iter()
            .map(|fields| Shown::of(&serde_json::from_slice(&fields["data"]).expect("JSON")))
            .collect()
    }
}

fn topic_of(key: &str) -> &'static str {
    let kinds = [("app.database.", TOPICS[1]), ("app.security.", TOPICS[2]), ("app.features.", TOPICS[3])];
    kinds.iter().find(|(prefix, _)| key.starts_with(prefix)).map_or(TOPICS[0], |(_, topic)| topic)
}

/// How often each key is there.
fn counted(messages: &[Shown]) -> BTreeMap<&str, usize> {
    messages.iter().fold(BTreeMap::new(), |mut counted, message| {
        *counted.entry(message.key.as_str()).or_default() += 1;
        counted
    })
}

/// Redis' sink keeps the order of each key over its connections; over one connection it keeps that of all of them.
fn over_one_connection(yaml: String) -> String {
    let edited = yaml.replacen("config: &redis", "config: &redis\n      pool_size: 1", 1);
    assert_ne!(edited, yaml);
    edited
}

#[track_caller]
fn assert_in_order(place: &str, messages: &[Shown]) {
    let revisions: Vec<u64> = messages.iter().filter_map(|message| message.revision).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{place}: {revisions:?}");
}

#[test]
fn a_change_that_enters_anywhere_reaches_every_other_place_once_in_the_order_of_revisions() {
    let n_each = scale(20, 500);
    let mut everywhere = Everywhere::start_with(over_one_connection);
    let mut keys = Vec::new();
    for number in 0..n_each {
        for way in WAYS {
            let kind = ["ui", "database", "security"][number % 3];
            let key = format!("app.{kind}.{way}.n{number}");
            everywhere.change(way, &key, &json!(number));
            keys.push(key);
        }
    }
    let synced = everywhere.synced(keys.len());
    everywhere.settle(keys.len() as u64);
    assert_eq!(everywhere.subscriber.messages_so_far(), [] as [Value; 0], "nothing is shown twice");
    assert_in_order("the subscriber", &synced);
    let revisions: Vec<_> = (1..=keys.len() as u64).map(Some).collect();
    assert_eq!(synced.iter().map(|shown| shown.revision).collect::<Vec<_>>(), revisions, "without a gap");

    let once: BTreeMap<&str, usize> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    assert_eq!(counted(&synced), once);
    let (kafka, redis) = (everywhere.in_kafka(), everywhere.in_redis());
    let mqtt = everywhere.in_mqtt();
    for (broker, messages) in [("kafka", &kafka), ("mqtt", &mqtt), ("redis", &redis)] {
        let n = messages.len();
        println!(
            "{broker}: {n} messages for {} changes, {:.2} each",
            keys.len(),
            n as f64 / keys.len() as f64
        );
        assert_eq!(counted(messages), once, "{broker}");
        let own = |shown: &&Shown| shown.key.contains(&format!(".{broker}."));
        assert!(
            messages.iter().filter(own).all(|shown| shown.revision.is_none()),
            "{broker}: none came back"
        );
    }
    // Kafka has one order per partition, and each topic one partition here.
    for (topic, reader) in TOPICS.iter().zip(&everywhere.topics) {
        let messages: Vec<_> = reader.messages().iter().map(|message| Shown::of(&message.json())).collect();
        assert_in_order(topic, &messages);
    }
    assert_in_order("mqtt", &mqtt);
    assert_in_order("redis", &redis);
    everywhere.host.stop();
}

#[test]
fn one_key_changed_in_turn_from_everywhere_is_shown_alike_everywhere() {
    let n_rounds = scale(6, 100);
    let mut everywhere = Everywhere::start();
    let key = "app.ui.shared";
    let mut n_changes = 0;
    for _ in 0..n_rounds {
        for way in WAYS {
            n_changes += 1;
            everywhere.change(way, key, &json!(n_changes));
            let synced = everywhere.synced(1);
            assert_eq!((&synced[0].value, synced[0].revision), (&json!(n_changes), Some(n_changes)), "{way}");
            everywhere.delivered(n_changes);
        }
    }
    everywhere.settle(n_changes);
    let values: Vec<Value> = (1..=n_changes).map(Value::from).collect();
    let (kafka, redis, mqtt) = (everywhere.in_kafka(), everywhere.in_redis(), everywhere.in_mqtt());
    for (broker, messages) in [("kafka", kafka), ("mqtt", mqtt), ("redis", redis)] {
        let shown: Vec<Value> = messages.into_iter().map(|shown| shown.value).collect();
        assert_eq!(shown, values, "{broker}");
    }
    let cached: String = everywhere.brokers.redis.command(&["HGET", "apg-config:cache:global", key]);
    let cached: Value = serde_json::from_str(&cached).expect("JSON");
    assert_eq!(cached["new_value"], json!(n_changes));
    let retained = MqttClient::retained(everywhere.brokers.mqtt.port, "apg/config/global/app/ui/shared");
    assert_eq!(retained[0].json()["new_value"], json!(n_changes));
    everywhere.host.stop();
}

/// A pipeline that reads one place and shows it to nobody but the log.
fn reads(source: &str) -> String {
    format!(
        "sources: [ {source} ]\ntransforms: [ {{ plugin: resolver }} ]\n\
         sinks: [ {{ plugin: file, config: {{ path: ../out.ndjson }} }} ]\n"
    )
}

/// Starts a new host with an empty disk and gives the keys and values it knows at the moment it says that it is ready.
fn known_when_ready(source: &str) -> BTreeMap<String, Value> {
    let site = Site::new().pipeline("replica", &reads(source));
    let mut host = site.start();
    host.wait_ready();
    let mut keys: Vec<String> = Vec::new();
    loop {
        let after = keys.last().cloned().unwrap_or_default();
        let page = host.get(&format!("/v1/keys?limit=1000&after={after}")).json();
        let listed = page["keys"].as_array().expect("a list").iter();
        keys.extend(listed.map(|key| key["config_key"].as_str().expect("a key").to_owned()));
        if page["next"].is_null() {
            break;
        }
    }
    let known = keys.into_iter().map(|key| {
        let value = host.get(&format!("/v1/keys/{key}")).json()["new_value"].clone();
        (key, value)
    });
    let known = known.collect();
    host.stop();
    known
}

/// Fills every place by a host that ends before anybody else looks: each key twice, so that the newer value has to win.
fn fill(n_keys: usize) -> (Brokers, BTreeMap<String, Value>) {
    let mut everywhere = Everywhere::start();
    let mut expected = BTreeMap::new();
    for number in 0..2 * n_keys {
        let key = format!("app.database.n{}", number % n_keys);
        everywhere.change("websocket", &key, &json!(number));
        expected.insert(key, json!(number));
    }
    everywhere.delivered(2 * n_keys as u64);
    let Everywhere { brokers, host, .. } = everywhere;
    host.stop();
    (brokers, expected)
}

#[test]
fn a_new_host_shows_every_key_from_any_broker_before_it_is_ready() {
    let (brokers, mut expected) = fill(scale(100, 2_000));
    // Programs that know the guide alone have left something too.
    let foreign = |key: &str| json!({ "config_key": key, "new_value": "foreign" }).to_string();
    let left = ("app.ui.left", json!("foreign"));
    let kafka = brokers.kafka.client();
    kafka.produce("apg-config-general", Some("default:app.ui.left"), foreign("app.ui.left"), &[]);
    let mut device = MqttClient::connect(brokers.mqtt.port);
    device.publish("apg/config/global/app/ui/left", foreign("app.ui.left"), true);
    // The stream trims, the cache does not: nothing is left of the past but the newest state of each key.
    let _: u64 = brokers.redis.command(&["XTRIM", "apg-config:log:global", "MAXLEN", "0"]);

    let redis = format!("{{ plugin: redis, config: {{ url: '{}' }} }}", brokers.redis_url());
    assert_eq!(known_when_ready(&redis), expected, "from the cache");
    expected.insert(left.0.to_owned(), left.1);
    let kafka =
        format!("{{ plugin: kafka, config: {{ bootstrap_servers: ['{}'] }} }}", brokers.kafka.plaintext());
    assert_eq!(known_when_ready(&kafka), expected, "from the topics");
    let mqtt = format!("{{ plugin: mqtt, config: {{ url: '{}' }} }}", brokers.mqtt_url());
    assert_eq!(known_when_ready(&mqtt), expected, "from retained messages");
}

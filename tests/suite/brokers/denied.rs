//! Records that a broker does not take, each for a reason of its own: they are dead letters, and only they.

use crate::dead_letter::dead_letters;
use lockstep_test_support::{
    Arrivals, Certificates, Host, Kafka, LIMIT, Mosquitto, MosquittoOptions, Redis, RedisOptions, Site,
    Witness, WsClient, free_port,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many changes there are of each kind.
const N_EACH: u64 = 15;

/// What a change is, and who does not take it.
const KINDS: [Kind; 4] = [
    Kind { key: "open.here", tenant: None, denied_by: &[] },
    Kind { key: "app.denied", tenant: None, denied_by: &["kafka", "mqtt"] },
    Kind { key: "app.nowhere", tenant: None, denied_by: &["kafka", "mqtt"] },
    Kind { key: "open.closed", tenant: Some("closed"), denied_by: &["redis"] },
];

#[derive(Clone, Copy)]
struct Kind {
    key: &'static str,
    tenant: Option<&'static str>,
    denied_by: &'static [&'static str],
}

/// The brokers, and what `guest` may do at each.
struct Doors {
    mosquitto: Mosquitto,
    redis: Redis,
    /// Topics that it may write to, that it may not, and one that it could if it were there.
    open: String,
    denied: String,
    nowhere: String,
}

#[test]
fn what_an_access_list_denies_and_what_has_no_topic_are_dead_letters_and_the_rest_arrives() {
    let kafka = Kafka::shared();
    let doors = Doors::new(kafka);
    let port = free_port();
    let site = Site::new()
        .pipeline("sync", &doors.pipeline(kafka, port))
        .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    let mut host = site.start();
    host.wait_ready();
    let places = ["kafka", "mqtt", "redis"].map(|name| (name, Arrivals::default()));
    let [kafka_place, mqtt_place, redis_place] = places.each_ref().map(|(_, place)| place);
    let _witnesses = [
        Witness::of_kafka(kafka, &doors.open, kafka_place),
        Witness::of_mqtt(doors.mosquitto.port, "apg/config/+/open/#", mqtt_place),
        Witness::of_redis(&doors.redis, "apg-config:log:global", redis_place),
    ];
    let all = make_changes(port);
    for (name, place) in &places {
        let (denied, taken): (Vec<_>, Vec<_>) =
            all.iter().partition(|(kind, _)| kind.denied_by.contains(name));
        host.wait_until(&format!("dead letters of {name}"), 3 * LIMIT, |host| {
            n_dead(host, name) == denied.len() as f64
        });
        let numbers: BTreeSet<u64> = taken.iter().map(|(_, number)| *number).collect();
        host.wait_until(&format!("everything else at {name}"), LIMIT, |_| {
            place.n_distinct() >= numbers.len()
        });
        let arrived: BTreeSet<u64> = place.all().iter().map(|arrival| arrival.number).collect();
        assert_eq!(arrived, numbers, "at {name}");
        assert_eq!(n_dead(&host, name), denied.len() as f64, "and no more");
        assert_eq!(host.status().component("sync", "sinks", name)["state"], "running");
    }
    assert_eq!(reasons(&site), reasons_expected());
}

impl Doors {
    fn new(kafka: &Kafka) -> Self {
        let (open, denied) = (kafka.topic("open", 1, &[]), kafka.topic("denied", 1, &[]));
        let nowhere = format!("{open}-nowhere");
        kafka.allow("WRITE", &open);
        kafka.allow("WRITE", &nowhere);
        let redis = Redis::start(&RedisOptions::default());
        let partial = ["ACL", "SETUSER", "partial", "on", ">partial-secret", "~*:global", "&*", "+@all"];
        let _: String = redis.command(&partial);
        Self { mosquitto: Mosquitto::start(&MosquittoOptions::default()), redis, open, denied, nowhere }
    }

    fn pipeline(&self, kafka: &Kafka, port: u16) -> String {
        let Self { mosquitto, redis, open, denied, nowhere } = self;
        let websocket = format!("{{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }}");
        format!(
            "
sources:
  - {{ plugin: websocket, config: {websocket} }}
transforms:
  - {{ plugin: resolver }}
sinks:
  - {{ plugin: websocket, config: {websocket} }}
  - plugin: kafka
    config:
      bootstrap_servers: [\"{}\"]
      security_protocol: SASL_SSL
      ssl_context: {{ cafile: {} }}
      sasl_username: guest
      sasl_password: guest-secret
      topics:
        - {{ prefix: app.denied., topic: {denied} }}
        - {{ prefix: app.nowhere., topic: {nowhere} }}
        - {{ topic: {open} }}
  - plugin: mqtt
    config: {{ broker_port: {}, username: guest, password: guest-secret }}
  - plugin: redis
    config: {{ port: {}, username: partial, password: partial-secret }}
",
            kafka.sasl_ssl(),
            Certificates::shared().ca.display(),
            mosquitto.port,
            redis.port
        )
    }
}

/// Makes the changes of all kinds in turn, and gives the number of each.
fn make_changes(port: u16) -> Vec<(Kind, u64)> {
    let mut author = WsClient::connect(port);
    author.subscribe(&[]);
    let mut made = Vec::new();
    for number in 0..N_EACH * KINDS.len() as u64 {
        let kind = KINDS[number as usize % KINDS.len()];
        author.send(&json!({
            "type": "config_change", "id": number, "config_key": format!("{}.k{number}", kind.key),
            "tenant_id": kind.tenant, "new_value": { "n": number }, "user_id": "suite",
        }));
        made.push((kind, number));
    }
    for _ in &made {
        let answer = author.next_of_type("config_change_response");
        assert_eq!(answer["success"], true, "{answer}");
    }
    made
}

fn n_dead(host: &Host, component: &str) -> f64 {
    host.metrics().sum("lockstep_records_dead_lettered_total", &[("component", component), ("kind", "sink")])
}

/// How many dead letters there are of each reason.
fn reasons(site: &Site) -> BTreeMap<(String, String), u64> {
    let mut reasons = BTreeMap::new();
    for letter in dead_letters(site) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *reasons.entry((text(&letter["component"]), text(&letter["error"]["code"]))).or_default() += 1;
    }
    reasons
}

fn reasons_expected() -> BTreeMap<(String, String), u64> {
    let of = |component: &str, code: &str, n| ((component.to_owned(), code.to_owned()), n);
    BTreeMap::from([
        of("kafka", "forbidden", N_EACH),
        of("kafka", "not_found", N_EACH),
        of("mqtt", "forbidden", 2 * N_EACH),
        of("redis", "forbidden", N_EACH),
    ])
}

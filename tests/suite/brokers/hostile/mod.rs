//! What anybody can send to a broker: every message has one fate, and the good ones between the bad ones have theirs.

mod case;

use case::{Case, Fate};
use lockstep_test_support::{
    Kafka, LIMIT, Mosquitto, MosquittoOptions, MqttClient, Site, eventually, random, scale, written,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Every so many messages a good one.
const GOOD_EVERY: u64 = 10;

#[test]
fn every_hostile_message_by_kafka_or_mqtt_is_dead_lettered_or_applied_and_counted() {
    let n_cases = scale(2_000, 100_000);
    let mut random = random("hostile messages");
    let kafka = Kafka::shared();
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let (input, dead_letters) = (kafka.topic("hostile", 1, &[]), kafka.topic("hostile-dlq", 1, &[]));
    let site = Site::new()
        .pipeline("log", &pipeline(kafka, &mosquitto, &input, &dead_letters))
        .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    let mut host = site.start();
    host.wait_ready();

    let cases: Vec<Case> = (1..=n_cases)
        .map(|number| match number % GOOD_EVERY {
            0 => Case::good(number),
            _ => Case::hostile(number, &mut random),
        })
        .collect();
    let (by_kafka, by_mqtt): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.number % 2 == 0);
    kafka.client().produce_records(&input, by_kafka.iter().map(|case| case.record()));
    let mut publisher = MqttClient::connect(mosquitto.port);
    publisher.publish_all(by_mqtt.iter().map(|case| (case.topic.as_str(), case.value.clone())), false);
    // Behind everything else on its way in.
    let ends = [Case::good(n_cases + 1), Case::good(n_cases + 2)];
    kafka.client().produce_records(&input, [ends[0].record()]);
    publisher.publish(&ends[1].topic, &ends[1].value, false);

    let applied =
        || -> BTreeSet<u64> { written(&site.path("out.ndjson")).iter().filter_map(number_of).collect() };
    host.wait_until("the last message of each", scale(2, 20) * LIMIT, |_| {
        let numbers = applied();
        ends.iter().all(|end| numbers.contains(&end.number))
    });
    let applied = applied();
    let fates = |fate: Fate| cases.iter().filter(move |case| case.fate == fate);
    let wrong: Vec<&Case> = fates(Fate::Applied)
        .filter(|case| !applied.contains(&case.number))
        .chain(fates(Fate::Dead).filter(|case| applied.contains(&case.number)))
        .collect();
    println!("{}", tally(&cases, &applied));
    assert!(wrong.is_empty(), "{} have another fate, first: {:?}", wrong.len(), wrong.first());

    // Whatever was not applied was counted, and lies where it can be looked at: at Kafka, or in the host's own queue.
    let n_dead = cases.iter().filter(|case| !applied.contains(&case.number)).count();
    let n_counted = || {
        let own = host.metrics().sum("lockstep_dead_letters", &[("pipeline", "log")]) as usize;
        own + kafka.client().read_all(&dead_letters).len()
    };
    eventually(LIMIT, || (n_counted() >= n_dead).then_some(()));
    assert_eq!(n_counted(), n_dead, "dead letters");
    assert_eq!(host.status().state("log"), "running");
    assert_eq!(host.metrics().sum("lockstep_pipeline_restarts_total", &[]), 0.0);
    assert_eq!(host.get("/healthz").code, 200);
}

fn pipeline(kafka: &Kafka, mosquitto: &Mosquitto, input: &str, dead_letters: &str) -> String {
    format!(
        "
sources:
  - plugin: kafka
    config: {{ bootstrap_servers: [\"{}\"], topic: {input}, dead_letter_topic: {dead_letters} }}
  - plugin: mqtt
    config: {{ broker_port: {}, username: app, password: app-secret }}
transforms:
  - {{ plugin: resolver }}
sinks:
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
",
        kafka.plaintext(),
        mosquitto.port
    )
}

/// Which message made this change: a deletion has no value, but every key ends with its number.
fn number_of(change: &Value) -> Option<u64> {
    change["config_key"].as_str()?.rsplit_once(".k")?.1.parse().ok()
}

/// How many of each class there were, and how many of them were applied.
fn tally(cases: &[Case], applied: &BTreeSet<u64>) -> Value {
    let mut tally: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for case in cases {
        let (n, n_applied) = tally.entry(case.class).or_default();
        *n += 1;
        *n_applied += u64::from(applied.contains(&case.number));
    }
    json!(tally)
}

//! One byte more than ten mebibytes, among records that are not too large.

use crate::dead_letter::dead_letters;
use lockstep_test_support::{
    Host, Kafka, KafkaRecord, LIMIT, Mosquitto, MosquittoOptions, MqttClient, Redis, RedisOptions, Site,
};
use redis::streams::StreamRangeReply;

const TOO_LARGE: usize = (10 << 20) + 1;

/// How many small records come before it, and as many after it.
const N_SMALL: usize = 5;

/// The broker's own limits are above that.
const ROOMY: &[(&str, &str)] = &[("max.message.bytes", "11534336")];

/// `s0` to `s4`, the large one, `s5` to `s9`.
fn values() -> Vec<Vec<u8>> {
    let small = |number: usize| format!("s{number}").into_bytes();
    let mut values: Vec<Vec<u8>> = (0..2 * N_SMALL).map(small).collect();
    values.insert(N_SMALL, vec![b'x'; TOO_LARGE]);
    values
}

fn n_dead(host: &Host, component: &str) -> f64 {
    host.metrics().sum("lockstep_records_dead_lettered_total", &[("component", component)])
}

#[test]
fn a_sink_dead_letters_the_record_that_is_too_large_for_its_broker_and_writes_the_others_in_order() {
    let kafka = Kafka::shared();
    let (input, output) = (kafka.topic("large-in", 1, ROOMY), kafka.topic("large-out", 1, &[]));
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let redis = Redis::start(&RedisOptions::default());
    let login = "username: app, password: app-secret";
    let servers = format!("bootstrap_servers: [\"{}\"]", kafka.plaintext());
    let site = Site::new().pipeline(
        "direct",
        &format!(
            "
sources:
  - {{ name: in, plugin: kafka, config: {{ {servers}, topic: {input}, auto_offset_reset: earliest }} }}
sinks:
  - {{ plugin: kafka, config: {{ {servers}, topic: {output} }} }}
  - {{ plugin: mqtt, config: {{ broker_port: {}, {login}, topic: plant/large }} }}
  - {{ plugin: redis, config: {{ port: {}, {login}, stream: large }} }}
",
            mosquitto.port, redis.port
        ),
    );
    let mut subscriber = MqttClient::connect(mosquitto.port);
    subscriber.subscribe("plant/large");
    let records = values().into_iter().map(|value| KafkaRecord { value, ..Default::default() });
    kafka.client().produce_records(&input, records);
    let mut host = site.start();

    let mut small = values();
    small.remove(N_SMALL);
    let mut reader = kafka.client().reader(&output);
    let written =
        reader.wait_for_n(2 * N_SMALL).iter().map(|message| message.value.clone().unwrap_or_default());
    assert_eq!(written.collect::<Vec<_>>(), small, "at Kafka");
    let published: Vec<Vec<u8>> = small.iter().map(|_| subscriber.next_message().payload).collect();
    assert_eq!(published, small, "at MQTT");
    host.wait_until("the large record at Redis, which takes it", LIMIT, |_| {
        redis.command::<usize>(&["XLEN", "large"]) == 2 * N_SMALL + 1
    });
    assert_eq!(lengths(&redis), values().iter().map(Vec::len).collect::<Vec<_>>(), "in order");
    for (component, n) in [("kafka", 1.0), ("mqtt", 1.0), ("redis", 0.0), ("in", 0.0)] {
        host.wait_until(&format!("{n} dead letters of {component}"), LIMIT, |host| {
            n_dead(host, component) == n
        });
    }
    let codes: Vec<String> =
        dead_letters(&site).iter().map(|letter| letter["error"]["code"].to_string()).collect();
    assert_eq!(codes, ["\"too_large\"", "\"too_large\""]);
    assert_eq!(host.status().state("direct"), "running");
}

#[test]
fn a_message_that_is_too_large_for_an_mqtt_source_holds_nothing_up() {
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let redis = Redis::start(&RedisOptions::default());
    let login = "username: app, password: app-secret";
    let pipeline = |protocol: &str, stream: &str| {
        format!(
            "
sources:
  - {{ plugin: mqtt, config: {{ broker_port: {}, {login}, protocol: {protocol}, topics: [\"plant/{stream}\"] }} }}
sinks:
  - {{ plugin: redis, config: {{ port: {}, {login}, stream: {stream} }} }}
",
            mosquitto.port, redis.port
        )
    };
    let site =
        Site::new().pipeline("five", &pipeline("5", "five")).pipeline("three", &pipeline("3.1.1", "three"));
    let mut host = site.start();
    let mut publisher = MqttClient::connect(mosquitto.port);
    for stream in ["five", "three"] {
        let topic = format!("plant/{stream}");
        let n_there = || redis.command::<usize>(&["XLEN", stream]);
        host.wait_until("a subscription", LIMIT, |_| {
            publisher.publish(&topic, "", false);
            n_there() > 0
        });
        for value in values() {
            publisher.publish(&topic, value, false);
        }
        host.wait_until(&format!("everything small in {stream}"), LIMIT, |_| {
            let entries: StreamRangeReply = redis.command(&["XRANGE", stream, "-", "+"]);
            let values = entries.ids.iter().filter_map(|entry| entry.get::<String>("value"));
            let mut small: Vec<String> = values.filter(|value| value.starts_with('s')).collect();
            small.dedup();
            small.into_iter().eq((0..2 * N_SMALL).map(|number| format!("s{number}")))
        });
        assert_eq!(host.status().state(stream), "running");
    }
}

/// How long the values in the stream are.
fn lengths(redis: &Redis) -> Vec<usize> {
    let entries: StreamRangeReply = redis.command(&["XRANGE", "large", "-", "+"]);
    entries.ids.iter().map(|entry| entry.get::<Vec<u8>>("value").map_or(0, |value| value.len())).collect()
}

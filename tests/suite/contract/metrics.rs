//! The guide's metrics document counts what was said to each broker and what came from it.

use lockstep_test_support::{
    Host, Kafka, LIMIT, Mosquitto, MosquittoOptions, MqttClient, PASSWORD, Redis, RedisOptions, Site, USER,
    WsClient, free_port,
};
use serde_json::{Value, json};

fn throughput(host: &Host) -> Value {
    host.get("/v1/metrics").json()["message_throughput"].clone()
}

fn redis_operations(host: &Host) -> u64 {
    host.get("/v1/metrics").json()["redis_operations"].as_u64().expect("a number")
}

/// What the server has counted, whoever asked.
fn commands_processed(redis: &Redis) -> u64 {
    let stats: String = redis.command(&["INFO", "stats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.expect("a count").trim().parse().expect("a number")
}

fn pipeline(websocket: u16, topic: &str, mqtt: u16, redis: u16) -> String {
    let kafka = Kafka::shared().plaintext();
    let places = format!(
        "
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{websocket} }} }}
  - {{ plugin: kafka, config: {{ bootstrap_servers: ['{kafka}'], topic: {topic} }} }}
  - {{ plugin: mqtt, config: {{ broker_port: {mqtt}, username: {USER}, password: {PASSWORD} }} }}
  - {{ plugin: redis, config: {{ port: {redis}, username: {USER}, password: {PASSWORD} }} }}"
    );
    format!("sources:{places}\ntransforms: [ {{ plugin: resolver }} ]\nsinks:{places}\n")
}

#[test]
fn the_metrics_document_counts_the_messages_of_each_broker() {
    let (port, topic) = (free_port(), Kafka::shared().topic("metrics", 1, &[]));
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let redis = Redis::start(&RedisOptions::default());
    let site = Site::new()
        .pipeline("all", &pipeline(port, &topic, mosquitto.port, redis.port))
        .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    let mut host = site.start();
    host.wait_ready();
    let mut author = WsClient::connect(port);
    let mut client = MqttClient::connect(mosquitto.port);
    let (processed, operations) = (commands_processed(&redis), redis_operations(&host));
    for number in 0..10 {
        assert_eq!(author.change(&format!("app.websocket.{number}"), &json!(number))["success"], true);
    }
    let change = |key: &str| json!({ "config_key": key, "new_value": 1 }).to_string();
    for number in 0..5 {
        let key = format!("app.kafka.{number}");
        Kafka::shared().client().produce(&topic, Some(&format!("default:{key}")), change(&key), &[]);
    }
    for number in 0..3 {
        client.publish(
            &format!("apg/config/global/app/mqtt/{number}"),
            change(&format!("app.mqtt.{number}")),
            false,
        );
    }
    // What came from a broker does not go back to it, and a host hears its own messages too.
    host.wait_until("every message", LIMIT, |host| {
        let counted = throughput(host);
        let sent = [&counted["kafka_sent"], &counted["mqtt_sent"]].map(|n| n.as_u64().expect("a number"));
        sent[0] >= 13 && sent[1] >= 15
    });
    host.wait_until("what came back", LIMIT, |host| {
        let counted = throughput(host);
        counted["kafka_received"] == 18 && counted["mqtt_received"].as_u64() >= Some(18)
    });
    let counted = throughput(&host);
    assert_eq!((&counted["kafka_sent"], &counted["mqtt_sent"]), (&json!(13), &json!(15)), "{counted}");
    host.wait_until("the operations of 18 changes", LIMIT, |host| redis_operations(host) >= operations + 18);
    let (operations, processed) =
        (redis_operations(&host) - operations, commands_processed(&redis) - processed);
    assert!(operations <= processed, "{operations} of {processed}");
    host.stop();
}

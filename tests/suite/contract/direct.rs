//! The guide's programs on both sides of direct pipelines, which move messages without a log: the tenant that a topic or a
//! header names is the change's tenant wherever it goes.

use super::{
    bridge::{assert_fields, synced},
    mqtt::login,
};
use lockstep_test_support::{
    Host, Kafka, LIMIT, Mosquitto, MosquittoOptions, MqttClient, PASSWORD, Python, Redis, RedisOptions, Site,
    USER, WsClient, free_port,
};
use serde_json::{Value, json};

/// Everywhere that a change can go to from one source.
struct Places {
    topic: String,
    mosquitto: Mosquitto,
    redis: Redis,
    websocket: u16,
    host: Host,
    _site: Site,
}

impl Places {
    /// `source` is the source of a direct pipeline to each place. None of them takes anything away from another.
    fn start(mosquitto: Mosquitto, source: &str) -> Self {
        let (topic, websocket) = (Kafka::shared().topic("direct", 1, &[]), free_port());
        let redis = Redis::start(&RedisOptions::default());
        let sinks = [
            (
                "to-kafka",
                format!(
                    "plugin: kafka, config: {{ bootstrap_servers: ['{}'], topics: [ {{ topic: {topic} }} ] }}",
                    Kafka::shared().plaintext()
                ),
            ),
            (
                "to-mqtt",
                format!("plugin: mqtt, config: {{ {}, topic_prefix: other/config }}", login(&mosquitto)),
            ),
            (
                "to-redis",
                format!(
                    "plugin: redis, config: {{ port: {}, username: {USER}, password: {PASSWORD} }}",
                    redis.port
                ),
            ),
            ("to-websocket", format!("plugin: websocket, config: {{ listen: 127.0.0.1:{websocket} }}")),
        ];
        let site = sinks.iter().fold(Site::new(), |site, (name, sink)| {
            site.pipeline(name, &format!("sources: [ {{ {source} }} ]\nsinks: [ {{ {sink} }} ]\n"))
        });
        let mut host = site.start();
        host.wait_ready();
        Self { topic, mosquitto, redis, websocket, host, _site: site }
    }

    fn client(&self, tenant: &str) -> WsClient {
        WsClient::connect_to(&format!("ws://127.0.0.1:{}/{tenant}", self.websocket))
    }

    /// The change of the tenant `t1` is at every place, and nobody else's.
    fn assert_shown(&mut self, mut of_t1: WsClient, mut of_nobody: WsClient) {
        let expected = json!({ "config_key": "app.database.host", "new_value": "db1", "tenant_id": "t1" });
        assert_fields(&synced(&mut of_t1, "app.database.host"), &expected);
        assert_eq!(of_nobody.messages_so_far(), [] as [Value; 0], "another tenant's");

        let record = Kafka::shared().client().reader(&self.topic).wait_for_n(1)[0].clone();
        assert_eq!(record.key_text().as_deref(), Some("t1:app.database.host"));
        assert_eq!(record.header("tenant_id").as_deref(), Some("t1"));
        assert_fields(&record.json(), &expected);

        let port = self.mosquitto.port;
        self.host.wait_until("the retained message", LIMIT, |_| {
            !MqttClient::retained(port, "other/config/+/app/#").is_empty()
        });
        let [message] = &MqttClient::retained(port, "other/config/+/app/#")[..] else {
            panic!("one message")
        };
        assert_eq!(message.topic, "other/config/t1/app/database/host");
        assert_fields(&message.json(), &expected);

        let Self { host, redis, .. } = self;
        let cell = host.wait_for("the cell", LIMIT, |_| {
            redis.command::<Option<String>>(&["HGET", "apg-config:cache:t1", "app.database.host"])
        });
        assert_fields(&serde_json::from_str(&cell).expect("JSON"), &expected);
        assert_eq!(redis.command::<usize>(&["EXISTS", "apg-config:cache:global"]), 0);
    }
}

#[test]
fn the_tenant_in_the_topic_of_the_guides_mqtt_publisher_goes_along() {
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let port = mosquitto.port.to_string();
    let source = format!("plugin: mqtt, config: {{ {}, patterns: ['app.database.*'] }}", login(&mosquitto));
    let mut places = Places::start(mosquitto, &source);
    let clients = ["?tenant=t1", ""].map(|tenant| places.client(tenant));
    let mut python = Python::start(include_str!("../../support/peers/mqtt.py"), &[&port, USER, PASSWORD]);
    // Its payload names no tenant.
    python.ask(&format!(
        "publish {}",
        json!({ "config_key": "app.database.host", "new_value": "db1", "tenant_id": "t1" })
    ));
    let [of_t1, of_nobody] = clients;
    places.assert_shown(of_t1, of_nobody);
    places.host.stop();
}

#[test]
fn the_tenant_in_the_header_of_a_kafka_record_goes_along() {
    let kafka = Kafka::shared();
    let from = kafka.topic("direct-from", 1, &[]);
    let source = format!(
        "plugin: kafka, config: {{ bootstrap_servers: ['{}'], topic: {from}, auto_offset_reset: earliest }}",
        kafka.plaintext()
    );
    let mut places = Places::start(Mosquitto::start(&MosquittoOptions::default()), &source);
    let clients = ["?tenant=t1", ""].map(|tenant| places.client(tenant));
    let event = json!({ "config_key": "app.database.host", "new_value": "db1" }).to_string();
    kafka.client().produce(&from, None, event, &[("tenant_id", b"t1")]);
    let [of_t1, of_nobody] = clients;
    places.assert_shown(of_t1, of_nobody);
    places.host.stop();
}

#[test]
fn the_tenant_in_the_name_of_a_redis_stream_goes_along() {
    let redis = Redis::start(&RedisOptions::default());
    let source =
        format!("plugin: redis, config: {{ port: {}, username: {USER}, password: {PASSWORD} }}", redis.port);
    let mut places = Places::start(Mosquitto::start(&MosquittoOptions::default()), &source);
    let clients = ["?tenant=t1", ""].map(|tenant| places.client(tenant));
    let change = json!({ "config_key": "app.database.host", "new_value": "db1" }).to_string();
    let _: String = redis.command(&["XADD", "apg-config:log:t1", "*", "data", &change]);
    let [of_t1, of_nobody] = clients;
    places.assert_shown(of_t1, of_nobody);
    places.host.stop();
}

use super::*;
use rdkafka::ClientConfig;

fn source(json: &str) -> Result<KafkaSourceConfig> {
    let config: KafkaSourceConfig = serde_json::from_str(json)?;
    config.check().map(|()| config)
}

fn sink(json: &str) -> Result<KafkaSinkConfig> {
    let config: KafkaSinkConfig = serde_json::from_str(json)?;
    config.check().map(|()| config)
}

fn settings(client: &ClientConfig, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(client.get(name), Some(*value), "{name}");
    }
}

/// KF-06.
#[test]
fn the_producer_has_the_guides_settings() {
    let producer = sink("{}").expect("valid").producer("node-1", str::to_owned);
    settings(
        &producer,
        &[
            ("compression.type", "gzip"),
            ("message.max.bytes", "10485760"),
            ("request.timeout.ms", "30000"),
            ("retry.backoff.ms", "1000"),
            ("message.send.max.retries", "5"),
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("batch.num.messages", "1000"),
            ("linger.ms", "10"),
        ],
    );
}

/// KF-08, but for who commits (D-16) and where a pipeline through the log begins (D-17).
#[test]
fn the_consumer_has_the_guides_settings() {
    let config = source("{}").expect("valid");
    assert_eq!(config.max_poll_records, 100);
    assert_eq!(config.auto_commit_interval_ms.0.as_millis(), 1000);
    assert_eq!(config.auto_offset_reset, OffsetReset::Latest);
    assert_eq!(
        config.topics(),
        ["apg-config-general", "apg-config-database", "apg-config-security", "apg-config-features"]
    );
    settings(
        &config.consumer("node-1", str::to_owned),
        &[
            ("session.timeout.ms", "30000"),
            ("heartbeat.interval.ms", "10000"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ],
    );
}

#[test]
fn d_15_every_host_has_a_group_of_its_own() {
    assert_eq!(source("{}").expect("valid").group("node-1"), "apg-config-node-1");
    assert_eq!(source(r#"{"group_id":"shared"}"#).expect("valid").group("node-1"), "shared");
}

/// KF-14, settings 118-124: the guide's advanced configuration, as it stands.
#[test]
fn the_guides_advanced_configuration_is_accepted_by_both() {
    let json = r#"{
        "bootstrap_servers": ["kafka-1:9092", "kafka-2:9092", "kafka-3:9092"],
        "security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN",
        "sasl_username": "apg-config", "sasl_password": "kafka-password",
        "compression_type": "gzip", "batch_size": 1000, "linger_ms": 10
    }"#;
    let producer = sink(json).expect("valid").producer("node-1", str::to_owned);
    settings(
        &producer,
        &[
            ("bootstrap.servers", "kafka-1:9092,kafka-2:9092,kafka-3:9092"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "apg-config"),
            ("sasl.password", "kafka-password"),
        ],
    );
    let source = source(json).expect("valid");
    assert_eq!(source.connection().user(), "user `apg-config` by PLAIN");
    settings(&source.consumer("node-1", str::to_owned), &[("sasl.username", "apg-config")]);
}

#[test]
fn a_group_of_the_new_protocol_is_given_none_of_the_old_ones_settings() {
    let config = source(r#"{"group_protocol":"consumer"}"#).expect("valid");
    let consumer = config.consumer("node-1", str::to_owned);
    settings(&consumer, &[("group.protocol", "consumer")]);
    for name in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
        assert_eq!(consumer.get(name), None, "{name}");
    }
}

#[test]
fn properties_come_last_and_only_where_they_belong() {
    let json = r#"{"properties":{"linger.ms":5,"fetch.min.bytes":"10","socket.keepalive.enable":false,"retries":9}}"#;
    let producer = sink(json).expect("valid").producer("node-1", str::to_owned);
    settings(&producer, &[("linger.ms", "5"), ("socket.keepalive.enable", "false"), ("retries", "9")]);
    assert_eq!(producer.get("fetch.min.bytes"), None);
    assert_eq!(producer.get("message.send.max.retries"), None, "the same setting by another name");
    let consumer = source(json).expect("valid").consumer("node-1", str::to_owned);
    settings(&consumer, &[("fetch.min.bytes", "10"), ("socket.keepalive.enable", "false")]);
    assert_eq!(consumer.get("linger.ms"), None);
}

#[test]
fn one_cluster_is_one_endpoint_however_it_is_written() {
    let endpoint = |json: &str| sink(json).expect(json).endpoint();
    assert_eq!(endpoint(r#"{"bootstrap_servers":["b:1","a:2"]}"#), "kafka:a:2,b:1");
    assert_eq!(endpoint("{}"), "kafka:127.0.0.1:9092");
}

/// What is read from one topic has to reach another one of the same cluster.
#[test]
fn other_topics_of_a_cluster_are_another_endpoint() {
    let written = |json: &str| sink(json).expect(json).endpoint();
    let read = |json: &str| source(json).expect(json).endpoint();
    assert_eq!(read("{}"), written("{}"));
    let one = r#"{"topic":"a"}"#;
    assert_eq!(read(one), "kafka:127.0.0.1:9092/a");
    assert_eq!(read(one), written(one));
    assert_ne!(read(one), written("{}"));
    assert_eq!(
        read(r#"{"topics":["b","a"]}"#),
        written(r#"{"topics":[{"prefix":"x","topic":"a"},{"topic":"b"}]}"#)
    );
    let guide = r#"{"topics":["apg-config-security","apg-config-general","apg-config-features","apg-config-database"]}"#;
    assert_eq!(read(guide), written("{}"));
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let password = "hunter2";
    let both: &[(&str, &str)] = &[
        (r#"{"bootstrap_servers":[]}"#, "bootstrap_servers"),
        (r#"{"bootstrap_servers":["a:b"]}"#, "bootstrap_servers"),
        (r#"{"security_protocol":"SASL_SSL"}"#, "security_protocol"),
        (r#"{"security_protocol":"SASL_SSL","sasl_username":"u"}"#, "sasl_username"),
        (r#"{"sasl_username":"u","sasl_password":"hunter2"}"#, "sasl_username"),
        (r#"{"sasl_password":"hunter2"}"#, "sasl_password"),
        (r#"{"ssl_context":{"cafile":"ca.pem"}}"#, "ssl_context"),
        (r#"{"security_protocol":"SSL","ssl_context":{"certfile":"c.pem"}}"#, "ssl_context.keyfile"),
        (r#"{"batch_size":0}"#, "batch_size"),
        (r#"{"partitions":0}"#, "partitions"),
        (r#"{"topic":"a/b"}"#, "topic"),
        (r#"{"properties":{"fetch.min.byte":1}}"#, "properties.fetch.min.byte"),
        (r#"{"properties":{"linger.ms":"hunter2"}}"#, "properties.linger.ms"),
        (r#"{"properties":{"enable.auto.commit":true}}"#, "properties.enable.auto.commit"),
    ];
    let check = |json: &str, error: Option<Error>, at: &str| {
        let error = error.unwrap_or_else(|| panic!("accepted: {json}"));
        assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, at), "{json}: {error}");
        assert!(!error.message().contains(password), "{error}");
    };
    for (json, at) in both {
        check(json, source(json).err(), at);
        check(json, sink(json).err(), at);
    }
    for (json, at) in [
        (r#"{"topics":[]}"#, "topics"),
        (r#"{"topics":["a"],"topic":"a"}"#, "topic"),
        (r#"{"topics":["a","apg-config-dlq"]}"#, "dead_letter_topic"),
        (r#"{"group_id":""}"#, "group_id"),
        (r#"{"heartbeat_interval_ms":30000}"#, "heartbeat_interval_ms"),
        (r#"{"max_poll_records":0}"#, "max_poll_records"),
    ] {
        check(json, source(json).err(), at);
    }
    for (json, at) in [
        (r#"{"topics":[],"format":"change"}"#, "topics"),
        (r#"{"topics":[{"topic":"a"}],"topic":"a"}"#, "topic"),
        (r#"{"topics":[{"topic":"a"},{"prefix":"b.","topic":"b"}]}"#, "topics.0.topic"),
        (r#"{"topics":[{"match":"a[","topic":"a"}]}"#, "topics.0.match"),
        (r#"{"topics":[{"match":"a","prefix":"a","topic":"a"}]}"#, "topics.0.match"),
        (r#"{"format":"bytes"}"#, "format"),
    ] {
        check(json, sink(json).err(), at);
    }
    assert!(source(r#"{"colour":"red"}"#).is_err() && sink(r#"{"group_id":"g"}"#).is_err());
}

#[test]
fn the_nearest_name_is_told() {
    let error = sink(r#"{"properties":{"linger.msec":1}}"#).err().expect("refused");
    assert!(error.message().contains("did you mean `linger.ms`?"), "{error}");
}

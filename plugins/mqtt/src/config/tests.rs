//! What is accepted, what is refused, and where.

use super::*;

fn source(json: &str) -> Result<SourceSettings> {
    serde_json::from_str::<SourceConfig>(json).map_err(Error::config)?.settings()
}

fn sink(json: &str) -> Result<SinkSettings> {
    serde_json::from_str::<SinkConfig>(json).map_err(Error::config)?.settings()
}

#[track_caller]
fn refused<T>(settings: Result<T>, field: &str) {
    let error = settings.err().expect("refused");
    assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, field), "{error}");
}

#[test]
fn mq_06_defaults_are_the_guides_on_this_machine() {
    let settings = sink("{}").expect("read");
    let broker = &settings.broker;
    assert_eq!((broker.address().as_str(), broker.protocol), ("127.0.0.1:1883", Protocol::V5));
    assert_eq!((broker.keepalive.as_secs(), broker.qos), (60, Quality::AtLeastOnce));
    assert!(settings.retain && broker.tls.is_none() && broker.username.is_none());
    assert_eq!(broker.endpoint(), "mqtt:127.0.0.1:1883/apg/config");
    assert_eq!(source("{}").expect("read").filters, ["apg/config/+/+/#"]);
}

#[test]
fn the_guides_block_is_read_by_either_side() {
    let json = r#"{"broker_host":"mqtt.internal","broker_port":8883,"username":"apg-mqtt","password":"mqtt-password",
        "tls_enabled":true,"keepalive":60,"qos":1,"retain":true}"#;
    let broker = source(json).expect("a source").broker;
    assert_eq!((broker.address().as_str(), broker.tls.is_some()), ("mqtt.internal:8883", true));
    assert!(sink(json).expect("a sink").retain);
}

#[test]
fn a_broker_is_written_in_one_of_two_forms() {
    let address = |json| source(json).expect(json).broker.address();
    assert_eq!(address(r#"{"url":"mqtt://b:1884"}"#), "b:1884");
    assert_eq!(address(r#"{"url":"mqtts://b/"}"#), "b:8883");
    assert_eq!(address(r#"{"url":"mqtt://[::1]:1884"}"#), "[::1]:1884");
    for url in ["b:1883", "http://b", "mqtt://", "mqtt://u:p@b", "mqtt://b/x", "mqtt://b:99999"] {
        refused(source(&format!(r#"{{"url":"{url}"}}"#)), "url");
    }
    refused(source(r#"{"url":"mqtt://b","broker_port":1}"#), "url");
}

#[test]
fn nonsense_is_refused_at_its_field() {
    refused(sink(r#"{"qos":3}"#), "qos");
    refused(sink(r#"{"ssl_context":{}}"#), "ssl_context");
    refused(sink(r#"{"tls_enabled":true,"ssl_context":{"keyfile":"k"}}"#), "ssl_context.certfile");
    refused(sink(r#"{"password":"x"}"#), "username");
    refused(sink(r#"{"topic_prefix":"a/#"}"#), "topic_prefix");
    refused(sink(r#"{"topic_prefix":"/a"}"#), "topic_prefix");
    refused(sink(r#"{"client_id":"a/b"}"#), "client_id");
    refused(sink(r#"{"topic":"a/+"}"#), "topic");
    refused(sink(r#"{"max_packet_size":10}"#), "max_packet_size");
    refused(sink(r#"{"answer_timeout":0}"#), "answer_timeout");
    refused(source(r#"{"patterns":[]}"#), "patterns");
    refused(source(r#"{"patterns":["app.*","a["]}"#), "patterns.1");
    refused(source(r#"{"patterns":["app.data*"],"wildcards":"seed"}"#), "patterns.0");
    refused(source(r#"{"topics":["a","a#"]}"#), "topics.1");
    refused(source(r#"{"topics":["a"],"patterns":["b"]}"#), "topics");
    refused(source(r#"{"colour":"red"}"#), "");
    refused(source(r#"{"replicate":false}"#), "");
}

#[test]
fn the_protocol_is_a_number_or_a_text() {
    for (json, protocol) in [("5", Protocol::V5), ("\"5\"", Protocol::V5), ("\"3.1.1\"", Protocol::V4)] {
        assert_eq!(serde_json::from_str::<Protocol>(json).expect(json), protocol);
    }
    for json in ["4", "3.1", "\"3.1\"", "null"] {
        serde_json::from_str::<Protocol>(json).expect_err(json);
    }
}

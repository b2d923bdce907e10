//! Authors who say what they did to a value, by `ops`, through every door of a pipeline through the log.

use crate::broker_pipelines::stream;
use lockstep_test_support::{
    Host, LIMIT, Mosquitto, MosquittoOptions, MqttClient, PASSWORD, Redis, RedisOptions, Request, Site, USER,
    WsClient, eventually, free_port,
};
use serde_json::{Value, json};
use std::fs;

const KEY: &str = "app.text";

/// A pipeline of a WebSocket server and other places, all of them read and written, with these transforms.
fn pipeline(port: u16, others: &str, transforms: &str) -> String {
    let websocket = format!("{{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }}");
    format!(
        "sources: [ {websocket}{others} ]\ntransforms: [ {transforms} ]\nsinks: [ {websocket}{others} ]\n"
    )
}

const RESOLVER: &str = "{ plugin: resolver, config: { strategy: operational_transform } }";

fn start(others: &str, transforms: &str) -> (Site, Host, u16) {
    let port = free_port();
    let site = Site::new().pipeline("sync", &pipeline(port, others, transforms));
    let mut host = site.start();
    host.wait_ready();
    (site, host, port)
}

/// What an operator's change is answered.
fn post(site: &Site, host: &Host, change: &Value) -> Value {
    let token = fs::read_to_string(site.path("data/admin.token")).expect("the host wrote a token");
    let request = Request::new("POST", "/v1/changes").bearer(token.trim());
    request.json(change).send(host.admin()).expect("an answer").json()
}

fn shown(site: &Site) -> Value {
    let got = site.run(["get", KEY]);
    serde_json::from_str(&got.stdout).unwrap_or(Value::Null)
}

/// Two clients, subscribed to nothing, and the revision of the text that both have read.
fn two_authors(port: u16, text: &str) -> ([WsClient; 2], Value) {
    let mut authors = [(); 2].map(|()| WsClient::connect(port));
    authors.iter_mut().for_each(|author| drop(author.subscribe(&[])));
    let revision = authors[0].change(KEY, &json!(text))["revision"].clone();
    (authors, revision)
}

fn send(author: &mut WsClient, base: &Value, ops: &Value) {
    author.send(&json!({
        "type": "config_change", "id": 1, "config_key": KEY, "ops": ops, "base_revision": base,
    }));
}

#[test]
fn two_authors_edit_one_text_at_once_and_each_is_answered() {
    let (site, host, port) = start("", RESOLVER);
    let ([mut ann, mut bob], base) = two_authors(port, "hello");
    send(&mut ann, &base, &json!([5, " world"]));
    send(&mut bob, &base, &json!({ "op_type": "insert", "position": 0, "content": "Oh, " }));
    for author in [&mut ann, &mut bob] {
        let answer = author.next_of_type("config_change_response");
        assert_eq!((&answer["success"], &answer["id"]), (&json!(true), &json!(1)), "{answer}");
        assert!(answer["revision"].as_u64() > base.as_u64(), "{answer}");
    }
    assert_eq!(shown(&site), "Oh, hello world");

    // By REST and by a command, from what the two had read.
    let change = json!({ "config_key": KEY, "ops": [5, "!"], "base_revision": base });
    let answer = post(&site, &host, &change);
    assert_eq!(answer["success"], true, "{answer}");
    let both = json!({ "config_key": KEY, "ops": [{ "d": 5 }], "new_value": "", "base_revision": base });
    assert_eq!(post(&site, &host, &both)["success"], true, "the value may be said, too");
    assert_eq!(shown(&site), "Oh,  world!");
    let base = base.to_string();
    let by_command = ["set", KEY, "--ops", r#"["So? "]"#, "--base-revision", &base];
    site.run(by_command).expect_code(0);
    let file = site.write("ops.json", r#"[{"d": 4}]"#);
    site.run(["set", KEY, "--ops", &format!("@{}", file.display())]).expect_code(0);
    let text = shown(&site);
    assert!(text.as_str().is_some_and(|text| text.ends_with(" world!")), "{text}");
    host.stop();
}

#[test]
fn operations_come_in_by_brokers_without_a_value() {
    let redis = Redis::start(&RedisOptions::default());
    let anybody = MosquittoOptions {
        settings: "allow_anonymous true".to_owned(),
        access: "pattern readwrite #\n".to_owned(),
        ..MosquittoOptions::default()
    };
    let mqtt = Mosquitto::start(&anybody);
    let brokers = format!(
        ", {{ plugin: redis, config: {{ url: 'redis://{USER}:{PASSWORD}@127.0.0.1:{}/0' }} }}, \
         {{ plugin: mqtt, config: {{ url: 'mqtt://127.0.0.1:{}' }} }}",
        redis.port, mqtt.port
    );
    let (site, host, port) = start(&brokers, RESOLVER);
    let mut devices = MqttClient::connect(mqtt.port);
    devices.subscribe("apg/config/global/#");
    let (_, base) = two_authors(port, "hello");
    let change =
        |ops: Value| json!({ "config_key": KEY, "ops": ops, "base": { "revision": base } }).to_string();
    // What came of it is said everywhere, also where the operations were read: nobody has seen it there.
    let mut arrives = |text: &str| {
        let cell = || redis.command::<Option<String>>(&["HGET", "apg-config:cache:global", KEY]);
        let is_there = eventually(LIMIT, || {
            let cell: Value = serde_json::from_str(&cell()?).ok()?;
            (shown(&site) == text && cell["new_value"] == text).then_some(())
        });
        assert!(is_there.is_some(), "`{text}` is not there: {} {:?}", shown(&site), cell());
        while devices.next_on("apg/config/global/app/text").json()["new_value"] != text {}
    };
    arrives("hello");
    let in_data = change(json!([5, " world"]));
    let _: String = redis.command(&["XADD", "apg-config:log:global", "*", "data", &in_data]);
    arrives("hello world");
    let words = ["XADD", "apg-config:log:global", "*", "config_key", KEY, "ops", r#"[11,"!"]"#];
    let _: String = redis.command(&words);
    arrives("hello world!");
    MqttClient::connect(mqtt.port).publish("apg/config/global/app/text", change(json!(["Oh, "])), false);
    arrives("Oh, hello world!");
    let entries = stream(&redis, "apg-config:log:global");
    let newest: Value = serde_json::from_slice(&entries.last().expect("an entry")["data"]).expect("JSON");
    assert_eq!(newest["new_value"], "Oh, hello world!");
    assert_eq!(host.metrics().sum("lockstep_records_dead_lettered_total", &[]), 0.0);
    host.stop();
}

#[test]
fn what_nobody_applies_is_refused_and_no_null_is_committed() {
    let (site, host, port) = start("", "{ plugin: ledger, config: { dir: SITE/ledger } }");
    let ([mut author, _], base) = two_authors(port, "hello");
    send(&mut author, &Value::Null, &json!([5, "!"]));
    let answer = author.next_of_type("config_change_response");
    assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("bad_message")), "{answer}");
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("ops")), "{answer}");
    let answer = post(&site, &host, &json!({ "config_key": KEY, "ops": [5, "!"] }));
    assert_eq!(answer["error"]["code"], "bad_message", "{answer}");
    assert_eq!(shown(&site), "hello");
    assert_eq!(author.change(KEY, &json!("next"))["revision"].as_u64(), base.as_u64().map(|base| base + 1));
    host.stop();
}

#[test]
fn a_pipeline_without_a_log_answers_that_it_has_nothing_to_apply_operations_to() {
    let (_site, host, port) = start("", "");
    let mut author = WsClient::connect(port);
    send(&mut author, &Value::Null, &json!([5, "!"]));
    let answer = author.next_of_type("config_change_response");
    assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("unknown_base")), "{answer}");
    host.stop();
}

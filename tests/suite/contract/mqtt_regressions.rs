//! What the guide's MQTT code gets wrong, and a host does not: D-24 to D-28 of the contract, from outside.

use super::{
    bridge::{Bridge, assert_fields, change, synced},
    mqtt::login,
};
use crate::dead_letter::dead_letters;
use lockstep_test_support::{Host, LIMIT, Mosquitto, MosquittoOptions, MqttClient, MqttMessage, Site, lines};
use serde_json::{Value, json};
use std::path::Path;

/// A broker and a host beside it, with these settings of its source.
fn start(source: &str) -> (Mosquitto, Bridge) {
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let login = login(&mosquitto);
    let bridge = Bridge::start("node-mqtt", "mqtt", &format!("{login} {source}"), &login);
    (mosquitto, bridge)
}

fn payload(key: &str, value: &Value) -> String {
    json!({ "config_key": key, "new_value": value }).to_string()
}

/// Publishes a change of the key, on the topic of the key.
fn publish(client: &mut MqttClient, key: &str) {
    let topic = format!("apg/config/t1/{}", key.replace('.', "/"));
    client.publish(&topic, payload(key, &json!(key)), false);
}

/// The keys that a file sink has written down.
fn keys(file: &Path) -> Vec<String> {
    let key = |line: &String| {
        let change: Value = serde_json::from_str(line).expect("JSON");
        change["config_key"].as_str().expect("a key").to_owned()
    };
    lines(file).iter().map(key).collect()
}

#[test]
fn d_24_patterns_take_every_key_that_they_match_and_no_other() {
    let published = [
        "app.database.host",
        "app.database.pool.size",
        "app.database",
        "app.databases.x",
        "app.data",
        "other.x",
    ];
    let expected: [(&str, &str, &[&str]); 4] = [
        ("deep", ", patterns: ['app.database.*']", &published[..2]),
        ("seed", ", patterns: ['app.database.*'], wildcards: seed", &published[..1]),
        ("cut", ", patterns: ['app.data*']", &published[..5]),
        ("all", "", &published),
    ];
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let login = login(&mosquitto);
    let site = expected.iter().fold(Site::new(), |site, (name, patterns, _)| {
        let yaml = format!(
            "sources: [ {{ plugin: mqtt, config: {{ {login} {patterns} }} }} ]\n\
             sinks: [ {{ plugin: file, config: {{ path: SITE/{name}.ndjson }} }} ]\n"
        );
        site.pipeline(name, &yaml)
    });
    let mut host = site.start();
    host.wait_ready();
    let mut client = MqttClient::connect(mosquitto.port);
    published.iter().for_each(|key| publish(&mut client, key));
    publish(&mut client, "app.database.last");
    for (name, _, expected) in expected {
        let file = site.path(format!("{name}.ndjson"));
        host.wait_until("the last one", LIMIT, |_| keys(&file).iter().any(|key| key == "app.database.last"));
        let taken = keys(&file);
        assert_eq!(taken[..taken.len() - 1], *expected, "{name}");
    }
    host.stop();
}

#[test]
fn d_25_the_status_of_clients_is_neither_a_change_nor_a_tenants() {
    let (mosquitto, mut bridge) = start("");
    let mut client = MqttClient::connect(mosquitto.port);
    client.publish("apg/config/status/apg_config_pub_01234567", "online", true);
    client.publish("apg/config/status/app/x", payload("app.x", &json!(1)), false);
    let (mut nobodys, mut one) = (bridge.client(None), bridge.client(Some("t1")));
    publish(&mut client, "app.last");
    synced(&mut one, "app.last");
    assert_eq!(nobodys.messages_so_far(), [] as [Value; 0]);
    assert_eq!(dead_letters(&bridge.site), [] as [Value; 0]);
    nobodys.send(
        &json!({ "type": "config_change", "config_key": "app.x", "new_value": 1, "tenant_id": "status" }),
    );
    assert_eq!(nobodys.next_of_type("config_change_response")["code"], "bad_tenant");
    bridge.host.wait_until("a host that is ready", LIMIT, |host| host.get("/readyz").code == 200);
    bridge.host.stop();
}

#[test]
fn d_26_keys_and_topics_say_the_same_or_the_message_is_put_aside() {
    let (mosquitto, mut bridge) = start("");
    let mut client = MqttClient::connect(mosquitto.port);
    let mut subscriber = bridge.client(Some("t1"));
    let no_key = json!({ "new_value": 1 }).to_string();
    // The topic counts where the payload names no key; what a topic cannot spell is percent-encoded.
    client.publish("apg/config/t1/app/x", &no_key, false);
    client.publish("apg/config/t1/app/50%25", &no_key, false);
    client.publish("apg/config/t1/app/gr%C3%B6%C3%9Fe", &no_key, false);
    for key in ["app.x", "app.50%", "app.größe"] {
        assert_eq!(subscriber.next_of_type("config_sync")["config_key"], key);
    }
    let bad = [
        ("apg/config/t1/app/x", payload("app.y", &json!(1))),
        ("apg/config/t1/app//x", no_key.clone()),
        ("apg/config/t1/app/a%2Fb", no_key.clone()),
        ("apg/config/t1/app/x", "online".to_owned()),
        (
            "apg/config/t1/app/x",
            json!({ "config_key": "app.x", "new_value": 1, "tenant_id": "t2" }).to_string(),
        ),
    ];
    for (topic, payload) in &bad {
        client.publish(topic, payload, false);
    }
    publish(&mut client, "app.last");
    assert_eq!(subscriber.next_of_type("config_sync")["config_key"], "app.last", "neighbours pass");
    bridge.host.wait_until("the bad ones", LIMIT, |_| dead_letters(&bridge.site).len() == bad.len());

    let mut witness = MqttClient::connect(mosquitto.port);
    witness.subscribe("apg/config/t1/#");
    change(&mut bridge.client(Some("t1")), "app.own.100%", &json!(1));
    let message = witness.next_on("apg/config/t1/app/own/100%25");
    assert_eq!(message.json()["config_key"], "app.own.100%");
    bridge.host.stop();
}

/// The guide's handlers are sinks here: the glob's is asked for what matches it, not for a key that is called so.
#[test]
fn d_27_a_handler_for_many_keys_gets_them() {
    let mosquitto = Mosquitto::start(&MosquittoOptions::default());
    let yaml = format!(
        "
sources: [ {{ plugin: mqtt, config: {{ {}, patterns: ['app.*'] }} }} ]
transforms: [ {{ plugin: resolver }} ]
sinks:
  - name: host
    plugin: file
    when: change.config_key == 'app.database.host'
    config: {{ path: SITE/host.ndjson }}
  - name: features
    plugin: file
    when: change.config_key.startsWith('app.features.')
    config: {{ path: SITE/features.ndjson }}
  - {{ name: generic, plugin: file, when: otherwise, config: {{ path: SITE/generic.ndjson }} }}
",
        login(&mosquitto)
    );
    let site =
        Site::new().pipeline("handlers", &yaml).env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    let mut host = site.start();
    host.wait_ready();
    let mut client = MqttClient::connect(mosquitto.port);
    let published =
        ["app.database.host", "app.features.a", "app.features.b.c", "app.features", "app.database.port"];
    published.iter().for_each(|key| publish(&mut client, key));
    for (handler, handled) in
        [("host", &published[..1]), ("features", &published[1..3]), ("generic", &published[3..])]
    {
        let file = site.path(format!("{handler}.ndjson"));
        host.wait_until(handler, LIMIT, |_| keys(&file) == handled);
    }
    host.stop();
}

fn value_of(host: &Host, key: &str) -> Value {
    host.get(&format!("/v1/keys/{key}?tenant=t1")).json()["new_value"].clone()
}

fn statuses(mosquitto: &Mosquitto) -> Vec<String> {
    MqttClient::retained(mosquitto.port, "apg/config/status/+").iter().map(MqttMessage::text).collect()
}

#[test]
fn d_28_what_is_published_while_a_host_is_away_waits_for_it() {
    let (mosquitto, mut bridge) = start("");
    let mut client = MqttClient::connect(mosquitto.port);
    publish(&mut client, "app.before");
    bridge.host.wait_until("a first change", LIMIT, |host| value_of(host, "app.before") == "app.before");
    bridge.host.kill();
    let away = ["app.away.1", "app.away.2", "app.away.3"];
    away.iter().for_each(|key| publish(&mut client, key));
    let mut host = bridge.site.start();
    for key in away {
        host.wait_until(key, LIMIT, |host| value_of(host, key) == key);
    }
    host.stop();
}

#[test]
fn d_28_a_client_says_that_it_is_there_that_it_goes_and_the_broker_that_it_is_gone() {
    let (mosquitto, mut bridge) = start("");
    assert_eq!(statuses(&mosquitto), ["online"], "the sink's alone");
    bridge.host.kill();
    bridge.host.wait_until("the last will", LIMIT, |_| statuses(&mosquitto) == ["offline"]);
    let mut host = bridge.site.start();
    host.wait_until("the return", LIMIT, |_| statuses(&mosquitto) == ["online"]);
    host.stop();
    assert_eq!(statuses(&mosquitto), ["offline"], "said before it left");
}

#[test]
fn d_28_a_broker_that_forgot_its_sessions_is_subscribed_to_again_and_told_the_status() {
    let options =
        MosquittoOptions { settings: "persistence false".to_owned(), ..MosquittoOptions::default() };
    let mosquitto = Mosquitto::start(&options);
    let login = login(&mosquitto);
    let mut bridge = Bridge::start("node-mqtt", "mqtt", &login, &login);
    mosquitto.kill();
    mosquitto.restart();
    bridge.host.wait_until("the status", LIMIT, |_| statuses(&mosquitto) == ["online"]);
    let mut client = MqttClient::connect(mosquitto.port);
    bridge.host.wait_until("a subscription", LIMIT, |host| {
        publish(&mut client, "app.after");
        value_of(host, "app.after") == "app.after"
    });
    bridge.host.stop();
}

#[test]
fn d_28_an_own_plain_message_is_passed_over() {
    let (mosquitto, bridge) = start("");
    let mut witness = MqttClient::connect(mosquitto.port);
    witness.subscribe("apg/config/#");
    let mut subscriber = bridge.client(None);
    change(&mut subscriber, "app.x", &json!(1));
    let publisher = witness.next_on("apg/config/global/app/x").json()["publisher_id"].clone();
    let message = |publisher: &Value, value: u64| {
        json!({ "config_key": "app.x", "new_value": value, "publisher_id": publisher }).to_string()
    };
    let mut client = MqttClient::connect(mosquitto.port);
    client.publish("apg/config/global/app/x", message(&publisher, 2), false);
    client.publish("apg/config/global/app/x", message(&json!("another"), 3), false);
    assert_eq!(synced(&mut subscriber, "app.x")["new_value"], 1);
    assert_fields(&synced(&mut subscriber, "app.x"), &json!({ "new_value": 3, "old_value": 1 }));
    bridge.host.stop();
}

//! A change travels from one WebSocket client to another, with the guide's exact messages.

use lockstep_test_support::{Frame, Host, LIMIT, Proxy, PythonPeer, Site, WsClient, free_port};
use serde_json::{Value, json};
use std::time::Duration;

/// A host with one WebSocket endpoint that is source and sink at once.
fn start() -> (Site, Host, u16) {
    start_with("")
}

/// The same, with more settings for both.
fn start_with(more: &str) -> (Site, Host, u16) {
    let port = free_port();
    let config = format!("{{ listen: 127.0.0.1:{port}{more} }}");
    let yaml = format!(
        "sources: [ {{ plugin: websocket, config: {config} }} ]\nsinks: [ {{ plugin: websocket, config: {config} }} ]\n"
    );
    let site = Site::new().pipeline("sync", &yaml);
    let mut host = site.start();
    host.wait_ready();
    (site, host, port)
}

/// The fields the guide requires of a message, with nothing missing and none of another type.
fn assert_change(message: &Value, key: &str, value: &Value) {
    assert_eq!(message["type"], "config_sync", "{message}");
    assert_eq!(message["config_key"], key, "{message}");
    assert_eq!(&message["new_value"], value, "{message}");
    assert!(message.as_object().expect("an object").contains_key("old_value"), "{message}");
    assert_eq!(message["event_type"], "config_updated", "{message}");
}

#[test]
fn a_change_reaches_a_python_client_from_a_rust_client() {
    let (_site, _host, port) = start();
    let mut python = PythonPeer::connect(port);
    assert_eq!(python.welcome()["type"], "connection_established");
    python.send(&json!({ "type": "subscribe", "patterns": ["app.database.*"], "id": 1 }));
    assert_eq!(python.next_message()["type"], "subscribed");
    let mut author = WsClient::connect(port);
    author.subscribe(&[]);
    let mut stranger = WsClient::connect(port);
    stranger.subscribe(&["app.features.*"]);

    let answer = author.change("app.database.host", &json!("db.example"));
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(answer["config_key"], "app.database.host", "{answer}");
    assert_change(&python.next_message(), "app.database.host", &json!("db.example"));
    assert_eq!(stranger.messages_so_far(), [] as [Value; 0], "a change of another key");

    author.change("app.features.beta", &json!({ "enabled": true }));
    assert_change(&stranger.next_of_type("config_sync"), "app.features.beta", &json!({ "enabled": true }));
}

#[test]
fn a_change_reaches_a_rust_client_from_a_python_client() {
    let (_site, _host, port) = start();
    let mut subscriber = WsClient::connect(port);
    subscriber.subscribe(&["app.database.*"]);
    let mut stranger = WsClient::connect(port);
    stranger.subscribe(&["other.*"]);
    let mut python = PythonPeer::connect(port);
    python.send(&json!({ "type": "subscribe", "patterns": [] }));
    let change = json!({
        "type": "config_change", "config_key": "app.database.port", "new_value": 5432,
        "user_id": "alice", "timestamp": "2024-01-01T12:00:00.123Z", "id": "change-1",
    });
    python.send(&change);

    let answer = python.next_message();
    assert_eq!(answer["type"], "config_change_response", "{answer}");
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(answer["config_key"], "app.database.port", "{answer}");
    assert_eq!(answer["id"], "change-1", "{answer}");
    let message = subscriber.next_of_type("config_sync");
    assert_change(&message, "app.database.port", &json!(5432));
    assert_eq!(message["user_id"], "alice", "{message}");
    assert_eq!(stranger.messages_so_far(), [] as [Value; 0]);
}

#[test]
fn the_author_is_answered_before_its_own_change_comes_back() {
    let (_site, _host, port) = start();
    let mut author = WsClient::connect(port);
    author.send_change("app.x", &json!(1));
    let kinds = [author.next_message(), author.next_message()].map(|message| message["type"].clone());
    assert_eq!(kinds, ["config_change_response", "config_sync"]);
}

#[test]
fn the_welcome_has_the_guides_fields() {
    let (_site, _host, port) = start();
    let client = WsClient::connect(port);
    let id = client.welcome()["connection_id"].as_str().expect("a connection id").to_owned();
    let (prefix, hex) = id.split_at(3);
    assert_eq!(prefix, "ws_");
    assert!(hex.len() == 8 && hex.chars().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    let timestamp = client.welcome()["timestamp"].as_str().expect("a time");
    assert!(timestamp.ends_with('Z') && timestamp.contains('T'), "{timestamp}");
}

#[test]
fn a_new_connection_is_subscribed_to_everything_until_it_says_otherwise() {
    let (_site, _host, port) = start();
    let mut everything = WsClient::connect(port);
    let mut author = WsClient::connect(port);
    author.change("any.key.at.all", &json!(1));
    assert_change(&everything.next_of_type("config_sync"), "any.key.at.all", &json!(1));

    // `subscribe` replaces the whole set; without patterns it is empty.
    everything.send(&json!({ "type": "subscribe" }));
    everything.messages_so_far();
    author.change("any.key.at.all", &json!(2));
    assert_eq!(everything.messages_so_far(), [] as [Value; 0]);
}

#[test]
fn ping_is_answered_and_unknown_types_are_ignored() {
    let (_site, _host, port) = start();
    let mut client = WsClient::connect(port);
    client.send(&json!({ "type": "something_new", "field": 1 }));
    client.send(&json!({ "no_type": true }));
    client.send(&json!({ "type": "ping" }));
    assert_eq!(client.next_message(), json!({ "type": "pong" }));
}

#[test]
fn a_change_without_a_key_is_an_error_and_the_connection_stays() {
    let (_site, _host, port) = start();
    let mut client = WsClient::connect(port);
    client.send(&json!({ "type": "config_change", "new_value": 1, "id": 7 }));
    let error = client.next_message();
    assert_eq!(error["type"], "error", "{error}");
    assert_eq!(error["code"], "bad_message", "{error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    assert_eq!(client.change("app.x", &json!(1))["success"], true);
}

#[test]
fn a_bad_pattern_is_an_error_and_the_old_set_stays() {
    let (_site, _host, port) = start();
    let mut client = WsClient::connect(port);
    client.subscribe(&["app.*"]);
    client.send(&json!({ "type": "subscribe", "patterns": ["app.["] }));
    let error = client.next_message();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad_pattern")), "{error}");
    let mut author = WsClient::connect(port);
    author.change("app.x", &json!(1));
    assert_change(&client.next_of_type("config_sync"), "app.x", &json!(1));
}

#[test]
fn a_deletion_arrives_as_one() {
    let (_site, _host, port) = start();
    let mut subscriber = WsClient::connect(port);
    let mut author = WsClient::connect(port);
    author.send(&json!({ "type": "config_change", "config_key": "app.x", "op": "delete" }));
    assert_eq!(author.next_of_type("config_change_response")["success"], true);
    let message = subscriber.next_of_type("config_sync");
    assert_eq!(message["event_type"], "config_deleted", "{message}");
    assert_eq!(message["new_value"], Value::Null, "{message}");
}

#[test]
fn a_rejected_change_is_answered_with_path_and_reason_and_reaches_nobody() {
    let port = free_port();
    let yaml = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
transforms:
  - plugin: validate
    config: {{ schemas: [ {{ match: app.port, schema: SITE/port.json }} ] }}
sinks: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
"
    );
    let site = Site::new().pipeline("sync", &yaml);
    site.write("port.json", r#"{ "type": "object", "properties": { "port": { "type": "integer" } } }"#);
    let mut host = site.start();
    host.wait_ready();
    let mut subscriber = WsClient::connect(port);
    let mut author = WsClient::connect(port);
    let answer = author.change("app.port", &json!({ "port": "x" }));
    assert_eq!(answer["success"], false, "{answer}");
    assert_eq!(answer["code"], "invalid_value", "{answer}");
    assert_eq!(answer["details"][0]["path"], "/port", "{answer}");
    assert!(answer["details"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{answer}");
    assert_eq!(subscriber.messages_so_far(), [] as [Value; 0]);
    assert_eq!(author.change("app.port", &json!({ "port": 1 }))["success"], true);
    let listed = site.run(["dlq", "list", "--json"]).expect_code(0).json();
    assert!(
        !listed.to_string().contains("app.port"),
        "its author was told, so it is no dead letter: {listed}"
    );
}

#[test]
fn a_connection_beyond_the_limit_is_refused_before_the_upgrade() {
    let (_site, _host, port) = start_with(", max_connections: 1");
    let _first = WsClient::connect(port);
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let answer = lockstep_test_support::raw_exchange(port, upgrade.as_bytes(), Duration::from_secs(10));
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nretry-after:"), "{answer}");
}

#[test]
fn a_drain_closes_connections_as_going_away() {
    let (_site, mut host, port) = start();
    let mut client = WsClient::connect(port);
    host.terminate();
    let end = client.try_next(Duration::from_secs(20)).expect("the connection ends");
    assert!(matches!(end, Frame::Closed(Some(1001 | 1012))), "{end:?}");
    assert_eq!(host.wait_exit(Duration::from_secs(20)).code(), Some(0));
}

/// How many clients the server holds.
fn n_connections(host: &Host) -> f64 {
    host.metrics().sum("lockstep_plugin_connections", &[])
}

#[test]
fn a_client_that_falls_silent_is_let_go_after_its_ping_timeout() {
    let (_site, mut host, port) = start_with(", ping_interval: 1, ping_timeout: 1");
    let proxy = Proxy::new(port);
    let _silent = WsClient::connect(proxy.port());
    host.wait_until("the connection to count", LIMIT, |host| n_connections(host) == 1.0);
    proxy.stall();
    host.wait_until("the connection to be let go", LIMIT, |host| n_connections(host) == 0.0);
}

#[test]
fn a_slow_network_delays_changes_and_keeps_their_order() {
    let (_site, _host, port) = start();
    let proxy = Proxy::new(port);
    let mut far = WsClient::connect(proxy.port());
    far.subscribe(&["app.*"]);
    proxy.delay(Duration::from_millis(20));
    let mut author = WsClient::connect(port);
    for number in 0..100 {
        assert_eq!(author.change(&format!("app.{number}"), &json!(number))["success"], true);
    }
    for number in 0..100 {
        assert_eq!(far.next_of_type("config_sync")["new_value"], number);
    }
}

#[test]
fn connections_that_are_cut_or_half_closed_are_let_go_and_others_go_on() {
    let (_site, mut host, port) = start();
    let (cut, half) = (Proxy::new(port), Proxy::new(port));
    let mut clients: Vec<WsClient> = [&cut, &half].map(|proxy| WsClient::connect(proxy.port())).into();
    clients.iter_mut().for_each(|client| client.send_change("app.from.both", &json!(1)));
    let mut author = WsClient::connect(port);
    host.wait_until("three connections", LIMIT, |host| n_connections(host) == 3.0);
    cut.cut();
    half.half_close();
    drop(clients);
    host.wait_until("one connection", LIMIT, |host| n_connections(host) == 1.0);
    assert_eq!(author.change("app.x", &json!(1))["success"], true);
}

#[test]
fn tls_by_ssl_context_works_with_a_certificate_of_its_own() {
    let port = free_port();
    let tls = "ssl_context: { certfile: SITE/server.crt, keyfile: SITE/server.key }";
    let yaml = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port}, {tls} }} }} ]
sinks: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port}, {tls} }} }} ]
"
    );
    let site = Site::new().pipeline("sync", &yaml);
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    site.write("server.crt", certificate.cert.pem());
    site.write("server.key", certificate.signing_key.serialize_pem());
    let mut host = site.start();
    host.wait_ready();
    let mut client = WsClient::connect_tls(port, certificate.cert.der().clone());
    assert_eq!(client.change("app.x", &json!(1))["success"], true);
}

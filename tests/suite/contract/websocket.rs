//! A Python program with `websockets` and a host exchange changes, with either form of timestamps.

use super::bridge::{Isoformat, assert_fields};
use lockstep_test_support::{Host, PythonPeer, Site, free_port};
use serde_json::{Value, json};

fn start(naive: bool) -> (Site, Host, u16) {
    let port = free_port();
    let server = format!(
        "plugin: websocket, config: {{ listen: 127.0.0.1:{port}, compat: {{ naive_timestamps: {naive} }} }}"
    );
    let yaml = format!(
        "sources: [ {{ {server} }} ]\ntransforms: [ {{ plugin: lock }}, {{ plugin: resolver }} ]\nsinks: [ {{ {server} }} ]\n"
    );
    let site = Site::new()
        .pipeline("sync", &yaml)
        .env("LOCKSTEP_NODE_ID", "node-websocket")
        .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    let mut host = site.start();
    host.wait_ready();
    (site, host, port)
}

fn next_of_type(python: &mut PythonPeer, kind: &str) -> Value {
    loop {
        let message = python.next_message();
        if message["type"] == kind {
            return message;
        }
        assert!(
            message.get("timeout").is_none() && message.get("closed").is_none(),
            "no `{kind}`: {message}"
        );
    }
}

fn exchange(naive: bool) {
    let (_site, host, port) = start(naive);
    let mut time = Isoformat::start();
    let [mut author, mut subscriber] = [(); 2].map(|()| PythonPeer::connect(port));
    let welcome = author.welcome();
    time.assert_now(&welcome["timestamp"], naive);
    let id = welcome["connection_id"]
        .as_str()
        .and_then(|id| id.strip_prefix("ws_"))
        .expect("`ws_` and eight digits");
    assert!(id.len() == 8 && id.chars().all(|c| c.is_ascii_hexdigit()), "{welcome}");

    // As the guide's client says it, and as the guide's server would, who says nothing of a time.
    let changes = [
        (json!({ "timestamp": "2024-01-01T12:00:00.123Z" }), "2024-01-01T12:00:00.123000"),
        (json!({ "timestamp": "2024-01-01T12:00:00" }), "2024-01-01T12:00:00.000000"),
        (json!({}), ""),
    ];
    for (number, (more, instant)) in changes.into_iter().enumerate() {
        let mut change =
            json!({ "type": "config_change", "config_key": "app.x", "new_value": number, "user_id": "ann" });
        change.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
        author.send(&change);
        let answer = next_of_type(&mut author, "config_change_response");
        assert_fields(&answer, &json!({ "success": true, "config_key": "app.x" }));
        let message = next_of_type(&mut subscriber, "config_sync");
        let event_type = if number == 0 { "config_created" } else { "config_updated" };
        let expected = json!({
            "config_key": "app.x", "new_value": number, "event_type": event_type, "user_id": "ann",
            "source_node": "node-websocket", "revision": answer["revision"],
        });
        assert_fields(&message, &expected);
        assert_eq!(message["old_value"], number.checked_sub(1).map_or(Value::Null, Value::from));
        match (instant, naive) {
            ("", _) => time.assert_now(&message["timestamp"], naive),
            (_, true) => assert_eq!(message["timestamp"], instant.trim_end_matches(".000000")),
            (_, false) => assert_eq!(message["timestamp"], format!("{instant}Z")),
        }
    }
    author.send(&json!({ "type": "config_lock", "id": 1, "config_key": "app.x", "user_id": "ann" }));
    let locked = next_of_type(&mut subscriber, "config_locked");
    assert_fields(&locked, &json!({ "config_key": "app.x", "user_id": "ann" }));
    time.assert_now(&locked["timestamp"], naive);
    host.stop();
}

#[test]
fn a_python_websocket_program_and_a_host_exchange_changes() {
    exchange(false);
}

#[test]
fn a_python_websocket_program_and_a_host_exchange_changes_with_naive_timestamps() {
    exchange(true);
}

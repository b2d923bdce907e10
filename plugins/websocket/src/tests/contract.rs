//! The messages of the contract, one rule a test.

use super::support::{Client, Pipeline, change};
use lockstep_plugin_api::prelude::*;
use serde_json::{Value, json};
use std::{collections::HashSet, sync::atomic::Ordering};
use tokio_tungstenite::tungstenite::Message;

#[test]
fn a_change_reaches_those_who_subscribed_to_its_key_and_its_author_is_answered() {
    let pipeline = Pipeline::start(json!({}));
    let (mut author, mut reader, mut other) = (pipeline.client(), pipeline.client(), pipeline.client());
    other.send(&json!({"type": "subscribe", "patterns": ["app.ui.*"]}));
    other.is_served();

    author.send(&change("app.database.host", json!({"a": [1, null]})));
    let sync = reader.receive();
    for (field, expected) in [
        ("type", json!("config_sync")),
        ("config_key", json!("app.database.host")),
        ("new_value", json!({"a": [1, null]})),
        ("old_value", Value::Null),
        ("event_type", json!("config_updated")),
        ("user_id", json!("anonymous")),
        ("source_node", json!("node-test")),
    ] {
        assert_eq!(sync[field], expected, "{field} in {sync}");
    }
    assert_eq!(
        author.receive(),
        json!({"type": "config_change_response", "success": true, "config_key": "app.database.host"}),
        "the answer comes before the author's own change"
    );
    assert_eq!(author.receive(), sync);
    other.receives_nothing();

    author.send(&change("app.ui.theme", "dark"));
    assert_eq!(other.receive()["config_key"], "app.ui.theme");
}

#[test]
fn every_connection_is_welcomed_first_under_an_id_of_its_own() {
    let pipeline = Pipeline::start(json!({}));
    let mut author = pipeline.client();
    let ids: HashSet<String> = (0..20)
        .map(|n| {
            author.send(&change("app.x", n));
            Client::connect(pipeline.address, "/any/path").welcome()
        })
        .collect();
    assert_eq!(ids.len(), 20);
    for id in ids {
        let hex = id.strip_prefix("ws_").expect("the guide's prefix");
        assert!(hex.len() == 8 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    }
}

#[test]
fn unknown_types_are_ignored_and_ping_is_answered() {
    let pipeline = Pipeline::start(json!({}));
    let mut client = pipeline.client();
    client.send(&json!({"type": "hello", "patterns": 5}));
    client.send(&json!({"no": "type"}));
    client.is_served();
}

#[test]
fn subscribe_replaces_every_pattern_and_is_acknowledged_if_it_has_an_id() {
    let pipeline = Pipeline::start(json!({}));
    let (mut author, mut reader) = (pipeline.client(), pipeline.client());
    author.send(&json!({"type": "subscribe"}));
    reader.send(&json!({"type": "subscribe", "patterns": ["a.*"]}));
    reader.send(&json!({"type": "subscribe", "patterns": ["b.*"], "id": 7}));
    assert_eq!(reader.receive(), json!({"type": "subscribed", "id": 7, "patterns": ["b.*"]}));
    author.send(&change("a.x", 1));
    author.send(&change("b.x", 2));
    assert_eq!(reader.receive()["config_key"], "b.x");
    for _ in 0..2 {
        assert_eq!(author.receive()["type"], "config_change_response", "no pattern, no config_sync");
    }
}

#[test]
fn a_refused_subscribe_leaves_the_old_patterns() {
    let pipeline = Pipeline::start(json!({"max_patterns": 2}));
    let mut client = pipeline.client();
    client.send(&json!({"type": "subscribe", "patterns": ["b.*"]}));
    for (message, code) in [
        (json!({"type": "subscribe", "patterns": ["a.[x"], "id": 1}), "bad_pattern"),
        (json!({"type": "subscribe", "patterns": ["a", "b", "c"], "id": 1}), "too_large"),
        (json!({"type": "subscribe", "patterns": "*", "id": 1}), "bad_message"),
        (
            json!({"type": "subscribe", "patterns": ["*"], "id": 1, "since": {"epoch": "e", "revision": 1}}),
            "unavailable",
        ),
        (json!({"type": "subscribe", "patterns": ["*"], "id": 1, "snapshot": true}), "unavailable"),
        (json!({"type": "subscribe", "patterns": ["*"], "id": 1, "tenant_id": "global"}), "bad_tenant"),
    ] {
        client.send(&message);
        let error = client.receive();
        assert_eq!(
            (&error["type"], &error["code"], &error["id"]),
            (&json!("error"), &json!(code), &json!(1)),
            "{error}"
        );
    }
    client.send(&change("a.x", 1));
    assert_eq!(client.receive()["type"], "config_change_response", "not subscribed to a.x");
    client.send(&change("b.x", 1));
    assert_eq!(client.receive_type("config_sync")["config_key"], "b.x");
}

#[test]
fn a_bad_frame_is_answered_and_the_connection_goes_on() {
    let pipeline = Pipeline::start(json!({}));
    let mut client = pipeline.client();
    for text in [
        "",
        "nonsense",
        "[]",
        "{\"type\":",
        r#"{"type":"config_change"}"#,
        r#"{"type":"config_change","config_key":"k"}"#,
    ] {
        client.send_raw(Message::text(text));
        let error = client.receive();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad_message")), "{text}");
        assert!(error["message"].is_string());
        client.is_served();
    }
    client.send_raw(Message::binary(b"{\"type\":\"ping\"}".to_vec()));
    assert_eq!(client.receive()["code"], "bad_message");
    client.is_served();
}

#[test]
fn a_change_that_can_never_be_written_is_refused_with_its_key_and_id() {
    let pipeline = Pipeline::start(json!({"max_value_bytes": 1000}));
    let mut client = pipeline.client();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let deep: Box<serde_json::value::RawValue> = serde_json::from_str(&deep).expect("JSON");
    let deep = format!(r#"{{"type":"config_change","config_key":"k","id":"7","new_value":{deep}}}"#);
    client.send_raw(Message::text(deep));
    let answer = client.receive();
    assert_eq!((&answer["code"], &answer["id"]), (&json!("bad_message"), &json!("7")), "{answer}");
    for (fields, code, field) in [
        (json!({"config_key": "a..b"}), "bad_key", "/config_key"),
        (json!({"config_key": "a/b"}), "bad_key", "/config_key"),
        (json!({"config_key": "k".repeat(513)}), "too_large", "/config_key"),
        (json!({"tenant_id": "a b"}), "bad_tenant", "/tenant_id"),
        (json!({"new_value": "x".repeat(1000)}), "too_large", "/new_value"),
        (json!({"ops": ["x".repeat(1000)]}), "too_large", "/ops"),
        (json!({"base": {"epoch": "e", "revision": 1}}), "unknown_base", ""),
        (json!({"base_revision": 1}), "unknown_base", ""),
        (json!({"base_revision": "hunter2"}), "bad_message", "/base_revision"),
        (json!({"fence": {"lock": "k", "token": 1}}), "unknown_base", ""),
        (json!({"fence": {"lock": "hunter2"}}), "bad_message", "/fence"),
        (json!({"ops": [1]}), "unknown_base", ""),
        (json!({"op": "delete", "new_value": "hunter2"}), "bad_message", "/new_value"),
        (json!({"op": "hunter2"}), "bad_message", "/op"),
        (json!({"timestamp": "yesterday"}), "bad_message", "/timestamp"),
    ] {
        let mut message = change("app.x", 1);
        message["id"] = json!("7");
        for (name, value) in fields.as_object().expect("fields") {
            message[name] = value.clone();
        }
        client.send(&message);
        let answer = client.receive();
        assert_eq!(answer["type"], "config_change_response", "{answer}");
        assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!(code)), "{answer}");
        assert_eq!((&answer["id"], &answer["config_key"]), (&json!("7"), &message["config_key"]));
        assert!(answer["error"].is_string() && answer["retryable"] == json!(false));
        let place = answer["details"][0]["path"].as_str().unwrap_or_default();
        assert_eq!(place, field, "{answer}");
        assert!(!answer.to_string().contains("hunter2"), "{answer}");
    }
    assert!(pipeline.taken.lock().expect("unpoisoned").is_empty(), "nothing of this went into the pipeline");
}

#[test]
fn locks_are_answered_as_not_available() {
    let pipeline = Pipeline::start(json!({}));
    let mut client = pipeline.client();
    for kind in ["config_lock", "config_unlock"] {
        client.send(&json!({"type": kind, "id": 1, "config_key": "app.x"}));
        let answer = client.receive();
        assert_eq!(
            (&answer["type"], &answer["success"], &answer["code"], &answer["id"], &answer["config_key"]),
            (
                &json!("config_lock_response"),
                &json!(false),
                &json!("unavailable"),
                &json!(1),
                &json!("app.x")
            )
        );
    }
}

#[test]
fn a_message_about_a_lock_is_answered_about_its_key_whatever_is_wrong_in_it() {
    let pipeline = Pipeline::start(json!({}));
    let mut client = pipeline.client();
    for (fields, field) in [
        (json!({"ttl_ms": "1s"}), "/ttl_ms"),
        (json!({"ttl_ms": -1}), "/ttl_ms"),
        (json!({"ttl_ms": 1e12}), "/ttl_ms"),
        (json!({"metadata": [1]}), "/metadata"),
        (json!({"id": [1]}), "/id"),
    ] {
        let mut message = json!({"type": "config_lock", "config_key": "app.x"});
        message.as_object_mut().expect("an object").extend(fields.as_object().expect("fields").clone());
        client.send(&message);
        let answer = client.receive();
        assert_eq!(answer["type"], "config_lock_response", "{answer}");
        assert_eq!((&answer["code"], &answer["config_key"]), (&json!("bad_message"), &json!("app.x")));
        assert_eq!(answer["details"][0]["path"], field, "{answer}");
    }
}

#[test]
fn a_change_carries_what_its_author_said() {
    let pipeline = Pipeline::start(json!({"compat": {"naive_timestamps": true}}));
    let mut client = pipeline.client();
    let mut message = change("app.x", 1);
    message["user_id"] = json!("eve");
    message["timestamp"] = json!("2024-01-01T12:00:00.000Z");
    message["idempotency_key"] = json!("try-1");
    message["tenant_id"] = json!("t1");
    client.send(&message);
    client.send(&json!({"type": "config_change", "config_key": "app.x", "op": "delete"}));
    let sync = client.receive_type("config_sync");
    assert_eq!((&sync["event_type"], &sync["new_value"]), (&json!("config_deleted"), &Value::Null));

    let taken = pipeline.taken.lock().expect("unpoisoned");
    let change = taken[0].known_change().expect("a change");
    assert_eq!(taken[0].key_str(), Some("app.x"));
    assert_eq!((change.user_id(), change.tenant_id()), (Some("eve"), Some("t1")));
    assert_eq!(
        (change.idempotency_key(), change.timestamp_us()),
        (Some("try-1"), Some(1_704_110_400_000_000))
    );
    assert_eq!(change.event_id().expect("an id").as_bytes()[14], b'7', "a v7 UUID");
}

#[test]
fn answers_say_what_became_of_the_change_and_come_in_order() {
    let pipeline =
        Pipeline::with_judge(json!({}), |record| match record.change().expect("a change").config_key() {
            "rejected" => {
                let details = json!([{"path": "/x", "reason": "is missing"}]);
                Some(OutcomeResult::Rejected(
                    Error::rejected("invalid_value", "The value breaks its schema").with_details(&details),
                ))
            }
            "failed" => Some(OutcomeResult::Failed(Error::fatal("internal text"))),
            "applied" => Some(OutcomeResult::Applied { revision: 42, details: None }),
            _ => None,
        });
    let mut client = pipeline.client();
    client.send(&json!({"type": "subscribe", "patterns": []}));
    pipeline.is_stuck.store(true, Ordering::Relaxed);
    for (id, key) in ["written", "rejected", "bad/key", "failed", "applied"].into_iter().enumerate() {
        let mut message = change(key, 1);
        message["id"] = json!(id);
        client.send(&message);
    }
    client.is_served();
    pipeline.is_stuck.store(false, Ordering::Relaxed);
    let answers: Vec<Value> = (0..5).map(|_| client.receive()).collect();
    for (n, (success, code)) in [
        (true, Value::Null),
        (false, json!("invalid_value")),
        (false, json!("bad_key")),
        (false, json!("unavailable")),
        (true, Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = &answers[n];
        assert_eq!(
            (&answer["id"], &answer["success"], &answer["code"]),
            (&json!(n), &json!(success), &code),
            "{answer}"
        );
    }
    assert_eq!(answers[1]["details"], json!([{"path": "/x", "reason": "is missing"}]));
    assert_eq!(
        (&answers[3]["retryable"], answers[3].to_string().contains("internal")),
        (&json!(true), false)
    );
    assert_eq!(answers[4]["revision"], 42);
}

#[test]
fn tenants_are_kept_apart() {
    let pipeline = Pipeline::start(json!({}));
    let of = |path: &str| {
        let mut client = Client::connect(pipeline.address, path);
        client.welcome();
        client
    };
    let (mut one, mut two, mut none) = (of("/?tenant=t1"), of("/?tenant=t2"), of("/"));
    one.send(&change("app.x", 1));
    let sync = one.receive_type("config_sync");
    assert_eq!(sync["tenant_id"], "t1");
    none.send(&change("app.y", 2));
    assert_eq!(none.receive_type("config_sync")["config_key"], "app.y");
    two.receives_nothing();

    let mut message = change("app.x", 1);
    message["tenant_id"] = json!("t2");
    one.send(&message);
    assert_eq!(one.receive_type("config_change_response")["code"], "forbidden");
    none.send(&json!({"type": "subscribe", "patterns": ["*"], "tenant_id": "t2"}));
    none.is_served();
    two.send(&change("app.z", 3));
    assert_eq!(none.receive()["tenant_id"], "t2", "a connection without a tenant may name one");
    assert!(Client::try_connect(pipeline.address, "/?tenant=global").is_err());
}

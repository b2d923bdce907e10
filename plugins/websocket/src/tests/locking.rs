//! Locks over a connection, with locks as the operations show them.

use super::{
    locks::{Locks, offer},
    support::{Client, LogPipeline, SOON, change},
};
use lockstep_plugin_api::record::SESSION_HEADER;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn start() -> (LogPipeline, Locks) {
    let pipeline = LogPipeline::start(json!({}));
    let locks = offer(&pipeline.host);
    (pipeline, locks)
}

fn lock(client: &mut Client, key: &str, fields: Value) -> Value {
    let mut message = json!({"type": "config_lock", "id": 1, "config_key": key});
    for (name, value) in fields.as_object().expect("fields") {
        message[name] = value.clone();
    }
    client.send(&message);
    client.receive_type("config_lock_response")
}

fn unlock(client: &mut Client, key: &str) -> Value {
    client.send(&json!({"type": "config_unlock", "id": 2, "config_key": key}));
    client.receive_type("config_lock_response")
}

#[test]
fn a_lock_is_granted_with_token_session_and_end_and_given_back() {
    let (pipeline, locks) = start();
    let mut client = pipeline.client();
    let granted =
        lock(&mut client, "app.x", json!({"user_id": "eve", "ttl_ms": 5000, "metadata": {"why": "x"}}));
    let session = granted["session"].as_str().expect("a session");
    assert_eq!(
        granted,
        json!({
            "type": "config_lock_response", "success": true, "config_key": "app.x", "id": 1, "token": 1, "depth": 1,
            "session": session, "expires_at": "later",
        })
    );
    let call = locks.last("lock.acquire");
    assert_eq!(
        (&call["user_id"], &call["ttl_ms"], &call["metadata"]),
        (&json!("eve"), &json!(5000), &json!({"why": "x"}))
    );
    let public = call["session"].as_str().expect("a name");
    assert!(!session.contains(public) && !public.contains(session), "the name does not tell the secret");

    assert_eq!(lock(&mut client, "app.x", json!({"user_id": "eve"}))["depth"], 2);
    assert_eq!(unlock(&mut client, "app.x")["depth"], 1);
    assert_eq!(
        unlock(&mut client, "app.x"),
        json!({"type": "config_lock_response", "success": true, "config_key": "app.x", "id": 2, "depth": 0})
    );
    let refused = unlock(&mut client, "app.x");
    assert_eq!((&refused["success"], &refused["code"]), (&json!(false), &json!("not_found")), "{refused}");
}

#[test]
fn who_comes_second_is_told_who_holds_it_and_waits_without_being_in_the_way() {
    let (pipeline, locks) = start();
    let (mut holder, mut second) = (pipeline.client(), pipeline.client());
    lock(&mut holder, "app.x", json!({"user_id": "eve"}));
    assert_eq!(
        lock(&mut second, "app.x", json!({})),
        json!({
            "type": "config_lock_response", "success": false, "config_key": "app.x", "id": 1, "code": "locked",
            "error": "Configuration is locked by another user", "retryable": true, "locked_by": "eve",
            "expires_at": "later",
        })
    );
    second.send(&json!({"type": "config_lock", "id": 7, "config_key": "app.x", "wait_ms": 60_000}));
    second.is_served();
    assert_eq!(lock(&mut second, "app.y", json!({}))["success"], true, "other locks meanwhile");
    unlock(&mut holder, "app.x");
    let granted = second.receive_type("config_lock_response");
    assert_eq!((&granted["id"], &granted["success"]), (&json!(7), &json!(true)), "{granted}");
    assert_eq!(locks.last("lock.acquire")["wait_ms"], Value::Null);
}

#[test]
fn messages_about_one_lock_are_decided_in_their_order() {
    let (pipeline, _locks) = start();
    let mut client = pipeline.client();
    for n in 0..10 {
        client.send(&json!({"type": "config_lock", "id": 2 * n, "config_key": "app.x"}));
        client.send(&json!({"type": "config_unlock", "id": 2 * n + 1, "config_key": "app.x"}));
    }
    for id in 0..20 {
        let answer = client.receive_type("config_lock_response");
        assert_eq!((&answer["id"], &answer["success"]), (&json!(id), &json!(true)), "{answer}");
    }
}

#[test]
fn a_bad_message_about_a_lock_is_refused_with_its_key() {
    let (pipeline, locks) = start();
    let mut client = pipeline.client();
    for (fields, code) in [
        (json!({"config_key": "a..b"}), "bad_key"),
        (json!({"tenant_id": "global"}), "bad_tenant"),
        (json!({"session": "short"}), "bad_message"),
    ] {
        let answer = lock(&mut client, "app.x", fields);
        assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!(code)), "{answer}");
    }
    client.send(&json!({"type": "config_lock", "id": 1, "config_key": "app.x", "ttl_ms": "long"}));
    assert_eq!(client.receive()["code"], "bad_message");
    assert_eq!(locks.calls("lock.acquire").len(), 0);
}

#[test]
fn changes_carry_the_name_of_the_session_and_nobody_can_claim_another() {
    let (pipeline, locks) = start();
    let (mut holder, mut other) = (pipeline.client(), pipeline.client());
    lock(&mut holder, "app.x", json!({}));
    let name = locks.last("lock.acquire")["session"].clone();
    holder.send(&change("app.x", 1));
    holder.receive_type("config_change_response");
    let mut forged = change("app.x", 2);
    forged["session"] = name.clone();
    forged["headers"] = json!({ SESSION_HEADER: name });
    other.send(&forged);
    other.receive_type("config_change_response");
    let taken = pipeline.taken.lock().expect("unpoisoned");
    let session =
        |at: usize| taken[at].header(SESSION_HEADER).map(|name| String::from_utf8_lossy(name).into_owned());
    assert_eq!(session(0).as_deref(), name.as_str());
    assert_eq!(session(1), None, "the name alone is nothing");
}

#[test]
fn a_client_that_comes_back_in_time_still_holds_its_locks() {
    let (pipeline, locks) = start();
    let mut client = pipeline.client();
    let granted = lock(&mut client, "app.x", json!({}));
    let secret = granted["session"].as_str().expect("a session").to_owned();
    drop(client);

    let mut again = Client::connect(pipeline.address, &format!("/?session={secret}"));
    assert_eq!(again.receive()["resumed"], true);
    let resumed = lock(&mut again, "app.x", json!({"session": secret}));
    assert_eq!(
        (&resumed["token"], &resumed["depth"]),
        (&granted["token"], &json!(1)),
        "not taken again: {resumed}"
    );
    drop(again);

    let mut third = pipeline.client();
    assert_eq!(lock(&mut third, "app.x", json!({"session": secret}))["token"], granted["token"]);
    std::thread::sleep(Duration::from_secs(11));
    assert_eq!(locks.calls("lock.session_closed").len(), 0, "the session goes on");
    third.send(&change("app.x", 1));
    third.receive_type("config_change_response");
    let taken = pipeline.taken.lock().expect("unpoisoned");
    assert!(taken[0].header(SESSION_HEADER).is_some());
}

#[test]
fn leases_of_live_connections_are_extended_at_a_third_of_their_time() {
    let (pipeline, locks) = start();
    let mut client = pipeline.client();
    let asked = Instant::now();
    let granted = lock(&mut client, "app.x", json!({"ttl_ms": 900}));
    let third = Duration::from_millis(300);
    // However long this machine takes for them, none comes early.
    for n in 1..=4 {
        while locks.calls("lock.extend").len() < n {
            assert!(asked.elapsed() < SOON, "{n} extensions in time");
            std::thread::sleep(Duration::from_millis(5));
        }
        let n_extended = locks.calls("lock.extend").len() as u32;
        assert!(asked.elapsed() >= third * n_extended, "{n_extended} after {:?}", asked.elapsed());
    }
    assert_eq!(locks.last("lock.extend")["token"], granted["token"]);
    unlock(&mut client, "app.x");
    let n_extended = locks.calls("lock.extend").len();
    std::thread::sleep(Duration::from_millis(1_000));
    // One may have been on its way.
    assert!(locks.calls("lock.extend").len() <= n_extended + 1, "what was given back is not extended");
}

#[test]
fn without_locks_in_the_pipeline_the_client_is_told() {
    let pipeline = LogPipeline::start(json!({}));
    let mut client = pipeline.client();
    let refused = lock(&mut client, "app.x", json!({}));
    assert_eq!(
        (&refused["code"], &refused["error"]),
        (&json!("unavailable"), &json!("This pipeline has no locks")),
        "{refused}"
    );
}

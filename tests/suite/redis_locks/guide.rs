//! The guide's own lock class, by the commands that it sends: it and hosts exclude each other both ways.

use super::{LOCK, node, place, redis};
use lockstep_test_support::Redis;
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

/// `SET key value NX EX timeout`, as the guide's `acquire_lock` has it.
fn guides_acquire(redis: &Redis, user: &str, seconds: u32) -> bool {
    let data = json!({
        "config_key": "app.x", "user_id": user, "tenant_id": null, "acquired_at": "2024-01-01T12:00:00.123456",
        "expires_at": "2024-01-01T12:05:00.123456", "heartbeat_interval": 30, "metadata": { "why": "x" },
    });
    let words = ["SET", LOCK, &data.to_string(), "NX", "EX", &seconds.to_string()];
    redis.command::<Option<String>>(&words).is_some()
}

#[test]
fn the_guides_class_and_hosts_exclude_each_other() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    assert!(guides_acquire(&redis, "guido", 60));
    let refused = a.acquire("s1", json!({})).expect_err("the guide has it");
    assert_eq!((refused.code.as_str(), &refused.error["details"]["locked_by"]), ("locked", &json!("guido")));
    let shown = a.ask("lock.info", json!({})).expect("shown");
    assert_eq!((&shown["user_id"], &shown["metadata"]), (&json!("guido"), &json!({ "why": "x" })));
    assert_eq!(
        (&shown["acquired_at"], &shown["lock_key"]),
        (&json!("2024-01-01T12:00:00.123456"), &json!(LOCK))
    );
    assert!(
        shown.get("token").is_none() && shown["expires_at"].as_str() > Some("2025"),
        "when it really ends: {shown}"
    );
    let listed = &a.call("lock.list", &json!({})).expect("listed")[0];
    assert_eq!((&listed["user_id"], &listed["lock_key"]), (&shown["user_id"], &shown["lock_key"]));

    // Its heartbeat, and its release: GET, compare, DEL.
    let _: i64 = redis.command(&["EXPIRE", LOCK, "300"]);
    let _: i64 = redis.command(&["DEL", LOCK]);
    let lease = a.acquire("s1", json!({ "user_id": "alice", "metadata": { "a": 1.0 } })).expect("free");
    assert!(!guides_acquire(&redis, "guido", 60), "the host has it");
    let read: Value = serde_json::from_str(&redis.command::<String>(&["GET", LOCK])).expect("JSON");
    for field in
        ["config_key", "user_id", "tenant_id", "acquired_at", "expires_at", "heartbeat_interval", "metadata"]
    {
        assert_eq!(read[field], lease[field], "{field}");
    }
    a.release("s1").expect("held");
    assert!(guides_acquire(&redis, "guido", 60));
}

#[test]
fn a_host_waits_for_the_guides_class_and_an_operator_may_take_its_lock_away() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    assert!(guides_acquire(&redis, "guido", 1));
    let start = Instant::now();
    let lease = a.acquire("s1", json!({ "wait_ms": 60_000 })).expect("it ends by itself");
    let first = lease["token"].as_u64();
    assert!(start.elapsed() < Duration::from_secs(15), "and is not looked for late: {:?}", start.elapsed());
    a.release("s1").expect("held");
    assert!(guides_acquire(&redis, "guido", 60));
    let forced =
        a.ask("lock.force_release", json!({ "admin_user_id": "root", "reason": "stuck" })).expect("held");
    assert_eq!(forced["user_id"], "guido");
    assert!(a.host.get("/v1/audit").body.contains("stuck"));
    let next = a.acquire("s2", json!({})).expect("free")["token"].as_u64();
    assert!(next > first.map(|first| first + 1), "the token counted on for a lease that had none");
}

#[test]
fn a_lease_that_ended_while_its_holder_slept_belongs_to_whoever_was_faster() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let token = a.acquire("s1", json!({ "ttl_ms": 60_000 })).expect("free")["token"].clone();
    // The server's clock went ahead.
    let _: i64 = redis.command(&["PEXPIRE", LOCK, "1"]);
    thread::sleep(Duration::from_millis(10));
    assert!(guides_acquire(&redis, "guido", 60));
    let extended = a.ask("lock.extend", json!({ "session": "s1", "token": token }));
    assert_eq!(super::code(extended), "not_found");
    assert_eq!(super::code(a.release("s1")), "not_found");
    let kept: Value = serde_json::from_str(&redis.command::<String>(&["GET", LOCK])).expect("JSON");
    assert_eq!(kept["user_id"], "guido", "nobody touched it");
}

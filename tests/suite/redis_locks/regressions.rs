//! What the guide's own lock gets wrong, `D-n` of the contract, does not come back with Redis.

use super::{LOCK, code, node, place, redis, two};
use serde_json::{Value, json};
use std::{thread, time::Duration};

#[test]
fn d_29_a_user_is_no_holder_and_the_anonymous_are_not_one() {
    let (_redis, a, b) = two();
    for user in [json!("alice"), Value::Null] {
        let take = |host: &super::Node, session: &str| {
            let mut rest = json!({ "config_key": "app.x", "session": session });
            rest["user_id"] = user.clone();
            host.call("lock.acquire", &rest)
        };
        take(&a, "s1").expect("free");
        assert_eq!(code(take(&a, "s2")), "locked");
        assert_eq!(code(take(&b, "s3")), "locked");
        assert_eq!(code(b.release("s3")), "not_found", "nobody releases another one's");
        a.release("s1").expect("held");
    }
}

#[test]
fn d_30_a_late_release_does_not_end_the_next_ones_lease() {
    let (redis, a, b) = two();
    let old = a.acquire("s1", json!({})).expect("free")["token"].clone();
    let _: i64 = redis.command(&["PEXPIRE", LOCK, "1"]);
    thread::sleep(Duration::from_millis(10));
    let new = b.acquire("s2", json!({})).expect("free")["token"].clone();
    assert_eq!(code(a.release("s1")), "not_found");
    // The same session has it again: what it sent under its old token is not about this lease.
    b.release("s2").expect("held");
    let newest = b.acquire("s1", json!({})).expect("free")["token"].clone();
    let late = a.ask("lock.release", json!({ "session": "s1", "token": old }));
    assert_eq!(code(late), "not_found");
    assert_eq!(b.ask("lock.info", json!({})).expect("shown")["token"], newest);
    assert!(newest.as_u64() > new.as_u64());
}

#[test]
fn d_31_extending_needs_the_lease_lasts_as_asked_and_is_shown() {
    let (redis, a, b) = two();
    let lease = a.acquire("s1", json!({ "ttl_ms": 60_000 })).expect("free");
    assert_eq!(lease["heartbeat_interval"], 20, "a third of its own time");
    let left = || redis.command::<i64>(&["PTTL", LOCK]);
    assert!((45_000..=60_000).contains(&left()), "asked for 60 s: {}", left());
    // The server's clock goes ahead, and time passes.
    let _: i64 = redis.command(&["PEXPIRE", LOCK, "30000"]);
    thread::sleep(Duration::from_millis(1_100));
    let extended = a.ask("lock.extend", json!({ "session": "s1", "token": lease["token"] })).expect("held");
    assert!(extended["expires_at"].as_str() > lease["expires_at"].as_str());
    let stored: Value = serde_json::from_str(&redis.command::<String>(&["GET", LOCK])).expect("JSON");
    assert!(stored["expires_at"].as_str() > lease["expires_at"].as_str(), "{stored}");
    assert!((45_000..=60_000).contains(&left()), "its own time once more: {}", left());
    b.ask("lock.force_release", json!({ "admin_user_id": "root" })).expect("held");
    b.acquire("s2", json!({ "ttl_ms": 2_000 })).expect("free");
    let late = a.ask("lock.extend", json!({ "session": "s1", "token": lease["token"], "ttl_ms": 300_000 }));
    assert_eq!(code(late), "not_found");
    assert!(left() <= 2_000, "somebody else's lease is not prolonged: {}", left());
    for ttl in [json!(0), json!(99)] {
        assert_eq!(code(a.acquire("s3", json!({ "ttl_ms": ttl }))), "bad_message", "no time is not 300 s");
    }
}

#[test]
fn d_31b_a_holder_that_slept_past_its_lease_writes_nothing() {
    let (redis, a, b) = two();
    let old = a.acquire("s1", json!({})).expect("free")["token"].clone();
    let read = a.revision();
    let _: i64 = redis.command(&["PEXPIRE", LOCK, "1"]);
    thread::sleep(Duration::from_millis(10));
    let late = json!({ "session": "s1", "fence": { "token": old }, "base_revision": read });
    assert_eq!(a.change(&json!("late"), late.clone())["error"]["code"], "stale_fence", "nobody has it");
    b.acquire("s2", json!({})).expect("free");
    for host in [&a, &b] {
        assert_eq!(
            host.change(&json!("late"), late.clone())["error"]["code"],
            "stale_fence",
            "somebody has it"
        );
    }
    // The server has forgotten everything, also that the token was given.
    let _: String = redis.command(&["FLUSHALL"]);
    assert_eq!(a.change(&json!("late"), late)["error"]["code"], "stale_fence");
    assert_eq!(a.host.get("/v1/keys/app.x").code, 404, "nothing was written");
}

#[test]
fn d_32_names_are_no_patterns_and_the_server_is_not_stopped_to_list_them() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    for (key, tenant, expected) in [
        ("b:c", json!("a"), "bad_key"),
        ("c", json!("a:b"), "bad_tenant"),
        ("c", json!("global"), "bad_tenant"),
        ("c", json!("*"), "bad_tenant"),
    ] {
        let name = json!({ "config_key": key, "tenant_id": tenant });
        assert_eq!(code(a.call("lock.acquire", &name)), expected, "{key} {tenant}");
    }
    for key in ["x*", "xy", "x[y]", "x?"] {
        a.call("lock.acquire", &json!({ "config_key": key, "session": "s1" })).expect("its own lock");
    }
    let listed = a.call("lock.list", &json!({})).expect("listed");
    assert_eq!(listed.as_array().map(Vec::len), Some(4), "{listed}");
    let of_star = a.call("lock.list", &json!({ "tenant_id": "*" }));
    assert!(!of_star.is_ok_and(|list| list != json!([])), "`*` is no tenant");
    let stats: String = redis.command(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_scan:") && !stats.contains("cmdstat_keys:"), "{stats}");
}

#[test]
fn d_35_a_lock_without_a_tenant_is_called_global_and_belongs_to_none() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let lease = a.acquire("s1", json!({})).expect("free");
    assert_eq!((&lease["lock_key"], &lease["tenant_id"]), (&json!("config_lock:global:app.x"), &Value::Null));
    let of_tenant = a.acquire("s1", json!({ "tenant_id": "t1" })).expect("another lock");
    assert_eq!(of_tenant["lock_key"], "config_lock:t1:app.x");
    let stored: Value = serde_json::from_str(&redis.command::<String>(&["GET", LOCK])).expect("JSON");
    assert_eq!(stored["tenant_id"], Value::Null);
}

#[test]
fn d_48_whoever_wants_to_wait_waits() {
    let (redis, a, b) = two();
    a.acquire("s1", json!({ "ttl_ms": 60_000 })).expect("free");
    assert_eq!(code(b.acquire("s2", json!({}))), "locked", "at once, if nothing else was asked for");
    let _: i64 = redis.command(&["PEXPIRE", LOCK, "500"]);
    b.acquire("s2", json!({ "wait_ms": 30_000 })).expect("its turn came");
}

#[test]
fn d_49_one_user_has_so_many_locks_and_texts_have_an_end() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let take = |key: &str, rest: Value| {
        let mut ask = json!({ "config_key": key, "user_id": "alice", "session": "s1" });
        ask.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        a.call("lock.acquire", &ask)
    };
    for n in 0..100 {
        take(&format!("k{n}"), json!({})).expect("free");
    }
    assert_eq!(code(take("k100", json!({}))), "too_large");
    take("k0", json!({})).expect("entering again takes no other lock");
    take("k100", json!({ "user_id": "bob" })).expect("another user");
    assert_eq!(code(take(&"k".repeat(513), json!({}))), "too_large");
    assert_eq!(
        code(take("m", json!({ "user_id": "bob", "metadata": { "x": "y".repeat(4096) } }))),
        "too_large"
    );
    let closed = a.call("lock.session_closed", &json!({ "session": "s1" })).expect("closed");
    assert_eq!(closed["released"], 101);
    take("k100", json!({})).expect("there is room again");
}

//! Waiting: in order across hosts, woken by messages and, where those are lost, by looking.

use super::{Node, call, code, node, place, redis, two};
use lockstep_test_support::{LIMIT, Redis, eventually, is_quick};
use serde_json::{Value, json};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How many stand in line for `app.x`.
fn n_waiting(redis: &Redis) -> usize {
    let line: Option<String> = redis.command(&["HGET", "{config_lock:global:app.x}:state", "line"]);
    line.map_or(0, |line| serde_json::from_str::<Vec<Value>>(&line).expect("a list").len())
}

fn wait_for(redis: &Redis, n: usize) {
    let waits = eventually(LIMIT, || (n_waiting(redis) == n).then_some(()));
    assert!(waits.is_some(), "{} wait", n_waiting(redis));
}

/// Waits for the lock on a thread of its own, which says when it has it.
fn waiter<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    node: &'scope Node,
    session: String,
    granted: mpsc::SyncSender<(String, u64)>,
) {
    let admin = node.host.admin().to_owned();
    scope.spawn(move || {
        let wait = json!({ "config_key": "app.x", "session": session, "wait_ms": 60_000 });
        let lease = call(&node.site, &admin, "lock.acquire", &wait).expect("its turn comes");
        granted.send((session.clone(), lease["token"].as_u64().expect("a token"))).expect("the test listens");
        let done = json!({ "config_key": "app.x", "session": session });
        call(&node.site, &admin, "lock.release", &done).expect("held");
    });
}

#[test]
fn whoever_waits_is_served_in_order_whichever_host_it_waits_at() {
    let (redis, a, b) = two();
    // Nobody has to look for it: that would take up to a second each.
    assert!(is_quick(Duration::from_secs(3), || serve_in_order(&redis, &a, &b)));
}

/// Lets six wait and be served, and says how long that took from the moment the lock was free.
fn serve_in_order(redis: &Redis, a: &Node, b: &Node) -> Duration {
    a.acquire("s0", json!({})).expect("free");
    let (granted, grants) = mpsc::sync_channel(8);
    thread::scope(|scope| {
        for n in 1..=6 {
            let host = if n % 2 == 0 { a } else { b };
            waiter(scope, host, format!("s{n}"), granted.clone());
            wait_for(redis, n);
        }
        let start = Instant::now();
        a.release("s0").expect("held");
        let mut last = 0;
        for n in 1..=6 {
            let (session, token) = grants.recv_timeout(LIMIT).expect("somebody is next");
            assert!(session == format!("s{n}") && token > last, "{session} under {token} after {last}");
            last = token;
        }
        start.elapsed()
    })
}

#[test]
fn a_message_that_is_lost_only_delays_and_waiting_is_not_looking_all_the_time() {
    let redis = redis();
    let quiet = ["ACL", "SETUSER", "quiet", "on", ">quiet-secret", "~*", "resetchannels", "+@all"];
    let _: String = redis.command(&quiet);
    let deaf = node("deaf", &format!("port: {}, username: quiet, password: quiet-secret", redis.port));
    let other = node("other", &place(redis.port));
    other.acquire("s0", json!({})).expect("free");
    let (granted, grants) = mpsc::sync_channel(8);
    let asked = |node: &Node| node.host.metrics().sum("lockstep_plugin_lock_redis_operations_total", &[]);
    thread::scope(|scope| {
        waiter(scope, &deaf, "s1".to_owned(), granted);
        wait_for(&redis, 1);
        let (start, before) = (Instant::now(), asked(&deaf));
        thread::sleep(Duration::from_secs(3));
        let looks = eventually(LIMIT, || (asked(&deaf) - before >= 2.0).then_some(()));
        assert!(looks.is_some(), "it looks by itself");
        let (n_asked, most) = (asked(&deaf) - before, 4.0 * start.elapsed().as_secs_f64());
        assert!(n_asked <= most, "{n_asked} questions, where {most} are many");
        other.release("s0").expect("held");
        // Long before its patience ends.
        grants.recv_timeout(Duration::from_secs(20)).expect("it looked by itself");
    });
}

#[test]
fn a_waiter_whose_host_is_killed_is_not_waited_for_long() {
    let (redis, a, mut b) = two();
    a.acquire("s0", json!({})).expect("free");
    thread::scope(|scope| {
        let (admin, site) = (b.host.admin().to_owned(), &b.site);
        let abandoned = super::token(site);
        scope.spawn(move || {
            let wait = json!({ "config_key": "app.x", "session": "s1", "wait_ms": 60_000 });
            let request = lockstep_test_support::Request::new("POST", "/v1/operations/lock.acquire");
            // It is killed before it answers.
            let _ = request.bearer(&abandoned).json(&wait).send(&admin);
        });
        wait_for(&redis, 1);
        let (granted, grants) = mpsc::sync_channel(8);
        waiter(scope, &a, "s2".to_owned(), granted);
        wait_for(&redis, 2);
        b.host.kill();
        a.release("s0").expect("held");
        // Long before the dead one's patience would have ended.
        grants.recv_timeout(Duration::from_secs(30)).expect("the one behind it is next");
    });
}

#[test]
fn waiting_ends_with_patience_with_the_session_or_with_the_lease() {
    let (redis, a, b) = two();
    a.acquire("s0", json!({ "user_id": "alice", "ttl_ms": 120_000 })).expect("free");
    let start = Instant::now();
    let refused = b.acquire("s1", json!({ "wait_ms": 300 })).expect_err("held");
    assert_eq!((refused.code.as_str(), &refused.error["details"]["locked_by"]), ("locked", &json!("alice")));
    assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&start.elapsed()));
    wait_for(&redis, 0);
    assert_eq!(b.host.logged("Failed to acquire lock for app.x by user-s1").len(), 1);

    thread::scope(|scope| {
        let (admin, site) = (b.host.admin().to_owned(), &b.site);
        let waiting = scope.spawn(move || {
            let wait = json!({ "config_key": "app.x", "session": "s1", "wait_ms": 60_000 });
            call(site, &admin, "lock.acquire", &wait)
        });
        wait_for(&redis, 1);
        let closed = b.call("lock.session_closed", &json!({ "session": "s1" })).expect("closed");
        assert_eq!(closed, json!({ "released": 0, "waiting": 1 }));
        assert_eq!(code(waiting.join().expect("no panic")), "not_found");
    });
    wait_for(&redis, 0);
    a.release("s0").expect("held");
    let is_quick = is_quick(Duration::from_secs(4), || {
        let start = Instant::now();
        a.acquire("s0", json!({ "ttl_ms": 2_000 })).expect("free");
        b.acquire("s2", json!({ "wait_ms": 30_000 })).expect("the lease ends by itself");
        b.release("s2").expect("held");
        start.elapsed()
    });
    assert!(is_quick, "and is not looked for late");
}

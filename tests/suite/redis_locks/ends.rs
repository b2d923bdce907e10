//! How leases end, and who is told what of it: each end once in an audit, and to subscribers of every host.

use super::{LOCK, Node, code, node, place, redis, token_of, two};
use lockstep_test_support::{LIMIT, WsClient, eventually};
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant},
};

fn entries(entries: &[(&str, usize)]) -> Vec<(String, usize)> {
    entries.iter().map(|(what, token)| ((*what).to_owned(), *token)).collect()
}

#[track_caller]
fn wait_audited(node: &Node, expected: &[(&str, usize)]) {
    let seen = eventually(LIMIT, || (node.audited() == entries(expected)).then_some(()));
    assert!(seen.is_some(), "{:?}", node.audited());
}

/// Why the lock is free, as the next message about it says.
fn unlocked(client: &mut WsClient) -> (String, String) {
    let told = client.next_of_type("config_unlocked");
    let text = |field: &str| told[field].as_str().expect("text").to_owned();
    (text("user_id"), text("reason"))
}

#[test]
fn subscribers_of_every_host_hear_of_every_lock_once() {
    let (_redis, a, b) = two();
    let mut clients = [a.client(), b.client()];
    // Whoever has a message from each host's log is subscribed.
    clients.iter_mut().for_each(|client| drop(client.subscribe(&["app.*"])));
    a.acquire("s1", json!({ "user_id": "alice" })).expect("free");
    b.release("s1").expect("held");
    for client in &mut clients {
        let locked = client.next_of_type("config_locked");
        assert_eq!((&locked["user_id"], &locked["source_node"]), (&json!("alice"), &json!("a")));
        assert!(locked["expires_at"].as_str() > locked["acquired_at"].as_str(), "{locked}");
        assert_eq!(unlocked(client), ("alice".to_owned(), "released".to_owned()));
    }
    thread::sleep(Duration::from_millis(300));
    for client in &mut clients {
        let more = client.messages_so_far();
        assert!(
            more.iter().all(|message| !message["type"].as_str().is_some_and(|t| t.starts_with("config_"))),
            "{more:?}"
        );
    }
    wait_audited(&a, &[("lock_acquired", 1)]);
    wait_audited(&b, &[("lock_released", 1)]);
}

#[test]
fn a_lease_that_nobody_extends_expires_and_that_is_told_once() {
    let (_redis, a, b) = two();
    let mut clients = [a.client(), b.client()];
    clients.iter_mut().for_each(|client| drop(client.subscribe(&["app.*"])));
    let start = Instant::now();
    let lease = a.acquire("s1", json!({ "user_id": "alice", "ttl_ms": 500 })).expect("free");
    for client in &mut clients {
        assert_eq!(unlocked(client), ("alice".to_owned(), "expired".to_owned()));
    }
    assert!(start.elapsed() < Duration::from_secs(15), "when it happens: {:?}", start.elapsed());
    assert!(token_of(&b.acquire("s2", json!({})).expect("free")) > token_of(&lease));
    wait_audited(&a, &[("lock_acquired", 1), ("lock_expired", 1)]);
    wait_audited(&b, &[("lock_acquired", 1)]);
}

#[test]
fn an_expiry_that_its_own_host_cannot_tell_is_told_by_whoever_takes_the_lock_next() {
    let (_redis, mut a, b) = two();
    let lease = a.acquire("s1", json!({ "user_id": "alice", "ttl_ms": 4_000 })).expect("free");
    a.host.kill();
    let mut client = b.client();
    client.subscribe(&["app.*"]);
    let next = b.acquire("s2", json!({ "wait_ms": 30_000 })).expect("it ends");
    assert!(token_of(&next) > token_of(&lease));
    assert_eq!(unlocked(&mut client), ("alice".to_owned(), "expired".to_owned()));
    wait_audited(&b, &[("lock_expired", 1), ("lock_acquired", 2)]);
    // The host that is back finds out that it is over and told: what it extends or gives back is not there.
    let host = a.site.start();
    a.host = host;
    a.host.wait_ready();
    let token = token_of(&lease);
    assert_eq!(code(a.ask("lock.extend", json!({ "session": "s1", "token": token }))), "not_found");
    wait_audited(&a, &[("lock_acquired", 1)]);
}

#[test]
fn a_lease_goes_on_while_its_host_is_away() {
    let (_redis, mut a, b) = two();
    let lease = a.acquire("s1", json!({ "ttl_ms": 200_000 })).expect("free");
    a.host.kill();
    let extended = b.ask("lock.extend", json!({ "session": "s1", "token": lease["token"] })).expect("held");
    assert_eq!(extended["ttl_ms"], 200_000, "its own time");
    let host = a.site.start();
    a.host = host;
    a.host.wait_ready();
    let closed = a.call("lock.session_closed", &json!({ "session": "s1" })).expect("closed");
    assert_eq!(closed["released"], 1, "the host remembers what its sessions have");
    b.acquire("s2", json!({})).expect("free");
}

#[test]
fn force_takes_a_lock_away_at_any_host_and_says_who_and_why() {
    let (redis, a, b) = two();
    let mut client = a.client();
    client.subscribe(&["app.*"]);
    let force = |arguments| b.ask("lock.force_release", arguments);
    assert_eq!(code(force(json!({ "admin_user_id": "root" }))), "not_found");
    let token = a.acquire("s1", json!({ "user_id": "alice" })).expect("free")["token"].clone();
    assert_eq!(code(force(json!({ "admin_user_id": "root", "expected_token": 7 }))), "stale_fence");
    let forced = force(json!({ "admin_user_id": "root", "reason": "holiday", "expected_token": token }));
    assert_eq!(forced.expect("held")["user_id"], "alice");
    assert_eq!(unlocked(&mut client), ("alice".to_owned(), "forced".to_owned()));
    let text = "Lock forcibly released for app.x by admin root. Reason: holiday. Original owner: alice";
    assert_eq!(b.host.logged(text).len(), 1);
    assert!(b.host.get("/v1/audit").body.contains("holiday"));
    wait_audited(&b, &[("lock_force_released", 1)]);
    assert_eq!(code(a.ask("lock.extend", json!({ "session": "s1", "token": token }))), "not_found");
    assert_eq!(redis.command::<i64>(&["EXISTS", LOCK]), 0);
    let next = a.acquire("s2", json!({})).expect("free")["token"].as_u64();
    assert!(next > token.as_u64().map(|token| token + 1), "the count went on");
    wait_audited(&a, &[("lock_acquired", 1), ("lock_acquired", 2)]);
}

#[test]
fn a_holder_whose_lease_the_server_forgot_loses_it_and_that_is_told() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let mut client = a.client();
    client.subscribe(&["app.*"]);
    let token = a.acquire("s1", json!({ "user_id": "alice" })).expect("free")["token"].clone();
    let _: String = redis.command(&["FLUSHALL"]);
    assert_eq!(code(a.ask("lock.extend", json!({ "session": "s1", "token": token }))), "not_found");
    assert_eq!(unlocked(&mut client), ("alice".to_owned(), "lost".to_owned()));
    wait_audited(&a, &[("lock_acquired", 1), ("lock_lost", 1)]);
    assert_eq!(a.host.logged("lock lost").len(), 1);
    assert!(a.acquire("s2", json!({})).expect("free")["token"].as_u64() > token.as_u64());
}

#[test]
fn a_command_ends_when_its_lease_can_no_longer_be_kept() {
    let redis = redis();
    let a = node("a", &place(redis.port));
    let mut client = a.client();
    client.subscribe(&["app.*"]);
    let start = Instant::now();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let run = ["locks", "run", "app.x", "--ttl", "6s", "--user", "ann", "--", "sleep", "60"];
            a.site.run(run)
        });
        client.next_of_type("config_locked");
        redis.kill();
        let ended = running.join().expect("no panic");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("is lost"), "{}", ended.stderr);
    });
    assert!(start.elapsed() < Duration::from_secs(50), "{:?}", start.elapsed());
    assert_eq!(unlocked(&mut client), ("ann".to_owned(), "lost".to_owned()));
    wait_audited(&a, &[("lock_acquired", 1), ("lock_lost", 1)]);
    redis.restart();
    let lease = a.acquire("s2", json!({ "wait_ms": 60_000 })).expect("nobody holds it for ever");
    assert!(lease["token"].as_u64() > Some(1), "{lease}");
}

//! The host is killed while somebody holds a lock: nobody is locked out for ever, and nobody loses what is his.

use super::{Sync, ask, change, lock, revision};
use lockstep_test_support::LIMIT;
use serde_json::json;
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(3);

#[test]
fn a_lock_whose_holder_does_not_come_back_is_free_after_its_lease() {
    let sync = Sync::new();
    let mut host = sync.start();
    let granted = Instant::now();
    let mut holder = sync.author();
    assert_eq!(lock(&mut holder, "app.held", TTL.as_millis() as u64, 0)["success"], true);
    host.kill();
    let restarted = Instant::now();
    let _host = sync.start();
    let mut other = sync.author();
    let early = change(&mut other, "app.held", &json!(1), &json!({}));
    let is_early = granted.elapsed() < TTL;
    if is_early {
        assert_eq!(early["code"], "locked", "a lease lasts over a restart: {early}");
    }
    let answer = lock(&mut other, "app.held", 30_000, LIMIT.as_millis() as u64);
    assert_eq!(answer["success"], true, "{answer}");
    println!("free {:?} after the kill, of a lease of {TTL:?}", restarted.elapsed());
    assert!(granted.elapsed() >= TTL, "not before the lease has ended");
    // From the restart on, time counts anew at most once.
    assert!(restarted.elapsed() < 2 * TTL + LIMIT / 2, "{:?}", restarted.elapsed());
    revision(&change(&mut other, "app.held", &json!(2), &json!({})));
}

#[test]
fn a_session_that_comes_back_within_ten_seconds_has_its_locks() {
    let sync = Sync::new();
    let mut host = sync.start();
    let mut holder = sync.author();
    let held = lock(&mut holder, "app.held", 60_000, 0);
    let secret = held["session"].as_str().unwrap_or_else(|| panic!("no session: {held}")).to_owned();
    host.kill();
    let _host = sync.start();

    let mut other = sync.author();
    assert_eq!(lock(&mut other, "app.held", 60_000, 0)["code"], "locked");
    let mut back = sync.author();
    let resume =
        json!({ "type": "config_lock", "config_key": "app.held", "ttl_ms": 60_000, "session": secret });
    let resumed = ask(&mut back, resume);
    assert_eq!(resumed["success"], true, "{resumed}");
    assert_eq!(resumed["token"], held["token"], "the same lease");
    let fence = json!({ "fence": { "lock": "app.held", "token": held["token"] } });
    revision(&change(&mut back, "app.held", &json!(1), &fence));
    // Without the token, too: the session is what holds it.
    revision(&change(&mut back, "app.held", &json!(2), &json!({})));
    assert_eq!(change(&mut other, "app.held", &json!(3), &json!({}))["code"], "locked");
}

#[test]
fn a_connection_that_ends_gives_its_locks_back() {
    let sync = Sync::new();
    let _host = sync.start();
    let mut holder = sync.author();
    assert_eq!(lock(&mut holder, "app.held", 300_000, 0)["success"], true);
    let mut other = sync.author();
    assert_eq!(lock(&mut other, "app.held", 300_000, 0)["code"], "locked");
    drop(holder);
    // A session may come back for 10 s; its lease of five minutes is not what ends it.
    let answer = lock(&mut other, "app.held", 300_000, LIMIT.as_millis() as u64);
    assert_eq!(answer["success"], true, "{answer}");
}

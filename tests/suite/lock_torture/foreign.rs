//! A program with the guide's own lock, and ours, on one Redis: whoever has the lock keeps the other out.

use super::pair::Pair;
use crate::log_acceptance::{change, lock, revision};
use lockstep_test_support::{GuidePeer, LIMIT, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const KEY: &str = "app.shared";

#[test]
fn what_a_program_with_the_guides_lock_holds_is_locked_and_its_holder_is_shown() {
    let pair = Pair::start();
    let mut guide = GuidePeer::start(&pair.redis);
    assert!(guide.acquire(KEY, "mallory", 300));
    let refused = pair.a.sync.site.run(["locks", "acquire", KEY, "--user", "ann"]).expect_code(1);
    assert!(refused.stderr.contains("locked") && refused.stderr.contains("mallory"), "{}", refused.stderr);
    let shown = pair.b.sync.site.run(["locks", "info", KEY, "--json"]).expect_code(0).json();
    assert_eq!((&shown["user_id"], &shown["config_key"]), (&json!("mallory"), &json!(KEY)), "{shown}");
    let mut author = pair.b.sync.author();
    let late = change(&mut author, KEY, &json!(1), &json!({}));
    assert_eq!((&late["success"], &late["code"]), (&json!(false), &json!("locked")), "{late}");
    assert!(late.to_string().contains("mallory"), "{late}");
    let taken = lock(&mut author, KEY, 30_000, 0);
    assert_eq!(taken["code"], "locked", "{taken}");
    assert_eq!(guide.info(KEY)["user_id"], "mallory", "nothing of that touched it");

    assert!(guide.release(KEY, "mallory"));
    revision(&change(&mut author, KEY, &json!(2), &json!({})));
    let mine = lock(&mut author, KEY, 30_000, 0);
    assert_eq!(mine["success"], true, "{mine}");
    println!("foreign holder: refused by CLI, WebSocket lock and change; free after its release");
}

#[test]
fn what_lockstep_holds_a_program_with_the_guides_lock_does_not_get() {
    let pair = Pair::start();
    let mut guide = GuidePeer::start(&pair.redis);
    let mut author = pair.a.sync.author();
    let held = ask_lock(&mut author, "ann", 30_000);
    assert!(!guide.acquire(KEY, "mallory", 300), "ann has it");
    assert!(!guide.release(KEY, "mallory"), "and mallory not");
    let seen = guide.info(KEY);
    for field in
        ["config_key", "user_id", "tenant_id", "acquired_at", "expires_at", "heartbeat_interval", "metadata"]
    {
        assert!(seen.get(field).is_some(), "`{field}` in {seen}");
    }
    assert_eq!((&seen["user_id"], &seen["config_key"]), (&json!("ann"), &json!(KEY)), "{seen}");
    assert_eq!(guide.list().len(), 1, "a lock, and nothing else of ours looks like one");
    let fence = json!({ "fence": { "lock": KEY, "token": held["token"] }, "base": base(&pair, &mut author) });
    revision(&change(&mut author, KEY, &json!(1), &fence));
    let unlock = json!({ "type": "config_unlock", "config_key": KEY });
    assert_eq!(crate::log_acceptance::ask(&mut author, unlock)["success"], true);
    assert!(guide.acquire(KEY, "mallory", 300), "it was given back");
    println!("lockstep holds: the guide's program is refused, and gets it after the release");
}

#[test]
fn a_lock_that_ends_by_its_time_goes_from_the_one_to_the_other_and_back() {
    let pair = Pair::start();
    let mut guide = GuidePeer::start(&pair.redis);
    let (start, mut author) = (Instant::now(), pair.b.sync.author());
    assert!(guide.acquire(KEY, "mallory", 1));
    let waited = lock(&mut author, KEY, 1000, LIMIT.as_millis() as u64);
    let foreign = start.elapsed();
    assert_eq!(waited["success"], true, "{waited}");
    assert!(foreign >= Duration::from_millis(950), "not before its time was over: {foreign:?}");
    // Whoever takes it without keeping it up has it for its time alone.
    let taken = json!({ "config_key": "app.other", "session": "s", "ttl_ms": 1000, "user_id": "ann" });
    let start = Instant::now();
    pair.a.call("lock.acquire", &taken).expect("it is free");
    let acquired =
        eventually(LIMIT, || guide.acquire("app.other", "mallory", 300).then_some(start.elapsed()));
    let ours = acquired.expect("a lease ends");
    assert!((950..4000).contains(&ours.as_millis()), "after its time: {ours:?}");
    println!("expiry: ours after {foreign:?} of its 1 s, the guide's after {ours:?} of ours");
}

fn ask_lock(author: &mut lockstep_test_support::WsClient, user: &str, ttl_ms: u64) -> Value {
    let lock = json!({ "type": "config_lock", "config_key": KEY, "user_id": user, "ttl_ms": ttl_ms });
    let answer = crate::log_acceptance::ask(author, lock);
    assert_eq!(answer["success"], true, "{answer}");
    answer
}

/// The key as it is now, after its holder has made it.
fn base(pair: &Pair, author: &mut lockstep_test_support::WsClient) -> Value {
    let made = revision(&change(author, KEY, &json!(0), &json!({})));
    let epoch = author.welcome()["epoch"].clone();
    assert_eq!(pair.a.host.get(&format!("/v1/keys/{KEY}")).json()["revision"], made);
    json!({ "epoch": epoch, "revision": made })
}

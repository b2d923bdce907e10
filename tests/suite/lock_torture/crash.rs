//! A host that granted locks is killed: what it had answered stands, and nothing is locked for ever.

use super::pair::{Node, Pair};
use crate::log_acceptance::{ask, change, lock, revision};
use lockstep_test_support::{Grant, LIMIT, WsClient, disorder, eventually, monotonic_us, repeated, scale};
use serde_json::{Value, json};
use std::{
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

const KEY: &str = "app.held";
const TTL: Duration = Duration::from_secs(2);

#[test]
fn a_lock_of_a_killed_host_goes_to_whoever_waits_at_the_other_one() {
    let mut pair = Pair::start();
    let mut holder = pair.a.sync.author();
    let (granted, held) = (Instant::now(), lock(&mut holder, KEY, TTL.as_millis() as u64, 0));
    let token = held["token"].as_u64().expect("granted");
    let written = revision(&change(&mut holder, KEY, &json!(1), &json!({})));
    let epoch = holder.welcome()["epoch"].clone();
    let under = |token: u64, revision: u64| json!({ "fence": { "lock": KEY, "token": token }, "base": { "epoch": epoch, "revision": revision } });
    let fenced = revision(&change(&mut holder, KEY, &json!(2), &under(token, written)));

    let waiter = &mut pair.b.sync.author();
    let wait =
        json!({ "type": "config_lock", "id": "w", "config_key": KEY, "ttl_ms": 30_000, "wait_ms": 20_000 });
    waiter.send(&wait);
    pair.a.host.kill();
    let killed = Instant::now();
    let given = answer_to(waiter, "w");
    let (after_grant, after_kill) = (granted.elapsed(), killed.elapsed());
    assert_eq!(given["success"], true, "{given}");
    assert!(after_grant >= TTL, "not before its lease was over: {after_grant:?}");
    assert!(after_kill < 2 * TTL + Duration::from_secs(3), "{after_kill:?}");
    let next = given["token"].as_u64().expect("granted");
    assert!(next > token, "{next} after {token}");

    // What it had answered is there, and its old token is of no use any more.
    pair.a.restart();
    let shown = crate::log_acceptance::key(&pair.a.host, KEY);
    assert_eq!((&shown["new_value"], &shown["revision"]), (&json!(2), &json!(fenced)), "{shown}");
    let mut back = pair.a.sync.author();
    let late = change(&mut back, KEY, &json!(3), &under(token, fenced));
    assert_eq!(late["code"], "stale_fence", "{late}");
    assert_eq!(ask(waiter, json!({ "type": "config_unlock", "config_key": KEY }))["success"], true);
    let again = lock(&mut back, KEY, 30_000, 5_000);
    assert!(again["token"].as_u64() > Some(next), "{again} after {next}");
    println!(
        "killed holder's host: {after_kill:?} after the kill the other host's session has it, tokens {token} < {next}"
    );
}

#[test]
fn kills_of_a_host_under_load_take_no_grant_back_and_leave_no_lock_behind() {
    let n_kills = scale(3, 12);
    let mut pair = Pair::start();
    let keys = ["app.k0", "app.k1", "app.k2"];
    let grants = Mutex::new(Vec::new());
    for kill in 0..n_kills {
        let (a, b, grants) = (&pair.a, &pair.b, &grants);
        let begun = Barrier::new(5);
        thread::scope(|scope| {
            let killer = scope.spawn(|| {
                begun.wait();
                // Between two steps of whatever is under way.
                thread::sleep(Duration::from_millis(700 + fastrand::u64(..300)));
                a.host.signal(libc::SIGKILL);
            });
            for client in 0..4 {
                let (node, begun) = (if client % 2 == 0 { a } else { b }, &begun);
                scope.spawn(move || {
                    begun.wait();
                    let end = Instant::now() + Duration::from_millis(1500);
                    let mine = take_turns(node, client + 4 * kill, &keys, end);
                    grants.lock().expect("nobody panics here").extend(mine);
                });
            }
            killer.join().expect("it kills");
        });
        pair.a.host.kill();
        pair.a.restart();
    }
    let grants = grants.into_inner().expect("nobody panics here");
    let start = Instant::now();
    for key in keys {
        for node in [&pair.a, &pair.b] {
            let acquire = json!({ "config_key": key, "session": "after", "ttl_ms": 1000, "wait_ms": 1000 });
            let lease = eventually(LIMIT, || node.call("lock.acquire", &acquire).ok());
            let lease = lease.unwrap_or_else(|| panic!("{key} is held for ever"));
            let release = json!({ "config_key": key, "session": "after", "token": lease["token"] });
            node.call("lock.release", &release).expect("it is held");
        }
    }
    println!(
        "{n_kills} kills of a host under load: {} grants, all locks free after {:?}",
        grants.len(),
        start.elapsed()
    );
    assert_eq!((disorder(&grants), repeated(&grants)), (None, None));
    assert!(start.elapsed() < TTL + Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(grants.len() >= 10 * n_kills);
}

/// Takes and gives back one lock after the other, until the end or until the host is gone.
fn take_turns(node: &Node, client: usize, keys: &[&str], end: Instant) -> Vec<Grant> {
    let mut grants = Vec::new();
    while Instant::now() < end {
        let key = keys[fastrand::usize(..keys.len())];
        let session = format!("s{client}-{}", grants.len());
        let acquire = json!({ "config_key": key, "session": session, "user_id": format!("u{client}"),
            "ttl_ms": TTL.as_millis() as u64, "wait_ms": 500 });
        let asked = monotonic_us();
        match node.call("lock.acquire", &acquire) {
            Ok(lease) => {
                let (granted, token) = (monotonic_us(), lease["token"].as_u64().expect("a token"));
                let released = granted;
                grants.push(Grant { client, key: key.to_owned(), asked, granted, released, token });
                let _ = node.call("lock.release", &json!({ "config_key": key, "session": session }));
            }
            Err(code) if code == "locked" || code == "unavailable" => {}
            Err(_) => return grants,
        }
    }
    grants
}

fn answer_to(client: &mut WsClient, id: &str) -> Value {
    eventually(LIMIT, || Some(client.next_message()).filter(|message| message["id"] == id))
        .expect("an answer")
}

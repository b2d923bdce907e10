//! The host is killed while somebody decides: what was answered is decided, and no conflict is lost.

use super::{Clash, listed, shown, start, sync};
use crate::log_acceptance::key;
use lockstep_test_support::{LIMIT, Request, scale};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// Decides one conflict after the other until the host is gone, and counts: what was answered, by id.
fn decide(admin: &str, token: &str, ids: &[String], n_answered: &AtomicUsize) -> Vec<(String, Value)> {
    let mut answered = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let body = json!({ "conflict_id": id, "new_value": { "decided": n }, "user_id": "carol" });
        let request = Request::new("POST", "/v1/operations/conflicts.resolve").bearer(token).json(&body);
        match request.send(admin) {
            Ok(answer) if answer.code == 200 => {
                n_answered.fetch_add(1, Ordering::Relaxed);
                answered.push((id.clone(), answer.json()));
            }
            _ => break,
        }
    }
    answered
}

#[test]
fn a_host_that_is_killed_while_somebody_decides_loses_nothing_that_was_answered() {
    let sync = sync("");
    let n_keys = scale(40, 400);
    let (mut host, mut authors) = start(&sync);
    let ids: Vec<String> =
        (0..n_keys).map(|n| Clash::of(&mut authors, &format!("app.pool.k{n}")).id()).collect();
    let mut answered = Vec::new();
    for round in 0..3 {
        let (admin, token) = (host.admin().to_owned(), sync.token());
        let left: Vec<String> = listed(&sync.site, "");
        let n_answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            let deciding = scope.spawn(|| decide(&admin, &token, &left, &n_answered));
            thread::sleep(Duration::from_millis(40 + 25 * round));
            host.wait_until("an answer", LIMIT, |_| n_answered.load(Ordering::Relaxed) > 0);
            host.kill();
            answered.extend(deciding.join().expect("no panic"));
        });
        host = sync.start();
    }
    for (id, answer) in &answered {
        let record = shown(&sync.site, id);
        assert_eq!(
            (&record["status"], &record["resolution"]["user_id"]),
            (&json!("resolved"), &json!("carol"))
        );
        assert_eq!(record["resolution"]["event_id"], answer["winning_change"], "{record}");
        let entry = key(&host, answer["config_key"].as_str().expect("a key"));
        assert_eq!(
            (&entry["new_value"], &entry["revision"]),
            (&answer["resolved_value"], &answer["resolved_revision"])
        );
    }
    let pending = listed(&sync.site, "");
    let known: BTreeSet<String> =
        pending.iter().cloned().chain(listed(&sync.site, "--status resolved")).collect();
    assert_eq!(known, ids.into_iter().collect(), "each conflict waits or is decided");
    assert!(answered.iter().all(|(id, _)| !pending.contains(id)));
}

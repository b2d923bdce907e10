//! The settings of `sync_settings` that say when and for how long: each has an effect.

use super::{Sync, change, revision};
use lockstep_test_support::{Clock, Host, LIMIT, WsClient, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// What a message is about, for a subscriber: its type, or that of the event in it.
fn is_of(message: &Value, kind: &str) -> bool {
    message["type"] == kind || message["event_type"] == kind
}

fn next_of(client: &mut WsClient, kind: &str) -> Value {
    eventually(LIMIT, || Some(client.next_message()).filter(|message| is_of(message, kind)))
        .unwrap_or_else(|| panic!("no `{kind}`"))
}

#[test]
fn heartbeat_interval_is_how_often_a_host_says_that_it_lives() {
    let sync = Sync::new().env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "100ms");
    let _host = sync.start();
    let mut watcher = sync.client();
    let beats = [(); 3].map(|()| next_of(&mut watcher, "heartbeat"));
    let revisions = beats.each_ref().map(|beat| beat["revision"].as_u64().expect("a notice has a revision"));
    assert!(revisions.is_sorted() && revisions[0] < revisions[2], "{beats:?}");

    // With a day between them, changes have the log for themselves.
    let sync = Sync::new();
    let _host = sync.start();
    let mut author = sync.author();
    let revisions = [1, 2, 3].map(|number| revision(&author.change("app.x", &json!(number))));
    assert_eq!(revisions.map(|revision| revision - revisions[0]), [0, 1, 2]);
}

#[test]
fn conflict_resolution_interval_is_after_how_long_an_open_conflict_is_told_again() {
    let sync = Sync::new().env("LOCKSTEP_SYNC_SETTINGS__CONFLICT_RESOLUTION_INTERVAL", "200ms");
    let _host = sync.start();
    let mut watcher = sync.client();
    let epoch = watcher.welcome()["epoch"].clone();
    let mut author = sync.author();
    let read = revision(&author.change("app.x", &json!(0)));
    let base = json!({ "base": { "epoch": epoch, "revision": read } });
    revision(&change(&mut author, "app.x", &json!(1), &base));
    revision(&change(&mut author, "app.x", &json!(2), &base));
    let first = next_of(&mut watcher, "conflict_detected");
    let again = next_of(&mut watcher, "conflict_detected");
    assert_eq!((&first["config_key"], &again["config_key"]), (&json!("app.x"), &json!("app.x")));
    assert!(first["revision"].as_u64() < again["revision"].as_u64(), "{first} {again}");
}

#[test]
fn cleanup_interval_is_how_soon_history_beyond_the_limit_is_forgotten() {
    // What exceeds the limit by much is forgotten sooner.
    const N_KEPT: usize = 100;
    const N_CHANGES: usize = 105;
    for (interval, is_forgotten) in [("100ms", true), ("24h", false)] {
        let sync = Sync::new()
            .env("LOCKSTEP_STATE__HISTORY__RECORDS", &N_KEPT.to_string())
            .env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", interval);
        let mut host = sync.start();
        changes(&sync, N_CHANGES);
        if is_forgotten {
            host.wait_until("history to be forgotten", LIMIT, |host| history(host).len() <= N_KEPT + 1);
        } else {
            assert_eq!(history(&host).len(), N_CHANGES, "nobody has cleaned up yet");
        }
    }
}

#[test]
fn max_event_age_hours_is_how_long_history_is_kept() {
    let sync = Sync::new()
        .env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", "100ms")
        .env("LOCKSTEP_SYNC_SETTINGS__MAX_EVENT_AGE_HOURS", "5");
    let Sync { site, port } = sync;
    let (site, clock) = Clock::new(site);
    let sync = Sync { site, port };
    let mut host = sync.start();
    changes(&sync, 10);
    clock.ahead(3 * HOUR);
    let young = changes(&sync, 10);
    clock.ahead(6 * HOUR);
    // The one before the first young one may stay: it says what that one replaced.
    host.wait_until("what is six hours old to be forgotten", LIMIT, |host| history(host).len() <= 11);
    let kept = history(&host);
    assert!(
        young.iter().all(|revision| kept.contains(revision)),
        "what is three hours old is there: {kept:?}"
    );
    assert_eq!(super::key(&host, "app.x")["new_value"], 9, "values are state, not history");
}

/// Changes one key so often, and gives the revisions.
fn changes(sync: &Sync, n: usize) -> Vec<u64> {
    let mut author = sync.author();
    (0..n).map(|number| revision(&author.change("app.x", &json!(number)))).collect()
}

/// The revisions that are kept of that key.
fn history(host: &Host) -> Vec<u64> {
    let answer = host.get("/v1/keys/app.x/history?limit=1000");
    assert_eq!(answer.code, 200, "{answer:?}");
    let changes = answer.json()["changes"].as_array().expect("a list").clone();
    changes.iter().filter_map(|change| change["revision"].as_u64()).collect()
}

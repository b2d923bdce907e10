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
    for (interval, is_forgotten) in [("100ms", true), ("24h", false)] {
        let sync = Sync::new()
            .env("LOCKSTEP_STATE__HISTORY__RECORDS", "20")
            .env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", interval);
        let mut host = sync.start();
        let mut author = sync.author();
        let first = revision(&author.change("app.x", &json!(0)));
        for number in 1..200 {
            revision(&author.change("app.x", &json!(number)));
        }
        if is_forgotten {
            host.wait_until("history to be forgotten", LIMIT, |_| sync.n_after(first).is_none());
        } else {
            assert_eq!(sync.n_after(first), Some(199), "nobody has cleaned up yet");
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
    let old = ten_changes(&sync);
    clock.ahead(3 * HOUR);
    let young = ten_changes(&sync);
    clock.ahead(6 * HOUR);
    host.wait_until("what is six hours old to be forgotten", LIMIT, |_| sync.n_after(old).is_none());
    assert_eq!(sync.n_after(young), Some(9), "what is three hours old is there");
    value_is_kept(&host);
}

/// The revision of the first of ten changes of one key.
fn ten_changes(sync: &Sync) -> u64 {
    let mut author = sync.author();
    let revisions: Vec<u64> =
        (0..10).map(|number| revision(&author.change("app.x", &json!(number)))).collect();
    revisions[0]
}

/// Values are state, not history.
fn value_is_kept(host: &Host) {
    assert_eq!(super::key(host, "app.x")["new_value"], 9);
}

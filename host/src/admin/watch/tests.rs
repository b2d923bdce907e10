//! What a watcher is given, page by page, from a log that is compacted and runs away from it.

use super::follow::{MAX_LAG, Watcher};
use super::{Asked, Since};
use crate::config::HostSettings;
use crate::log::{Log, LogOptions, Retention};
use crate::store::{Commit, Store, StoreOptions};
use lockstep_plugin_api::{Change, Json, Record};
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

/// A log that keeps so many entries as history, and so much of it in memory.
fn log_with(records: u64, ring_bytes: usize) -> (TempDir, Log) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), StoreOptions::default()).expect("a store");
    let options = LogOptions::new(&HostSettings::default());
    let retention = Retention { records, ..options.retention };
    (folder, Log::open(store, LogOptions { retention, ring_bytes, ..options }).expect("a log"))
}

fn log(records: u64) -> (TempDir, Log) {
    log_with(records, 4 << 20)
}

fn change(key: &str, value: u64) -> Record {
    Record::from_change(Change::new(key, Json::write(&value).expect("a number")))
}

fn deletion(key: &str) -> Record {
    let mut change = Change::new(key, Json::null());
    change.set_event_type("config_deleted");
    Record::from_change(change)
}

fn notice(key: &str) -> Record {
    let mut change = Change::new(key, Json::null());
    change.set_event_type("config_locked");
    Record::notice(change)
}

fn commit(log: &Log, entries: Vec<Record>) {
    log.commit(Commit::default(), entries).expect("committed");
}

fn asked(query: &str) -> Asked {
    let parts = query.split('&').filter_map(|part| part.split_once('='));
    Asked::read(parts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()).expect("a query")
}

/// Everything up to the end of the log, in short: the type, the key and the revision of each line.
fn read(watcher: &mut Watcher) -> Vec<String> {
    let mut shown = Vec::new();
    loop {
        let page = watcher.next_page().expect("readable");
        if page.is_empty() && watcher.is_at_end() {
            return shown;
        }
        for line in page.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let mut parts = vec![line["type"].as_str().expect("a type").replace("config_sync", "")];
            parts.extend(
                ["reason", "config_key"].map(|name| line[name].as_str().unwrap_or_default().to_owned()),
            );
            parts.push(line["revision"].to_string());
            parts.retain(|part| !part.is_empty());
            shown.push(parts.join(" "));
        }
    }
}

fn check(log: &Log, query: &str, expected: &[&str]) -> Watcher {
    let mut watcher = Watcher::new(log.clone(), asked(query));
    assert_eq!(read(&mut watcher), expected, "{query}");
    watcher
}

#[test]
fn a_watch_begins_at_the_end_after_a_revision_or_with_what_is_current() {
    let (_folder, log) = log(1000);
    commit(&log, vec![change("a", 1), change("b", 1), change("a", 2), deletion("b"), notice("a")]);
    check(&log, "", &["watching 5"]);
    check(&log, "since=2", &["watching 2", "a 3", "b 4", "config_locked a 5"]);
    check(&log, &format!("since={}:4", log.epoch()), &["watching 4", "config_locked a 5"]);
    check(&log, "snapshot=true", &["watching 0", "a 3", "bookmark 5"]);
    check(&log, "since=2&pattern=b", &["watching 2", "b 4"]);
    check(&log, "since=2&tenant=t1", &["watching 2"]);
}

#[test]
fn what_is_committed_later_follows_once() {
    let (_folder, log) = log(1000);
    let mut watcher = check(&log, "snapshot=true", &["watching 0", "bookmark 0"]);
    commit(&log, vec![change("a", 1), change("b", 1)]);
    assert_eq!(read(&mut watcher), ["a 1", "b 2"]);
    assert!(read(&mut watcher).is_empty());
    assert!(watcher.bookmark().contains("\"revision\":2"));
}

#[test]
fn a_place_in_another_log_gets_what_is_current() {
    let (_folder, log) = log(1000);
    commit(&log, vec![change("a", 1), change("a", 2)]);
    let expected = ["watching 0", "resync epoch_changed 0", "a 2", "bookmark 2"];
    check(&log, "since=00000000-0000-4000-8000-000000000000:1", &expected);
    check(&log, "since=9", &expected);
}

#[test]
fn a_place_that_history_does_not_reach_is_told_and_gets_the_newest_of_each_key() {
    let (_folder, log) = log_with(2, 0);
    commit(
        &log,
        vec![change("a", 1), change("b", 1), change("a", 2), deletion("b"), change("a", 3), change("c", 1)],
    );
    log.compact().expect("compacted");
    assert_eq!(log.compacted(), 2, "the first two were replaced by what is no history any more");
    check(&log, "since=1", &["watching 1", "resync compacted 1", "a 3", "b 4", "a 5", "c 6"]);
    check(&log, "since=2", &["watching 2", "a 3", "b 4", "a 5", "c 6"]);
}

#[test]
fn a_watcher_that_was_live_and_falls_behind_gets_the_newest_of_each_key() {
    let (_folder, log) = log(1_000_000);
    commit(&log, vec![change("gone", 1), change("kept", 1)]);
    let mut live = check(&log, "", &["watching 2"]);
    let mut late =
        Watcher::new(log.clone(), Asked { since: Some(Since { epoch: None, revision: 2 }), ..asked("") });
    commit(&log, vec![deletion("gone")]);
    commit(&log, (0..=MAX_LAG).map(|n| change("busy", n)).collect());
    let head = log.head();
    let expected =
        ["resync slow 2".to_owned(), "gone 3".to_owned(), format!("busy {head}"), format!("bookmark {head}")];
    assert_eq!(read(&mut live), expected);
    assert_eq!(read(&mut late).len() as u64, 1 + 1 + MAX_LAG + 1, "who asked for history gets all of it");
    commit(&log, vec![change("a", 1)]);
    assert_eq!(read(&mut live), [format!("a {}", head + 1)]);
    assert!(!log.wait(head + 1, Duration::ZERO));
}

#[test]
fn a_key_that_is_deleted_while_the_snapshot_is_read_is_not_left_standing() {
    let (_folder, log) = log(1_000_000);
    let keys = (0..600).map(|n| change(&format!("k.{n}"), n));
    commit(&log, keys.chain([deletion("k.599")]).collect());
    let mut watcher = Watcher::new(log.clone(), asked("snapshot=true"));
    let first = watcher.next_page().expect("readable");
    assert!(first.contains("\"k.0\"") && !first.contains("\"k.598\""), "the first page of two");
    commit(&log, vec![deletion("k.0"), deletion("k.598")]);
    let shown = read(&mut watcher);
    assert!(shown.contains(&"k.0 602".to_owned()), "the deletion of what was shown: {shown:?}");
    assert!(!shown.contains(&"k.599 601".to_owned()), "what was gone before is not shown: {shown:?}");
}

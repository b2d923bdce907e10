//! What the log promises, seen through its own calls.

mod compaction;
mod model;
mod reading;

use std::cell::Cell;
use std::path::Path;

use lockstep_plugin_api::{Batch, Change, Json};

use super::*;
use crate::store::StoreOptions;

const HOUR_US: i64 = 3_600_000_000;

thread_local! {
    /// The clock of a test, as its own thread sees it.
    static NOW_US: Cell<i64> = const { Cell::new(1_700_000_000_000_000) };
}

fn open(dir: &Path) -> Log {
    open_with(dir, |_| {})
}

fn open_with(dir: &Path, change: impl FnOnce(&mut LogOptions)) -> Log {
    let mut options = LogOptions::new(&HostSettings::default());
    options.now_us = || NOW_US.get();
    change(&mut options);
    Log::open(Store::open(dir, StoreOptions::default()).expect("the store opens"), options)
        .expect("the log opens")
}

fn change(key: &str, value: impl ToString) -> Record {
    Record::from_change(Change::new(key, Json::parse(&value.to_string()).expect("JSON")))
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

fn append(log: &Log, entries: Vec<Record>) -> u64 {
    log.commit(Commit::default(), entries).expect("committed")
}

/// `key=value@revision`, with what is not a change marked.
fn show(record: &Record) -> String {
    let change = record.known_change().expect("records of the log are typed");
    let (key, revision) = (change.config_key(), change.revision().expect("a revision"));
    match () {
        () if record.is_notice() => format!("({key})@{revision}"),
        () if change.is_deletion() => format!("-{key}@{revision}"),
        () => format!("{key}={}@{revision}", change.new_value().as_str()),
    }
}

fn shown(records: &[Record]) -> Vec<String> {
    records.iter().map(show).collect()
}

/// Reads to the end, and gives what was read and the first gap.
fn read_all(log: &Log, after: u64) -> (Vec<Record>, Option<Gap>) {
    let (mut after, mut records, mut gap) = (after, Vec::new(), None);
    while after < log.head() {
        let page = log.read(after, 7, 1 << 20).expect("read");
        assert!(page.through > after, "a page covers something");
        gap = gap.or(page.gap);
        records.extend(page.batch.iter().cloned());
        after = page.through;
    }
    (records, gap)
}

#[test]
fn a_record_is_read_as_it_was_committed_with_its_place_in_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let mut record = Record::new(
        r#"{"config_key":"app.x","new_value":{"a":[1]},"tenant_id":"t1","revision":9,"epoch":"other","colour":"red"}"#,
    );
    record.set_key(Some("its own".into()));
    record.set_timestamp_us(77);
    record.set_header("region", "eu");
    record.set_header("lockstep.session", "secret");
    assert_eq!(append(&log, vec![record, change("app.y", 1)]), 1);
    let from_memory = log.read(0, 10, 1 << 20).expect("read").batch;
    drop(log);
    let log = open(dir.path());
    let from_disk = log.read(0, 10, 1 << 20).expect("read").batch;
    for batch in [from_memory, from_disk] {
        let record = &batch[0];
        assert_eq!(record.key_str(), Some("its own"));
        assert_eq!(record.timestamp_us(), 77);
        let headers: Vec<_> = record.headers().map(|(name, value)| (name, value.to_vec())).collect();
        assert_eq!(headers, [("region", b"eu".to_vec())], "the host's own headers end here");
        let json: serde_json::Value = record.json().expect("JSON");
        let expected = serde_json::json!({
            "epoch": log.epoch(), "revision": 1, "event_type": "config_updated",
            "config_key": "app.x", "new_value": {"a": [1]}, "tenant_id": "t1",
        });
        assert_eq!(json, expected);
        let change = record.known_change().expect("typed");
        assert_eq!((change.epoch(), change.revision()), (Some(log.epoch()), Some(1)));
        assert_eq!((batch[1].key_str(), show(&batch[1])), (Some("app.y"), "app.y=1@2".to_owned()));
    }
}

#[test]
fn what_is_no_change_is_refused_and_takes_no_revision() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let mut far = Change::new("app.x", Json::null());
    far.set_timestamp_us(Some(i64::MAX));
    for record in [Record::new("hunter2"), Record::new("[]"), Record::from_change(far)] {
        let refused = log.commit(Commit::default(), vec![change("app.y", 1), record]).expect_err("no change");
        assert!(matches!(refused, StoreError::NotAnEntry { .. }), "{refused}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
    assert_eq!(append(&log, vec![change("app.y", 1)]), 1);
    assert_eq!(append(&log, vec![]), 0, "no entry, no revision");
}

#[test]
fn entries_can_be_read_when_their_commit_is_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let (answer, answers) = mpsc::sync_channel(100);
    for i in 0..100 {
        let (reader, answer) = (log.clone(), answer.clone());
        log.submit(Commit::default(), vec![change("app.x", i)], move |result| {
            let revision = result.expect("committed");
            let seen = shown(&reader.read(revision - 1, 1, 1 << 20).expect("read").batch);
            answer.send((revision, reader.head(), seen)).expect("the test waits");
        });
    }
    for i in 0..100 {
        let expected = (i + 1, i + 1, vec![format!("app.x={i}@{}", i + 1)]);
        assert_eq!(answers.recv().expect("an answer"), expected);
    }
}

#[test]
fn a_waiting_reader_is_woken_by_the_next_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    assert!(!log.wait(0, Duration::from_millis(1)), "there is nothing");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| log.wait(0, Duration::from_secs(60)));
        append(&log, vec![change("app.x", 1)]);
        assert!(reader.join().expect("no panic"));
    });
    assert!(log.wait(0, Duration::ZERO));
    assert!(!log.wait(1, Duration::ZERO));
}

#[test]
fn cursors_are_there_after_reopening_until_they_are_forgotten() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    assert_eq!((log.cursors().load("p", "file"), log.cursors().slowest()), (None, None));
    log.cursors().save("p", "file", 7);
    log.cursors().save("p", "ws", 5);
    log.cursors().save("p", "file", 9);
    append(&log, vec![change("app.x", 1)]);
    drop(log);
    let log = open(dir.path());
    assert_eq!((log.cursors().load("p", "file"), log.cursors().slowest()), (Some(9), Some(5)));
    log.cursors().forget("p", "ws").expect("forgotten");
    let file = Cursor { pipeline: "p".to_owned(), sink: "file".to_owned(), revision: 9 };
    assert_eq!((log.cursors().list(), log.cursors().slowest()), (vec![file], Some(9)));
}

#[test]
fn the_log_may_be_let_go_by_its_last_answer() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let (answer, answered) = mpsc::sync_channel(1);
    let (go, hold) = mpsc::sync_channel::<()>(1);
    let last = log.clone();
    log.submit(Commit::default(), vec![change("app.x", 1)], move |result| {
        hold.recv().expect("the test goes on");
        drop(last);
        answer.send(result).expect("the test waits");
    });
    drop(log);
    go.send(()).expect("it holds");
    assert_eq!(answered.recv().expect("an answer").expect("committed"), 1);
}

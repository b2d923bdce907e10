//! Subscribers that read slowly, with a log behind them.

use super::support::{Client, LogPipeline, SOON};
use lockstep_plugin_api::prelude::*;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Instant};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// More than the sockets' own buffers take, in entries of 32 KiB.
const MANY: usize = 400;

fn large(key: &str, n: usize) -> Record {
    let value = json!({"n": n, "fill": "x".repeat(32 * 1024)});
    Record::from_change(Change::new(key.to_owned(), Json::parse(&value.to_string()).expect("JSON")))
}

/// Reads up to this entry, and gives every message.
fn read_through(client: &mut Client, revision: u64) -> Vec<Value> {
    let mut messages = Vec::new();
    while messages.last().is_none_or(|last: &Value| last["revision"].as_u64().unwrap_or(0) < revision) {
        messages.push(client.receive());
    }
    messages
}

#[test]
fn a_slow_reader_of_few_keys_gets_the_last_of_each_and_is_told_what_it_stands_for() {
    let pipeline = LogPipeline::start(json!({"max_queue_bytes": "512KiB"}));
    let mut slow = pipeline.client();
    let mut last = 0;
    for n in 0..MANY {
        last = pipeline.commit_record(large(if n % 2 == 0 { "app.a" } else { "app.b" }, n));
    }
    let messages = read_through(&mut slow, last);
    assert!(messages.iter().all(|message| message["type"] == "config_sync"), "no resync");
    let mut seen: HashMap<&str, u64> = HashMap::new();
    let mut previous = 0;
    for message in &messages {
        let (key, revision) = (message["config_key"].as_str().expect("a key"), message["revision"].as_u64());
        let revision = revision.expect("a revision");
        assert!(revision > previous, "in the order of the log");
        previous = revision;
        let expected = seen.insert(key, revision).map_or(revision, |last| last + 2);
        let from = message["from_revision"].as_u64().unwrap_or(revision);
        assert!(from <= expected.max(1), "from {from}, where {expected} was next");
    }
    assert!(messages.len() < MANY && pipeline.host.counter("changes_conflated") > 0, "{}", messages.len());
    assert_eq!(pipeline.host.counter("resyncs"), 0);
}

#[test]
fn a_slow_reader_of_many_keys_is_told_and_gets_the_state_and_everything_after() {
    let pipeline = LogPipeline::start(json!({"max_queue_bytes": "512KiB"}));
    let mut slow = pipeline.client();
    let mut last = 0;
    for n in 0..MANY {
        last = pipeline.commit_record(large(&format!("app.{}", n % 300), n));
    }
    let messages = read_through(&mut slow, last);
    let at = messages.iter().position(|message| message["type"] == "resync").expect("a resync");
    assert_eq!(messages[at]["reason"], "slow");
    let through = messages[at]["revision"].as_u64().expect("a revision");
    let mut newest: HashMap<String, u64> = HashMap::new();
    for revision in 1..=last {
        newest.insert(format!("app.{}", (revision - 1) % 300), revision);
    }
    let after = &messages[at + 1..];
    let revisions: Vec<u64> = after.iter().filter_map(|message| message["revision"].as_u64()).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "in the order of the log");
    for message in after.iter().filter(|message| message["type"] == "config_sync") {
        newest.remove(message["config_key"].as_str().expect("a key"));
    }
    assert!(newest.is_empty(), "the state is whole: {newest:?}");
    assert!(
        revisions
            .iter()
            .filter(|revision| **revision > through)
            .eq(&(through + 1..=last).collect::<Vec<_>>())
    );
}

/// What a client is told that took nothing for so long, and reads again when it is closed for that.
fn told_to_who_takes_nothing(timeout_ms: u64) -> Option<CloseCode> {
    let timeout = format!("{timeout_ms}ms");
    let pipeline = LogPipeline::start(json!({"max_queue_bytes": "128KiB", "ping_timeout": timeout}));
    let (mut stalled, mut healthy) = (pipeline.client(), pipeline.client());
    let start = Instant::now();
    let mut n = 0;
    while pipeline.host.counter("slow_closed") == 0 {
        let revision = pipeline.commit_record(large(&format!("app.{n}"), n));
        assert_eq!(healthy.receive()["revision"], revision);
        n += 1;
        assert!(start.elapsed() < SOON, "it is closed in time");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(pipeline.host.counter("resyncs") >= 1, "it was given a chance before");
    stalled.closed()
}

#[test]
fn who_takes_nothing_is_closed_with_1013_and_holds_up_nobody() {
    // It has as long again to read why: one that the machine keeps from that is not told.
    let is_told = |timeout_ms| told_to_who_takes_nothing(timeout_ms) == Some(CloseCode::Again);
    assert!([500, 10_000].into_iter().any(is_told));
}

#[test]
fn a_client_that_reads_history_slowly_costs_a_page_and_misses_nothing() {
    let pipeline = LogPipeline::start(json!({"max_queue_bytes": "128KiB"}));
    let mut last = 0;
    for n in 0..MANY {
        last = pipeline.commit_record(large(&format!("app.{n}"), n));
    }
    let mut client = pipeline.client();
    client.send(&json!({"type": "subscribe", "patterns": ["*"], "since": {"revision": 0}, "id": 1}));
    client.receive_type("subscribed");
    let revisions: Vec<u64> = client
        .messages_before("bookmark")
        .iter()
        .map(|message| {
            std::thread::sleep(std::time::Duration::from_micros(200));
            message["revision"].as_u64().expect("a revision")
        })
        .collect();
    assert_eq!(revisions, (1..=last).collect::<Vec<_>>());
    assert_eq!(pipeline.host.counter("resyncs"), 0);
}

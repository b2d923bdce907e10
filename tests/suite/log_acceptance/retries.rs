//! The settings of `sync_settings` that are defaults of pipelines: each has an effect.

use super::{Added, Sync, revision};
use lockstep_test_support::{LIMIT, Probe, Site};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn batch_size_is_the_most_records_of_a_batch() {
    let largest = |batch_size: &str| {
        let site = Site::new().env("LOCKSTEP_SYNC_SETTINGS__BATCH_SIZE", batch_size).pipeline(
            "flow",
            "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 1000 } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out, values: true } } ]
",
        );
        let sink = Probe::new(&site, "out");
        let mut host = site.start();
        host.wait_until("every record", LIMIT, |_| sink.written().len() == 1_000);
        sink.batches().into_iter().max().expect("there were batches")
    };
    assert_eq!(largest("7"), 7);
    assert!(largest("50") > 7, "larger batches, if they are allowed");
}

/// How often a change that always fails was tried, and how long it took until it was given up.
fn give_up(attempts: &str, backoff: &str) -> (usize, Duration) {
    let sync = Sync::with(Added {
        sinks: "  - { name: archive, plugin: probe, config: { dir: SITE/archive } }",
        ..Added::default()
    });
    let sync = sync
        .env("LOCKSTEP_SYNC_SETTINGS__RETRY_ATTEMPTS", attempts)
        .env("LOCKSTEP_SYNC_SETTINGS__RETRY_BACKOFF", backoff);
    let archive = Probe::new(&sync.site, "archive");
    archive.fail(&["app.bad"]);
    let mut host = sync.start();
    let mut author = sync.author();
    let start = Instant::now();
    revision(&author.change("app.bad", &json!(1)));
    revision(&author.change("app.good", &json!(2)));
    host.wait_until("what comes behind it", LIMIT, |_| archive.written() == ["app.good"]);
    let n_tries = archive.offered().iter().filter(|key| *key == "app.bad").count();
    (n_tries, start.elapsed())
}

#[test]
fn retry_attempts_is_how_often_a_failed_record_is_tried_again() {
    assert_eq!(give_up("0", "1ms").0, 1);
    assert_eq!(give_up("4", "1ms").0, 5);
}

#[test]
fn retry_backoff_is_how_long_the_first_retry_waits_and_each_further_one_twice_as_long() {
    // 400 and 800 ms, each perhaps shortened by half so that not everybody comes back at once.
    let (n_tries, elapsed) = give_up("2", "400ms");
    assert_eq!(n_tries, 3);
    assert!(elapsed >= Duration::from_millis(600), "{elapsed:?}");
}

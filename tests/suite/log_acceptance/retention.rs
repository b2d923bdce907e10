//! A sink is away for longer than history is kept: it is told, and ends up with what is current.

use super::{Added, Sync, revision};
use lockstep_test_support::{Authors, LIMIT, Load, Numbers, Probe, last_revision, written_history};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const LOAD: Load = Load { n_connections: 4, in_flight: 64, per_second: None, n_keys: 20, bytes: 4_000 };

#[test]
fn a_sink_that_was_away_past_retention_is_told_of_the_gap_and_ends_with_the_final_state_of_every_key() {
    let sync = Sync::with(Added {
        sinks: "  - { name: archive, plugin: probe, config: { dir: SITE/archive, values: true } }",
        ..Added::default()
    });
    let sync = sync
        .env("LOCKSTEP_STATE__HISTORY__RECORDS", "100")
        .env("LOCKSTEP_STATE__MAX_BYTES", "1MiB")
        .env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", "200ms");
    let archive = Probe::new(&sync.site, "archive");
    let mut host = sync.start();
    let numbers = Numbers::default();
    let first = revision(&sync.author().change("app.first", &json!({ "n": numbers.take() })));
    host.wait_until("the first change at the sink", LIMIT, |_| !archive.written().is_empty());
    archive.down();

    let authors = Authors::start(sync.port, LOAD, &numbers);
    host.wait_until("4 MB per megabyte kept", 4 * LIMIT, |_| authors.n_answered() >= 2_000);
    authors.finish();
    let end = revision(&sync.author().change("app.end", &json!({ "n": numbers.take() })));
    host.wait_until("history to be forgotten past the sink", LIMIT, |_| sync.n_after(first).is_none());
    let n_before = archive.values().len();
    archive.up();
    host.wait_until("the last change at the sink", LIMIT, |_| {
        archive.written().last().is_some_and(|key| key == "app.end")
    });
    host.wait_until("the file sink", LIMIT, |_| last_revision(&sync.output()) >= Some(end));

    let after = archive.values().split_off(n_before);
    assert!(after.len() < 1_500, "history was left out: {} of 2000 changes came", after.len());
    let state: BTreeMap<String, u64> = archive.values().iter().map(final_number).collect();
    let expected = written_history(&sync.output()).current(u64::MAX);
    let expected: BTreeMap<String, u64> =
        expected.into_iter().map(|(key, change)| (key, change.number)).collect();
    assert_eq!(state, expected);
    let revisions: Vec<u64> = after.iter().filter_map(|value| value["revision"].as_u64()).collect();
    assert!(revisions.is_sorted(), "in the order of the log");
    assert!(gap_is_reported(&host.log()), "no line of the log tells of the gap\n{}", host.log());
}

fn final_number(change: &Value) -> (String, u64) {
    let key = change["config_key"].as_str().expect("a change has a key");
    (key.to_owned(), change["new_value"]["n"].as_u64().expect("a number"))
}

fn gap_is_reported(log: &str) -> bool {
    let warnings = log.lines().filter(|line| line.contains("\"WARN\""));
    warnings
        .into_iter()
        .any(|line| line.contains("archive") && (line.contains("gap") || line.contains("compacted")))
}

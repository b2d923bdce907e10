//! Pipelines through the log: committed once, in one order, and delivered to every sink whatever happens to either.

use lockstep_test_support::{Host, LIMIT, Ledger, Probe, Site, append, eventually, lines, scale};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};

/// A pipeline from the probe's numbered changes through the ledger to these sinks.
fn through_ledger(count: usize, more: &str, sinks: &str) -> String {
    format!(
        "
sources: [ {{ plugin: probe, config: {{ dir: SITE/in, count: {count}{more} }} }} ]
transforms: [ {{ plugin: ledger, config: {{ dir: SITE/ledger }} }} ]
sinks:
{sinks}
"
    )
}

/// A pipeline whose changes come from a file, one per line.
fn from_file(sinks: &str) -> String {
    format!(
        "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms: [ {{ plugin: ledger, config: {{ dir: SITE/ledger }} }} ]
sinks:
{sinks}
"
    )
}

const FILE: &str = "  - { plugin: file, config: { path: SITE/out.ndjson } }";

fn change(key: &str) -> String {
    format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":1}}"#)
}

fn entries(file: &Path) -> Vec<Value> {
    lines(file).iter().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// The same of a file whose writer was killed: it may have left half a line each time, which stands for nothing.
fn whole_entries(file: &Path, n_kills: usize) -> Vec<Value> {
    let read: Vec<_> = lines(file).iter().map(|line| serde_json::from_str(line)).collect();
    let n_torn = read.iter().filter(|entry| entry.is_err()).count();
    assert!(n_torn <= n_kills, "{n_torn} of {} lines are no JSON", read.len());
    read.into_iter().flatten().collect()
}

fn revisions(entries: &[Value]) -> Vec<u64> {
    entries.iter().map(|entry| entry["revision"].as_u64().expect("a revision")).collect()
}

fn n_lines(file: &Path) -> usize {
    fs::read(file).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

fn delivery(host: &Host, pipeline: &str, sink: &str) -> Value {
    host.status().component(pipeline, "sinks", sink)["delivery"].clone()
}

#[test]
fn every_change_gets_the_next_revision_and_reaches_every_sink() {
    let sinks = format!(
        "{FILE}
  - {{ name: tens, plugin: probe, when: 'change.config_key.endsWith(\"0\")', config: {{ dir: SITE/tens }} }}
  - name: rest
    plugin: probe
    when: otherwise
    transforms: [ {{ plugin: rename_key, config: {{ from: app.probe., to: rest. }} }} ]
    config: {{ dir: SITE/rest }}"
    );
    let site = Site::new().pipeline("flow", &through_ledger(100, "", &sinks));
    let mut host = site.start();
    let output = site.path("out.ndjson");
    let [tens, rest] = ["tens", "rest"].map(|name| Probe::new(&site, name));
    host.wait_until("every change at its sinks", LIMIT, |_| {
        n_lines(&output) == 100 && tens.written().len() == 10 && rest.written().len() == 90
    });
    let entries = entries(&output);
    assert_eq!(revisions(&entries), (1..=100).collect::<Vec<_>>(), "no gap, no repeat, in order");
    let epochs: std::collections::HashSet<_> =
        entries.iter().map(|entry| entry["epoch"].to_string()).collect();
    assert_eq!(epochs.len(), 1, "one log");
    assert_eq!(entries[41]["config_key"], "app.probe.42");
    assert_eq!(entries[41]["metadata"]["count"], 1);
    assert!(rest.written().iter().all(|key| key.starts_with("rest.")), "through the sink's own chain");
    host.wait_until("nothing behind", LIMIT, |host| {
        let shown = delivery(host, "flow", "file");
        shown["revision"] == 100 && shown["lag"] == 0
    });
    assert_eq!(host.metrics().sum("lockstep_log_head", &[]), 100.0);
    host.stop();
}

#[test]
fn a_batch_is_applied_again_when_somebody_else_wrote_what_it_had_read() {
    let site = Site::new().pipeline("flow", &from_file(FILE));
    let order = |name: &str, text: &str| drop(site.write(format!("ledger/{name}"), text));
    order("hold", "");
    append(&site.path("in.ndjson"), [change("app.contended"), change("app.noticed")]);
    let mut host = site.start();
    host.wait_until("the batch to be held", LIMIT, |_| site.path("ledger/held").exists());
    order("bump", "app.contended");
    let bumped = site.path("ledger/bumped");
    host.wait_until("the other writer", LIMIT, |_| bumped.exists());
    assert!(
        fs::read_to_string(&bumped).expect("an answer").contains("Done { revision: 1 }"),
        "a notice of its own"
    );
    fs::remove_file(site.path("ledger/hold")).expect("the order is there");
    let output = site.path("out.ndjson");
    host.wait_until("both changes", LIMIT, |_| n_lines(&output) == 2);
    let entries = entries(&output);
    assert_eq!(entries[0]["metadata"]["count"], 101, "counted on from what the other writer left");
    assert_eq!(entries[1]["metadata"]["count"], 1);
    assert_eq!(revisions(&entries), [2, 3], "the other writer's notice is 1, the batch's own is 4");
    assert_eq!(host.metrics().sum("lockstep_batches_reapplied_total", &[]), 1.0);
    host.wait_until("the notices passed", LIMIT, |host| delivery(host, "flow", "file")["revision"] == 4);
    host.stop();
}

#[test]
fn a_record_that_is_tried_again_where_it_commits_comes_after_those_that_went_ahead_of_it() {
    let yaml = from_file(FILE).replace(
        "plugin: ledger,",
        "plugin: ledger, on_error: { retry: { attempts: 3, backoff: 10ms, max: 10ms } },",
    );
    let site = Site::new().pipeline("flow", &yaml);
    site.write("ledger/flaky", "");
    append(&site.path("in.ndjson"), ["app.flaky", "app.flaky", "app.other", "app.flaky"].map(change));
    let mut host = site.start();
    let output = site.path("out.ndjson");
    host.wait_until("every change", LIMIT, |_| n_lines(&output) == 4);
    let entries = entries(&output);
    let of_key = entries.iter().filter(|entry| entry["config_key"] == "app.flaky");
    let counts: Vec<_> = of_key.map(|entry| entry["metadata"]["count"].as_u64()).collect();
    assert_eq!(counts, [Some(1), Some(2), Some(3)], "the log has the order in which the state was made");
    assert_eq!(revisions(&entries), [1, 2, 3, 4]);
    host.stop();
}

#[test]
fn a_sink_that_is_away_holds_nothing_else_and_gets_everything_later() {
    let sinks = format!("{FILE}\n  - {{ name: late, plugin: probe, config: {{ dir: SITE/late }} }}");
    let site = Site::new().pipeline("flow", &through_ledger(500, "", &sinks));
    let late = Probe::new(&site, "late");
    late.down();
    let mut host = site.start();
    let output = site.path("out.ndjson");
    host.wait_until("every change at the other sink", LIMIT, |_| n_lines(&output) == 500);
    host.wait_until("the lag to be seen", LIMIT, |host| delivery(host, "flow", "late")["lag"] == 500);
    assert_eq!(host.status().component("flow", "sinks", "late")["state"], "not_connected");
    assert!(host.metrics().sum("lockstep_sink_lag", &[("component", "late")]) == 500.0);
    late.up();
    host.wait_until("everything at the late sink", LIMIT, |_| late.written().len() == 500);
    assert_eq!(late.written(), Probe::keys(500), "in order");
    late.down();
    host.stop();
}

#[test]
fn a_restart_goes_on_at_the_cursor_and_a_drain_waits_for_no_sink_that_is_away() {
    let sinks = format!("{FILE}\n  - {{ name: late, plugin: probe, config: {{ dir: SITE/late }} }}");
    let site = Site::new().pipeline("flow", &from_file(&sinks));
    let (late, output) = (Probe::new(&site, "late"), site.path("out.ndjson"));
    let keys: Vec<String> = (1..=60).map(|number| format!("app.{number}")).collect();
    for (round, part) in keys.chunks(20).enumerate() {
        append(&site.path("in.ndjson"), part.iter().map(|key| change(key)));
        if round == 1 {
            late.down();
        } else {
            late.up();
        }
        let mut host = site.start();
        host.wait_until("this round's changes", LIMIT, |_| n_lines(&output) == (round + 1) * 20);
        if round != 1 {
            host.wait_until("the other sink", LIMIT, |_| late.written().len() == (round + 1) * 20);
        }
        host.stop();
    }
    assert_eq!(revisions(&entries(&output)), (1..=60).collect::<Vec<_>>(), "each once");
    assert_eq!(late.written(), keys, "each once, what came while it was away included");
}

#[test]
fn kills_lose_nothing_and_repeat_nothing_in_the_log() {
    let (n_kills, n_changes) = scale((6, 3_000), (30, 20_000));
    let site =
        Site::new().pipeline("flow", &through_ledger(n_changes, &format!(", rate: {}", n_changes / 4), FILE));
    let output = site.path("out.ndjson");
    for round in 1..n_kills {
        let mut host = site.start();
        let goal = round * n_changes / n_kills;
        host.wait_until("a part", LIMIT, |_| n_lines(&output) >= goal);
        host.kill();
    }
    let mut host = site.start();
    let last =
        |output: &Path| lines(output).last().map(|line| line.contains(&format!("app.probe.{n_changes}\"")));
    host.wait_until("the last change", LIMIT, |_| last(&output) == Some(true));
    host.stop();
    let entries = whole_entries(&output, n_kills);
    let key = |entry: &Value| entry["config_key"].as_str().expect("a key").to_owned();
    let offered: Vec<String> = (1..=n_changes).map(|number| format!("app.probe.{number}")).collect();
    let ledger = Ledger::new(&offered, &entries.iter().map(key).collect::<Vec<_>>());
    ledger.assert_at_least_once_in_order();
    // The position is in the commit of the entry: nothing is read again that was committed.
    for entry in &entries {
        let number: u64 = key(entry)["app.probe.".len()..].parse().expect("a number");
        assert_eq!(entry["revision"], number, "the log has each change once: {entry}");
        assert_eq!(entry["metadata"]["count"], 1, "and its state as well: {entry}");
    }
}

#[test]
fn what_fails_or_is_dropped_takes_its_position_along_and_nothing_else() {
    let site = Site::new().pipeline("flow", &from_file(FILE));
    let output = site.path("out.ndjson");
    let keys = ["app.a", "app.refused", "app.dropped", "app.b"];
    append(&site.path("in.ndjson"), keys.map(change));
    append(&site.path("in.ndjson"), ["not json".to_owned()]);
    append(&site.path("in.ndjson"), [change("app.c")]);
    let mut host = site.start();
    host.wait_until("the good changes", LIMIT, |_| n_lines(&output) == 3);
    let listed = || site.run(["dlq", "list", "--json"]).json();
    let refused =
        eventually(LIMIT, || Some(listed().to_string()).filter(|text| text.contains("invalid_value")));
    assert!(refused.is_some_and(|text| text.contains("bad_message")), "{}", listed());
    host.kill();
    let mut host = site.start();
    append(&site.path("in.ndjson"), [change("app.d")]);
    host.wait_until("the next change", LIMIT, |_| {
        n_lines(&output) >= 4 && lines(&output).last().is_some_and(|line| line.contains("app.d"))
    });
    let found = entries(&output);
    let last = found.last().expect("an entry");
    assert_eq!((&last["config_key"], &last["revision"]), (&"app.d".into(), &4.into()));
    host.stop();
}

#[test]
fn a_sink_that_fell_out_of_history_gets_the_state_of_every_key_and_the_gap_is_told() {
    let sinks = format!(
        "{FILE}\n  - {{ name: late, plugin: file, config: {{ path: SITE/late.ndjson }}, when: 'true' }}\n  - {{ name: gone, plugin: probe, config: {{ dir: SITE/gone }} }}"
    );
    let site = Site::new()
        .pipeline("flow", &from_file(&sinks))
        .env("LOCKSTEP_STATE__HISTORY__RECORDS", "10")
        .env("LOCKSTEP_STATE__MAX_BYTES", "20KiB")
        .env("LOCKSTEP_SYNC_SETTINGS__CLEANUP_INTERVAL", "1s");
    let (gone, output) = (Probe::new(&site, "gone"), site.path("out.ndjson"));
    append(&site.path("in.ndjson"), [change("app.first")]);
    let mut host = site.start();
    host.wait_until("the first change", LIMIT, |_| gone.written().len() == 1);
    gone.down();
    // The cursor is saved within a second or so.
    host.stop();
    append(&site.path("in.ndjson"), (0..600).map(|number| change(&format!("app.{}", number % 7))));
    let mut host = site.start();
    host.wait_until("the others", LIMIT, |_| n_lines(&output) == 601);
    // In memory the newest entries are still there, on the disk they are given up at the next cleanup.
    std::thread::sleep(Duration::from_secs(3));
    host.stop();
    gone.up();
    let mut host = site.start();
    let expected: std::collections::BTreeSet<String> =
        (0..7).map(|number| format!("app.{number}")).chain(["app.first".to_owned()]).collect();
    host.wait_until("the state of every key", LIMIT, |host| {
        delivery(host, "flow", "gone")["lag"] == 0
            && gone.written().into_iter().collect::<std::collections::BTreeSet<_>>() == expected
    });
    assert!(gone.written().len() < 600, "not the whole history: {}", gone.written().len());
    let shown = delivery(&host, "flow", "gone");
    assert!(shown["gap"]["compacted"].as_u64() > Some(1), "{shown}");
    let told = host.logged("sink fell out of history, the current state of every key follows");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(host.metrics().sum("lockstep_sink_gaps_total", &[("component", "gone")]), 1.0);
    host.stop();
}

#[test]
fn the_hosts_own_source_is_shown_with_what_it_read_and_answered() {
    let site = Site::new().pipeline("flow", &from_file(FILE));
    let mut host = site.start();
    host.wait_ready();
    for key in ["app.a", "app.b"] {
        site.run(["set", key, "1"]).expect_code(0);
    }
    let shown = host.status().component("flow", "sources", "admin").clone();
    assert_eq!((&shown["state"], &shown["plugin"]), (&"running".into(), &"host".into()), "{shown}");
    host.wait_until("both to be counted", LIMIT, |host| {
        let sum = |name| host.metrics().sum(name, &[("component", "admin"), ("kind", "source")]);
        sum("lockstep_records_read_total") == 2.0 && sum("lockstep_records_acked_total") == 2.0
    });
    host.stop();
}

#[test]
fn a_finite_input_ends_the_pipeline_when_every_sink_has_everything() {
    let sinks = format!("{FILE}\n  - {{ name: other, plugin: probe, config: {{ dir: SITE/other }} }}");
    let site = Site::new().pipeline("flow", &through_ledger(1000, ", ends: true", &sinks));
    let mut host = site.start();
    let status = host.wait_exit(LIMIT);
    assert_eq!(status.code(), Some(0), "{}", host.log());
    assert_eq!(Probe::new(&site, "other").written(), Probe::keys(1000));
    assert_eq!(n_lines(&site.path("out.ndjson")), 1000);
}

#[test]
fn components_that_commit_are_refused_where_they_cannot() {
    let ledger = "{ plugin: ledger, config: { dir: SITE/ledger } }";
    let rename = "{ plugin: rename_key, config: { from: a, to: b } }";
    let yaml = |own: &str, transforms: &str| {
        format!(
            "
sources: [ {{ plugin: probe, transforms: [ {own} ], config: {{ dir: SITE/in, count: 1 }} }} ]
transforms: [ {transforms} ]
sinks: [ {{ plugin: probe, config: {{ dir: SITE/out }} }} ]
"
        )
    };
    let refused = |site: &Site| site.run(["validate", "pipelines"]).expect_code(2).stderr;
    let text = refused(&Site::new().pipeline("a", &yaml("", &format!("{ledger}, {rename}"))));
    assert!(text.contains("has to be the last of the pipeline's transforms"), "{text}");
    let text = refused(&Site::new().pipeline("a", &yaml(ledger, rename)));
    assert!(text.contains("can only end the pipeline's own transforms"), "{text}");
    let bypassed =
        "{ plugin: ledger, when: 'change.config_key.startsWith(\"app.\")', config: { dir: SITE/ledger } }";
    let text = refused(&Site::new().pipeline("a", &yaml("", bypassed)));
    assert!(text.contains("`ledger` commits to the log, so every change has to pass it"), "{text}");
    let own = yaml("", ledger).replace("plugin: probe, transforms", "name: admin, plugin: probe, transforms");
    let text = refused(&Site::new().pipeline("a", &own));
    assert!(text.contains("`admin` is the host's own source"), "{text}");
    let both = Site::new().pipeline("a", &yaml("", ledger)).pipeline("b", &yaml("", ledger));
    let text = refused(&both);
    assert!(text.contains("a host has one pipeline through the log"), "{text}");
    assert!(
        text.contains("pipelines/b.yaml:3:") && text.contains("pipelines/a.yaml"),
        "both are named: {text}"
    );
    let one = Site::new().pipeline("a", &yaml("", ledger));
    let told = one.run(["validate", "pipelines"]).expect_code(0).stdout;
    assert!(told.contains("through the log, at least once"), "{told}");
}

//! Sinks of a pipeline through the log that go wrong: each alone, while authors and the other sinks go on.

use lockstep_test_support::{
    Host, LIMIT, Ledger, Probe, Site, WsClient, append, free_port, last_revision, lines,
};
use serde_json::{Value, json};
use std::{collections::HashSet, path::PathBuf};

const N_CHANGES: u64 = 300;

/// Changes from a file through the ledger to a file and to this sink, which is called `victim`.
fn site(victim: &str) -> Site {
    let yaml = format!(
        "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms: [ {{ plugin: ledger, config: {{ dir: SITE/ledger }} }} ]
sinks:
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
  - {{ name: victim, {victim} }}
delivery: {{ batch: {{ records: 7 }} }}
"
    );
    Site::new()
        .pipeline("flow", &yaml)
        .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h")
        .env("LOCKSTEP_WATCHDOG", "3s")
        .env("LOCKSTEP_CALL_TIMEOUT", "2500ms")
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "300ms")
        .env("LOCKSTEP_RESTART__BACKOFF__MAX", "300ms")
}

fn faulty(plugin: &str, at: &str, how: &str, once: bool) -> String {
    let fault = format!("{{ at: {at}, how: {how}, key: app.probe.150, mended: SITE/mended, once: {once} }}");
    format!("plugin: {plugin}, config: {{ fault: {fault}, written: SITE/out/written }}")
}

fn keys(from: u64, through: u64) -> Vec<String> {
    (from..=through).map(|number| format!("app.probe.{number}")).collect()
}

fn author(site: &Site, keys: &[String]) {
    let change = |key| format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":1}}"#);
    append(&site.path("in.ndjson"), keys.iter().map(change));
}

fn output(site: &Site) -> PathBuf {
    site.path("out.ndjson")
}

fn victim(host: &Host) -> Value {
    host.status().component("flow", "sinks", "victim").clone()
}

/// Waits until the other sink has everything up to here.
fn wait_other(host: &mut Host, site: &Site, revision: u64) {
    host.wait_until("the other sink", LIMIT, |_| last_revision(&output(site)) == Some(revision));
}

/// The sink fails once, on its way through the changes.
fn fails_once(sink: &str, expected: &str) {
    let site = site(sink);
    let probe = Probe::new(&site, "out");
    author(&site, &keys(1, N_CHANGES));
    let mut host = site.start();
    host.wait_until("the failure", LIMIT, |host| host.log().contains("task failed"));
    // It is not started again before 300 ms have passed.
    let so_far = probe.written().len() as u64;
    assert!(so_far < N_CHANGES, "{so_far}");
    wait_other(&mut host, &site, N_CHANGES);
    author(&site, &keys(N_CHANGES + 1, N_CHANGES + 20));
    wait_other(&mut host, &site, N_CHANGES + 20);
    host.wait_until("everything at the sink that failed", LIMIT, |host| {
        victim(host)["delivery"]["revision"] == N_CHANGES + 20 && victim(host)["state"] == "running"
    });
    Ledger::new(&keys(1, N_CHANGES + 20), &probe.written()).assert_at_least_once_in_order();

    let shown = victim(&host);
    assert_eq!(shown["restarts"], 1, "{shown}");
    assert!(host.status().errors("flow").contains(expected), "{shown}");
    assert_eq!(host.logged("task failed").len(), 1);
    assert_eq!(host.logged("sink failed, starting again").len(), 1);
    assert_eq!(host.status().pipeline("flow")["restarts"], 0, "the run went on");
    assert_eq!(lines(&output(&site)).len() as u64, N_CHANGES + 20, "the other sink has each once");
    host.stop();
}

#[test]
fn a_sink_that_panics_is_started_again_alone() {
    fails_once(&faulty("faulty", "put", "panic", true), "panicked in put");
}

#[test]
fn a_sink_that_says_what_cannot_be_is_started_again_alone() {
    fails_once(&faulty("faulty_pipelined", "acked", "unknown_ids", true), "`acked` names 1 failed");
}

#[test]
fn a_sink_that_hangs_is_left_behind_and_opened_anew() {
    fails_once(&faulty("faulty", "put", "hang", true), "`put` did not come back");
}

#[test]
fn a_sink_whose_own_transform_panics_is_started_again_alone() {
    let fault = "{ at: apply, how: panic, key: app.probe.150, mended: SITE/mended, once: true }";
    let sink = format!(
        "plugin: probe, transforms: [ {{ plugin: faulty, config: {{ fault: {fault} }} }} ], config: {{ dir: SITE/out }}"
    );
    fails_once(&sink, "panicked in apply");
}

#[test]
fn a_sink_that_fails_again_and_again_stays_failed_while_the_pipeline_runs() {
    let site = site(&faulty("faulty", "put", "panic", false))
        .env("LOCKSTEP_RESTART__CRASH_LOOP__FAILURES", "3")
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "20ms");
    let probe = Probe::new(&site, "out");
    author(&site, &keys(1, N_CHANGES));
    let mut host = site.start();
    host.wait_until("the end of its restarts", LIMIT, |host| {
        host.logged("sink failed, not started again").len() == 1
    });
    stays_failed(&mut host, &site, N_CHANGES);
    assert_eq!(host.logged("task failed").len(), 3);
    // Draining waits for nothing that the sink would have to do.
    host.stop();

    site.write("mended", "");
    let mut host = site.start();
    host.wait_until("everything at the sink", LIMIT, |host| {
        victim(host)["delivery"]["revision"] == N_CHANGES + 20
    });
    Ledger::new(&keys(1, N_CHANGES + 20), &probe.written()).assert_at_least_once_in_order();
    host.stop();
}

/// The victim is failed for good; authors and the other sink go on, and the host is ready.
fn stays_failed(host: &mut Host, site: &Site, n_changes: u64) {
    author(site, &keys(n_changes + 1, n_changes + 20));
    wait_other(host, site, n_changes + 20);
    let shown = victim(host);
    assert_eq!(shown["state"], "failed", "{shown}");
    host.wait_until("the lag to be seen", LIMIT, |host| victim(host)["delivery"]["lag"].as_u64() >= Some(20));
    assert_eq!(host.status().state("flow"), "running");
    let ready = host.get("/readyz?verbose");
    assert_eq!(ready.code, 200, "a dead sink degrades, it does not unready");
    let ready = ready.json();
    let mut checks = ready["checks"].as_array().expect("a list").iter();
    let check = checks.find(|check| check["name"] == "sink flow/victim").expect("it is listed");
    assert_eq!(check["degraded"], true, "{check}");
    assert!(check["detail"].as_str().is_some_and(|detail| detail.starts_with("failed")), "{check}");
}

#[test]
fn a_sink_that_hangs_at_every_start_is_given_up_and_costs_one_thread_each_time() {
    let site = site("plugin: faulty, config: { fault: { at: new, how: hang, mended: SITE/mended }, written: SITE/out/written }")
        .env("LOCKSTEP_RESTART__CRASH_LOOP__FAILURES", "2")
        // Two hangs do not fit into this.
        .env("LOCKSTEP_RESTART__CRASH_LOOP__WITHIN", "200ms")
        .env("LOCKSTEP_GRACE_PERIOD", "2s");
    author(&site, &keys(1, 20));
    let mut host = site.start();
    host.wait_until("the end of its restarts", LIMIT, |host| {
        host.logged("sink failed, not started again").len() == 1
    });
    wait_other(&mut host, &site, 20);
    stays_failed(&mut host, &site, 20);
    assert_eq!(host.logged("a plugin call hangs").len(), 2);
    host.stop();
}

#[test]
fn a_record_that_stops_a_sink_stops_that_sink_only() {
    let site =
        site("plugin: probe, on_error: { retry: { attempts: 0 }, then: stop }, config: { dir: SITE/out }");
    let probe = Probe::new(&site, "out");
    probe.reject(&["app.probe.150"]);
    author(&site, &keys(1, N_CHANGES));
    let mut host = site.start();
    host.wait_until("the sink to stop", LIMIT, |host| {
        host.logged("sink failed, not started again").len() == 1
    });
    stays_failed(&mut host, &site, N_CHANGES);
    assert!(host.status().errors("flow").contains("`on_error.then` is `stop`"));
    host.stop();
    probe.accept_all();
    let mut host = site.start();
    host.wait_until("everything at the sink", LIMIT, |host| {
        victim(host)["delivery"]["revision"] == N_CHANGES + 20
    });
    // What stood beside the record in its batch was written before it.
    let written: HashSet<String> = probe.written().into_iter().collect();
    assert_eq!(written, keys(1, N_CHANGES + 20).into_iter().collect());
    host.stop();
}

#[test]
fn a_finite_input_does_not_end_well_while_a_sink_is_failed_for_good() {
    let yaml = "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 20, ends: true } } ]
transforms: [ { plugin: ledger, config: { dir: SITE/ledger } } ]
sinks:
  - { plugin: file, config: { path: SITE/out.ndjson } }
  - { plugin: faulty, config: { fault: { at: put, how: panic, mended: SITE/mended }, written: SITE/out/written } }
";
    let site = Site::new()
        .pipeline("flow", yaml)
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "20ms")
        .env("LOCKSTEP_RESTART__BACKOFF__MAX", "20ms");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_state("flow", "failed");
    assert!(host.status().errors("flow").contains("panicked in put"));
    assert_eq!(lines(&output(&site)).len(), 20);
    host.kill();
    site.write("mended", "");
    let status = site.start().wait_exit(LIMIT);
    assert_eq!(status.code(), Some(0));
    assert_eq!(sink.written(), Probe::keys(20));
}

#[test]
fn a_websocket_sink_is_started_again_beside_its_source_and_its_clients_miss_nothing() {
    let port = free_port();
    let config = format!("{{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }}");
    let yaml = format!(
        "
sources: [ {{ plugin: websocket, config: {config} }} ]
transforms: [ {{ plugin: resolver }} ]
sinks:
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
  - name: victim
    plugin: websocket
    config: {config}
    transforms:
      - {{ plugin: faulty, config: {{ fault: {{ at: apply, how: panic, key: app.5, mended: SITE/mended, once: true }} }} }}
"
    );
    let site = Site::new()
        .pipeline("flow", &yaml)
        .env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h")
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "300ms");
    let mut host = site.start();
    host.wait_ready();
    let (mut author, mut subscriber) = (WsClient::connect(port), WsClient::connect(port));
    author.subscribe(&[]);
    subscriber.subscribe(&["app.*"]);
    for number in 1..=20 {
        let answer = author.change(&format!("app.{number}"), &json!(number));
        assert_eq!(answer["success"], true, "{answer}");
    }
    wait_other(&mut host, &site, 20);
    for number in 1..=20_u64 {
        let shown = subscriber.next_of_type("config_sync");
        assert_eq!(shown["revision"], number, "each once, in order: {shown}");
    }
    host.wait_until("the restarted sink", LIMIT, |host| victim(host)["delivery"]["lag"] == 0);
    assert_eq!(victim(&host)["restarts"], 1);
    assert_eq!(host.status().pipeline("flow")["restarts"], 0);
    host.stop();
}

#[test]
fn the_cursors_of_sinks_that_are_no_more_are_forgotten() {
    let yaml = |sink: &str| {
        format!(
            "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms: [ {{ plugin: ledger, config: {{ dir: SITE/ledger }} }} ]
sinks:
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
  - {{ name: {sink}, plugin: probe, config: {{ dir: SITE/{sink} }} }}
"
        )
    };
    let mut site = Site::new().env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    author(&site, &keys(1, 10));
    let mut forgotten = Vec::new();
    for sink in ["first", "second", "second"] {
        site = site.pipeline("flow", &yaml(sink));
        let mut host = site.start();
        let probe = Probe::new(&site, sink);
        host.wait_until("every change", LIMIT, |_| probe.written() == keys(1, 10));
        host.wait_until("its cursor", LIMIT, |host| {
            host.status().component("flow", "sinks", sink)["delivery"]["revision"] == 10
        });
        forgotten.push(host.logged("cursor forgotten"));
        host.stop();
    }
    let counts: Vec<usize> = forgotten.iter().map(Vec::len).collect();
    assert_eq!(counts, [0, 1, 0], "{forgotten:?}");
    let line = forgotten[1][0].to_string();
    assert!(line.contains("\"first\"") && line.contains("10"), "sink and revision are named: {line}");
}

#[test]
fn a_host_that_crashes_early_every_time_does_not_deliver_from_the_beginning_every_time() {
    const N_CRASHES: u64 = 6;
    let site = site("plugin: probe, config: { dir: SITE/out }");
    for round in 1..=N_CRASHES {
        author(&site, &keys(round, round));
        let mut host = site.start();
        wait_other(&mut host, &site, round);
        host.wait_until("both sinks' places", LIMIT, |host| {
            ["file", "victim"]
                .iter()
                .all(|sink| host.status().component("flow", "sinks", sink)["delivery"]["revision"] == round)
        });
        host.kill();
    }
    let is_first = |line: &&String| line.contains("\"app.probe.1\"");
    let n_first = lines(&output(&site)).iter().filter(is_first).count();
    assert!(n_first <= 3, "the first change was delivered {n_first} times");
}

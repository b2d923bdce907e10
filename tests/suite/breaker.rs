//! An endpoint that is away costs time and nothing else.

use crate::dead_letter::dead_letters;
use lockstep_test_support::{Host, LIMIT, Ledger, Probe, Site};
use std::time::{Duration, Instant};

const PIPELINE: &str = "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 3000, rate: 2000 } } ]
sinks:
  - plugin: probe
    on_error: { retry: { attempts: 3, backoff: 50ms, max: 100ms }, then: dead_letter }
    config: { dir: SITE/out }
";

/// Much longer than all retries together.
const OUTAGE: Duration = Duration::from_secs(3);

#[test]
fn a_sinks_outage_longer_than_all_retries_loses_nothing_and_keeps_the_order() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("a running pipeline", LIMIT, |_| sink.written().len() > 100);
    sink.down();
    let outage = Instant::now();
    host.wait_until("an open breaker", LIMIT, |host| {
        host.status().component("flow", "sinks", "probe")["state"] == "not_connected"
    });
    assert_eq!(host.metrics().sum("lockstep_breaker_open", &[("kind", "sink")]), 1.0);
    host.wait_until("the end of the outage", LIMIT, |_| outage.elapsed() > OUTAGE);
    assert_eq!(host.status().state("flow"), "running", "an outage is not a failure of the pipeline");
    assert_eq!(host.get("/healthz").code, 200);
    sink.up();

    host.wait_until("everything", LIMIT, |_| sink.written().len() >= 3_000);
    Ledger::new(&Probe::keys(3_000), &sink.written()).assert_exactly_once_in_order();
    let dead = site.run(["dlq", "list", "--json"]).expect_code(0).json();
    assert!(!dead.to_string().contains("app.probe."), "nothing is dead: {dead}");
}

#[test]
fn a_sink_that_is_away_at_the_start_is_waited_for() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let sink = Probe::new(&site, "out");
    sink.down();
    let mut host = site.start();
    host.wait_until("an error to be shown", LIMIT, |host| {
        host.status().errors("flow").contains("told to be down")
    });
    sink.up();
    host.wait_until("everything", LIMIT, |_| sink.written().len() >= 3_000);
    Ledger::new(&Probe::keys(3_000), &sink.written()).assert_exactly_once_in_order();
}

#[test]
fn a_sources_outage_is_waited_for() {
    let site = Site::new().pipeline("flow", PIPELINE);
    let (source, sink) = (Probe::new(&site, "in"), Probe::new(&site, "out"));
    let mut host = site.start();
    host.wait_until("a running pipeline", LIMIT, |_| sink.written().len() > 100);
    source.down();
    host.wait_until("an error to be shown", LIMIT, |host| {
        host.status().errors("flow").contains("told to be down")
    });
    let outage = Instant::now();
    host.wait_until("the end of the outage", LIMIT, |_| outage.elapsed() > OUTAGE);
    source.up();
    host.wait_until("everything", LIMIT, |_| sink.written().len() >= 3_000);
    Ledger::new(&Probe::keys(3_000), &sink.written()).assert_at_least_once_in_order();
}

#[test]
fn another_pipeline_does_not_notice_an_outage() {
    let other = PIPELINE.replace("SITE/in", "SITE/in2").replace("SITE/out", "SITE/out2");
    let site = Site::new().pipeline("flow", PIPELINE).pipeline("other", &other);
    let (sink, other) = (Probe::new(&site, "out"), Probe::new(&site, "out2"));
    sink.down();
    let mut host = site.start();
    host.wait_until("everything of the other", LIMIT, |_| other.written().len() >= 3_000);
    assert_eq!(sink.written(), [] as [String; 0]);
}

/// A sink that is told about its batches later than it writes them.
const PIPELINED: &str = "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 100 } } ]
sinks:
  - name: out
    plugin: probe_pipelined
    on_error: { retry: { attempts: 1, backoff: 10ms, max: 10ms }, then: dead_letter }
    config: { dir: SITE/out }
delivery: { batch: { records: 10 } }
";

fn is_away(host: &Host, component: &str) -> bool {
    host.status().component("flow", "sinks", component)["state"] == "not_connected"
}

#[test]
fn a_record_whose_own_endpoint_is_away_waits_for_it_and_uses_up_no_attempt() {
    let site = Site::new().pipeline("flow", PIPELINED);
    let sink = Probe::new(&site, "out");
    let n_offered = || sink.offered().iter().filter(|key| *key == "app.probe.17").count();
    let dead = || dead_letters(&site);
    sink.cut_off(&["app.probe.17"]);
    let mut host = site.start();
    host.wait_until("the endpoint to count as away", LIMIT, |host| is_away(host, "out"));
    host.wait_until("more tries than attempts", LIMIT, |_| n_offered() >= 4);
    assert_eq!(dead().len(), 0);
    assert_eq!(host.status().state("flow"), "running");

    // Both of its attempts are left.
    sink.fail(&["app.probe.17"]);
    sink.reach_all();
    host.wait_until("a dead letter", LIMIT, |_| dead().len() == 1);
    assert_eq!(dead()[0]["attempts"], 2);
    host.wait_until("the others", LIMIT, |_| sink.written().len() == 99);
    assert!(!is_away(&host, "out"), "it answered");
}

#[test]
fn a_probe_that_is_long_on_its_way_closes_the_breaker_only_when_it_arrives() {
    let site = Site::new().pipeline("flow", &PIPELINED.replace("count: 100", "count: 5000, rate: 500"));
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("a running pipeline", LIMIT, |_| sink.written().len() > 50);
    sink.down();
    host.wait_until("an open breaker", LIMIT, |host| is_away(host, "out"));
    let n_offered = sink.offered().len();
    sink.hold();
    sink.up();
    host.wait_until("a probe", LIMIT, |_| sink.offered().len() > n_offered);
    let (probed, n_offered) = (Instant::now(), sink.offered().len());
    host.wait_until("a long way", LIMIT, |_| probed.elapsed() > Duration::from_secs(2));
    assert_eq!(host.logged("endpoint back").len(), 0);
    assert!(is_away(&host, "out"));
    assert_eq!(sink.offered().len(), n_offered, "one probe at a time");
    sink.finish();
    host.wait_until("the endpoint to be back", LIMIT, |host| !is_away(host, "out"));
    let n_written = sink.written().len();
    host.wait_until("more records", LIMIT, |_| sink.written().len() > n_written + 100);
    assert_eq!(host.logged("endpoint away").len(), 1);
    assert_eq!(host.logged("endpoint back").len(), 1);
}

#[test]
fn a_source_that_is_away_at_the_start_keeps_no_other_waiting_and_joins_when_it_comes() {
    let site = Site::new().pipeline(
        "flow",
        "
sources:
  - { name: here, plugin: probe, config: { dir: SITE/here, count: 100 } }
  - name: away
    plugin: probe
    transforms: [ { plugin: rename_key, config: { from: app.probe., to: app.late. } } ]
    config: { dir: SITE/away, count: 50 }
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
",
    );
    let (away, sink) = (Probe::new(&site, "away"), Probe::new(&site, "out"));
    away.down();
    let mut host = site.start();
    host.wait_until("the records of the other", LIMIT, |_| sink.written().len() == 100);
    assert_eq!(sink.written(), Probe::keys(100));
    assert_eq!(host.status().state("flow"), "running");
    host.wait_until("the other to be away", LIMIT, |host| {
        host.status().component("flow", "sources", "away")["state"] == "not_connected"
    });
    away.up();
    host.wait_until("the late records", LIMIT, |_| sink.written().len() == 150);
    let late: Vec<String> = (1..=50).map(|number| format!("app.late.{number}")).collect();
    assert_eq!(sink.written()[100..], late);
    host.stop();
}

#[test]
fn a_breaker_that_was_open_at_a_failure_is_shown_closed_after_the_restart() {
    let site = Site::new()
        .pipeline(
            "flow",
            "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 5000, rate: 500 } } ]
sinks:
  - { name: gone, plugin: probe, config: { dir: SITE/gone } }
  - { name: breaks, plugin: probe_pipelined, config: { dir: SITE/breaks } }
",
        )
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "5s");
    let (gone, breaks) = (Probe::new(&site, "gone"), Probe::new(&site, "breaks"));
    let mut host = site.start();
    host.wait_until("a running pipeline", LIMIT, |_| gone.written().len() > 50);
    gone.down();
    host.wait_until("an open breaker", LIMIT, |host| is_away(host, "gone"));
    let open = |host: &Host| host.metrics().sum("lockstep_breaker_open", &[("component", "gone")]);
    assert_eq!(open(&host), 1.0);
    breaks.break_once();
    host.wait_state("flow", "restarting");
    gone.up();
    host.wait_state("flow", "running");
    assert_eq!(open(&host), 0.0);
}

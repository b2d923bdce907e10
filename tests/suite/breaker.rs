//! An endpoint that is away costs time and nothing else.

use lockstep_test_support::{LIMIT, Ledger, Probe, Site};
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

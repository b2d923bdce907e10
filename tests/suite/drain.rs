//! A host that is asked to end finishes what is in flight, and says what it could not.

use lockstep_test_support::{LIMIT, Ledger, Probe, Site};
use std::time::Duration;

const PIPELINE: &str = "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 100000, rate: 5000 } } ]
transforms: [ { plugin: probe, config: { delay_us: 50 } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
";

fn drains_on(signal: i32) {
    let site = Site::new().pipeline("busy", PIPELINE);
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("a busy pipeline", LIMIT, |_| sink.written().len() > 200);
    host.signal(signal);
    assert_eq!(host.wait_exit(LIMIT).code(), Some(0));

    // What was read was written, and its position stored: the next start repeats nothing and leaves nothing out.
    let n_written = sink.written().len();
    let mut host = site.start();
    host.wait_until("more records", LIMIT, |_| sink.written().len() > n_written + 200);
    host.stop();
    let written = sink.written();
    Ledger::new(&Probe::keys(written.len() as u64), &written).assert_exactly_once_in_order();
}

#[test]
fn sigterm_drains_without_loss_or_repetition() {
    drains_on(libc::SIGTERM);
}

#[test]
fn sigint_drains_without_loss_or_repetition() {
    drains_on(libc::SIGINT);
}

#[test]
fn past_the_grace_period_the_host_ends_and_says_what_was_left_in_flight() {
    let site = Site::new().pipeline("busy", PIPELINE).env("LOCKSTEP_GRACE_PERIOD", "1s");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("a busy pipeline", LIMIT, |_| sink.written().len() > 200);
    sink.block();
    let offered = sink.offered().len();
    host.wait_until("a blocked sink", LIMIT, |_| sink.offered().len() > offered);
    host.terminate();
    assert_eq!(host.wait_exit(LIMIT).code(), Some(1), "not everything was finished");
    assert!(host.log().contains("in flight"), "the log says what was left");

    sink.unblock();
    let n_written = sink.written().len();
    let mut host = site.start();
    host.wait_until("the rest", LIMIT, |_| sink.written().len() > n_written + 500);
    host.stop();
    let written = sink.written();
    let n_distinct = written.iter().collect::<std::collections::HashSet<_>>().len();
    Ledger::new(&Probe::keys(n_distinct as u64), &written).assert_at_least_once_in_order();
}

#[test]
fn the_end_of_the_input_finishes_the_pipeline_and_the_others_go_on() {
    let site = Site::new().pipeline("endless", PIPELINE).pipeline(
        "finite",
        "
sources: [ { plugin: probe, config: { dir: SITE/finite-in, count: 500, ends: true } } ]
sinks: [ { plugin: probe, config: { dir: SITE/finite-out } } ]
",
    );
    let (endless, finite) = (Probe::new(&site, "out"), Probe::new(&site, "finite-out"));
    let mut host = site.start();
    host.wait_state("finite", "finished");
    assert_eq!(finite.written(), Probe::keys(500));
    host.wait_state("endless", "running");
    let so_far = endless.written().len();
    host.wait_until("the other pipeline to go on", LIMIT, |_| endless.written().len() > so_far);
    host.stop();
}

#[test]
fn a_failure_while_draining_is_one() {
    let pipeline = PIPELINE.replace(
        "plugin: probe, config: { dir: SITE/out }",
        "plugin: probe_pipelined, config: { dir: SITE/out }",
    );
    let site = Site::new().pipeline("busy", &pipeline);
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("a busy pipeline", LIMIT, |_| sink.written().len() > 200);
    sink.hold();
    let offered = sink.offered().len();
    host.wait_until("batches that are not finished", LIMIT, |_| sink.offered().len() > offered);
    host.terminate();
    host.wait_until("the drain", LIMIT, |host| !host.logged("draining").is_empty());
    sink.break_once();
    assert_eq!(host.wait_exit(LIMIT).code(), Some(1), "not everything was finished");
    assert!(host.log().contains("it was told to stop"), "why it is not started again");
    let over = host.logged("pipeline over");
    assert!(over.len() == 1 && over[0].to_string().contains("Failed"), "{over:?}");
}

/// Long before the grace period of a minute ends.
const SOONER: Duration = Duration::from_secs(50);

/// A sink that finishes nothing by itself, and more batches than it may have in flight at once.
fn lazy(ends: bool) -> String {
    format!(
        "
sources: [ {{ plugin: probe, config: {{ dir: SITE/in, count: 300, ends: {ends} }} }} ]
sinks: [ {{ plugin: probe_pipelined, config: {{ dir: SITE/out, finishes: when_flushed }} }} ]
delivery: {{ batch: {{ records: 1 }} }}
"
    )
}

#[test]
fn a_drain_tells_a_sink_that_waits_for_more_to_finish() {
    let site = Site::new().pipeline("lazy", &lazy(false)).env("LOCKSTEP_GRACE_PERIOD", "60s");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("everything to be read", LIMIT, |host| {
        host.metrics().sum("lockstep_records_read_total", &[]) == 300.0
    });
    assert_eq!(sink.written(), [] as [String; 0], "it waits");
    host.terminate();
    assert_eq!(host.wait_exit(SOONER).code(), Some(0));
    assert_eq!(sink.written(), Probe::keys(300));

    let mut host = site.start();
    host.wait_until("the source's position", LIMIT, |host| {
        let started = host.logged("the probe starts after this record");
        started.iter().any(|line| line.to_string().contains("300"))
    });
    host.stop();
    assert_eq!(sink.written(), Probe::keys(300), "everything was committed");
}

#[test]
fn the_end_of_the_input_tells_a_sink_that_waits_for_more_to_finish() {
    let site = Site::new().pipeline("lazy", &lazy(true)).env("LOCKSTEP_GRACE_PERIOD", "60s");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    // The host ends with its last pipeline, so its end is the only thing that can be waited for.
    assert_eq!(host.wait_exit(SOONER).code(), Some(0));
    assert_eq!(sink.written(), Probe::keys(300));
}

#[test]
fn an_outage_while_draining_is_waited_for_and_what_is_put_again_is_told_to_finish_again() {
    let site = Site::new().pipeline("lazy", &lazy(false)).env("LOCKSTEP_GRACE_PERIOD", "60s");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("everything to be read", LIMIT, |host| {
        host.metrics().sum("lockstep_records_read_total", &[]) == 300.0
    });
    sink.down();
    host.terminate();
    host.wait_until("an outage", LIMIT, |host| !host.logged("endpoint away").is_empty());
    sink.fail(&["app.probe.17"]);
    sink.up();
    host.wait_until("a record that failed", LIMIT, |host| {
        host.metrics().sum("lockstep_records_failed_total", &[]) > 0.0
    });
    sink.accept_all();
    assert_eq!(host.wait_exit(SOONER).code(), Some(0));
    let mut written = sink.written();
    written.sort_by_key(|key| key.trim_start_matches("app.probe.").parse::<u64>().ok());
    assert_eq!(written, Probe::keys(300));
}

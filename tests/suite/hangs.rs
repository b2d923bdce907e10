//! Calls that do not come back cost their own thread and no other.

use lockstep_test_support::{Host, LIMIT, Ledger, Probe, Site};

/// A sink that hangs in `put`, and batches of one record each.
fn hanging(count: u64, once: bool) -> Site {
    let yaml = format!(
        "
sources: [ {{ plugin: probe, config: {{ dir: SITE/in, count: {count} }} }} ]
sinks:
  - plugin: faulty
    config:
      fault: {{ at: put, how: hang, mended: SITE/mended, once: {once} }}
      written: SITE/out/written
delivery: {{ batch: {{ records: 1 }} }}
"
    );
    Site::new()
        .pipeline("flow", &yaml)
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "20ms")
        .env("LOCKSTEP_RESTART__BACKOFF__MAX", "50ms")
}

/// How many threads of the host have a name that begins like this.
fn n_threads(host: &Host, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.id())).expect("a running process");
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|thread| thread.starts_with(name)).count()
}

#[test]
fn a_sink_that_hangs_with_a_full_queue_leaves_no_thread_behind_but_its_own() {
    let site = hanging(1_000, true).env("LOCKSTEP_WATCHDOG", "3s").env("LOCKSTEP_CALL_TIMEOUT", "2500ms");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("more batches than the sink's queue holds", LIMIT, |host| {
        host.metrics().sum("lockstep_records_read_total", &[]) > 256.0
    });
    host.wait_until("every record after a restart", LIMIT, |_| sink.written().len() >= 1_000);
    Ledger::new(&Probe::keys(1_000), &sink.written()).assert_at_least_once_in_order();
    host.wait_state("flow", "running");
    assert_eq!(host.logged("threads that do not end are left behind").len(), 0);
    let of_the_run = ["source:", "sink:", "committer"].map(|name| n_threads(&host, name));
    assert_eq!(of_the_run, [1, 2, 1], "one of each, and the sink that hangs");
}

#[test]
fn a_sink_that_hangs_at_every_start_is_given_up_however_far_apart_its_hangs_are() {
    let site = hanging(10, false)
        .env("LOCKSTEP_WATCHDOG", "3s")
        .env("LOCKSTEP_CALL_TIMEOUT", "2500ms")
        .env("LOCKSTEP_RESTART__CRASH_LOOP__FAILURES", "3")
        // Two hangs do not fit into this.
        .env("LOCKSTEP_RESTART__CRASH_LOOP__WITHIN", "200ms");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_state("flow", "failed");
    assert_eq!(host.status().pipeline("flow")["restarts"], 2);
    assert!(
        host.status().errors("flow").contains("`put` did not come back"),
        "{}",
        host.status().errors("flow")
    );
    assert_eq!(n_threads(&host, "sink:"), 3, "what a hang costs");
    assert_eq!(sink.written(), [] as [String; 0]);
    assert_eq!(host.logged("pipeline failed, not started again").len(), 1);
}

//! A sink is away under load: nobody else notices, and it gets everything afterwards.

use super::{Added, Sync, revision};
use lockstep_test_support::{
    Authors, Host, LIMIT, Ledger, Load, Numbers, Probe, Sent, last_revision, quiet, scale, written_history,
};
use serde_json::json;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// What may be in flight, and what memory may grow by beyond that.
const IN_FLIGHT: u64 = 2 * MIB;
const SLACK: u64 = 16 * MIB;

const PER_SECOND: u32 = 500;
const LOAD: Load =
    Load { n_connections: 4, in_flight: 64, per_second: Some(PER_SECOND), n_keys: u64::MAX, bytes: 10_000 };

fn start() -> (Sync, Probe) {
    let sync = Sync::with(Added {
        sinks: "  - { name: archive, plugin: probe, config: { dir: SITE/archive, revisions: true } }
delivery: { in_flight: { bytes: 2MiB } }",
        ..Added::default()
    });
    let archive = Probe::new(&sync.site, "archive");
    (sync, archive)
}

#[test]
fn a_sink_that_is_away_costs_authors_no_time_and_the_host_no_memory_and_gets_everything_in_order() {
    let _quiet = quiet();
    let n_seconds = scale(4, 20);
    let n_slice = PER_SECOND as usize;
    let (sync, archive) = start();
    let mut host = sync.start();
    let numbers = Numbers::default();
    let authors = Authors::start(sync.port, LOAD, &numbers);

    // Warm: every path has run once, and the parts of the store that fill up have been full.
    let mut highest = 0;
    answered(&mut host, &authors, 2 * n_slice, &mut 0);
    answered(&mut host, &authors, (2 + n_seconds) * n_slice, &mut highest);
    archive.down();
    let mut highest_while_away = 0;
    let n_away = authors.n_answered();
    answered(&mut host, &authors, n_away + (n_seconds + 1) * n_slice, &mut highest_while_away);
    let n_written_while_away = archive.written().len();
    archive.up();
    let sent = authors.finish();
    everything_arrives(&sync, &mut host, &archive, &numbers);

    let slices: Vec<Duration> = sent.chunks_exact(n_slice).map(p99).collect();
    let with = middle(&slices[2..2 + n_seconds]);
    let n_first_away = n_away.div_ceil(n_slice);
    let without = middle(&slices[n_first_away..n_first_away + n_seconds]);
    let grown = highest_while_away.saturating_sub(highest);
    println!("p99 {with:?} with the sink, {without:?} without; memory +{} KiB", grown / 1024);
    assert!(n_written_while_away < n_away + n_slice, "the sink was away");
    // Below this the machine's own pauses are what is measured.
    let floor = Duration::from_millis(20);
    assert!(without <= 2 * with.max(floor), "{without:?} against {with:?}");
    assert!(grown <= IN_FLIGHT + SLACK, "memory grew by {grown} bytes");
}

#[test]
fn a_sink_that_is_away_while_the_host_is_killed_gets_everything_in_order() {
    let n_changes = scale(2_000, 12_000);
    let (sync, archive) = start();
    let numbers = Numbers::default();
    let load = Load { bytes: 100, per_second: None, ..LOAD };
    let mut sent = Vec::new();
    for round in 0..3 {
        // Away from the start in the second round, back before the third.
        let mut host = sync.start();
        let authors = Authors::start(sync.port, load, &numbers);
        answered(&mut host, &authors, n_changes / 6, &mut 0);
        archive.down();
        answered(&mut host, &authors, n_changes / 3, &mut 0);
        host.kill();
        sent.extend(authors.finish());
        if round == 1 {
            archive.up();
        }
    }
    archive.up();
    let mut host = sync.start();
    let history = everything_arrives(&sync, &mut host, &archive, &numbers);
    for sent in sent.iter().filter(|sent| sent.answer.is_some()) {
        let there = sent.revision().and_then(|revision| history.get(revision));
        assert_eq!(there.map(|there| there.number), Some(sent.number), "{sent:?}");
    }
}

/// Waits for so many answers, and looks at the memory meanwhile.
fn answered(host: &mut Host, authors: &Authors, n: usize, highest: &mut u64) {
    host.wait_until(&format!("{n} answers"), 4 * LIMIT, |host| {
        *highest = host.rss().max(*highest);
        authors.n_answered() >= n
    });
}

/// Both sinks hold every change, the one that was away in the order of the log.
fn everything_arrives(
    sync: &Sync,
    host: &mut Host,
    archive: &Probe,
    numbers: &Numbers,
) -> lockstep_test_support::History {
    let end = revision(&sync.author().change("app.end", &json!({ "n": numbers.take() })));
    host.wait_until("the file sink", 2 * LIMIT, |_| last_revision(&sync.output()) >= Some(end));
    host.wait_until("the sink that was away", 2 * LIMIT, |_| archive.revisions().last() == Some(&end));
    let history = written_history(&sync.output());
    history.assert_complete();
    assert_eq!(history.head(), end);
    let text = |revision: u64| revision.to_string();
    let arrived: Vec<String> = archive.revisions().into_iter().map(text).collect();
    let ledger = Ledger::new(&(1..=end).map(text).collect::<Vec<_>>(), &arrived);
    println!("{end} changes, {} repeated", ledger.n_duplicates);
    ledger.assert_at_least_once_in_order();
    history
}

fn p99(sent: &[Sent]) -> Duration {
    let mut times: Vec<Duration> = sent.iter().filter_map(Sent::latency).collect();
    times.sort();
    times[times.len() * 99 / 100]
}

fn middle(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

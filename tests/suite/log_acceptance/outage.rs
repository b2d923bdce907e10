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

const LOAD: Load = Load { n_connections: 4, in_flight: 16, per_second: None, n_keys: 100, bytes: 100 };

fn start() -> (Sync, Probe) {
    let sync = Sync::with(Added {
        sinks: "  - { name: archive, plugin: probe, config: { dir: SITE/archive, revisions: true } }
delivery: { in_flight: { bytes: 2MiB } }",
        ..Added::default()
    });
    let archive = Probe::new(&sync.site, "archive");
    (sync, archive)
}

/// A machine with other work is given a few tries; what a sink costs it costs in each.
const N_TRIES: usize = 4;

#[test]
fn a_sink_that_is_away_costs_authors_no_time() {
    let _quiet = quiet();
    // Below this it is the machine's own pauses that are measured.
    let floor = Duration::from_millis(scale(100, 20));
    let is_free = (0..N_TRIES).any(|_| {
        let (with, without) = times_with_and_without_a_sink();
        println!("p99 {with:?} with the sink, {without:?} without");
        without <= 2 * with.max(floor)
    });
    assert!(is_free, "authors wait longer without the sink");
}

/// The p99 of the quietest second of authors, with every sink there and with one away.
fn times_with_and_without_a_sink() -> (Duration, Duration) {
    const PER_SECOND: usize = 200;
    let n_seconds = scale(4, 20);
    let (sync, archive) = start();
    let mut host = sync.start();
    let numbers = Numbers::default();
    let load = Load { per_second: Some(PER_SECOND as u32), ..LOAD };
    let authors = Authors::start(sync.port, load, &numbers);
    // Warm: every path has run once.
    answered(&mut host, &authors, (1 + n_seconds) * PER_SECOND, &mut 0);
    archive.down();
    let n_before = authors.n_answered();
    answered(&mut host, &authors, n_before + (1 + n_seconds) * PER_SECOND, &mut 0);
    let n_written = archive.revisions().len();
    archive.up();
    let sent = authors.finish();
    everything_arrives(&sync, &mut host, &archive, &numbers);

    assert!(n_written < n_before + PER_SECOND, "the sink was away");
    let slices: Vec<Duration> = sent.chunks_exact(PER_SECOND).map(p99).collect();
    let with = quietest(&slices[1..=n_seconds]);
    let first_without = n_before.div_ceil(PER_SECOND);
    (with, quietest(&slices[first_without..first_without + n_seconds]))
}

#[test]
fn a_sink_that_is_away_costs_the_host_no_memory() {
    let most = IN_FLIGHT + SLACK;
    assert!((0..N_TRIES).any(|_| memory_without_a_sink() <= most), "memory grows by more than {most} bytes");
}

/// How much more memory the host uses while one of its sinks is away, in bytes.
fn memory_without_a_sink() -> u64 {
    let n_changes = scale(3_000, 15_000);
    let (sync, archive) = start();
    let mut host = sync.start();
    let numbers = Numbers::default();
    let authors = Authors::start(sync.port, Load { bytes: 10_000, ..LOAD }, &numbers);
    // Warm: what the store and the head of the log may fill has been full.
    let (mut highest, mut highest_without) = (0, 0);
    answered(&mut host, &authors, n_changes, &mut highest);
    archive.down();
    answered(&mut host, &authors, 2 * n_changes, &mut highest_without);
    let n_written = archive.revisions().len();
    archive.up();
    authors.finish();
    everything_arrives(&sync, &mut host, &archive, &numbers);
    let grown = highest_without.saturating_sub(highest);
    println!("memory +{} KiB for {} MB behind", grown / 1024, n_changes / 100);
    assert!(n_written < n_changes + n_changes / 4, "the sink was away: {n_written}");
    grown
}

#[test]
fn a_sink_that_is_away_while_the_host_is_killed_gets_everything_in_order() {
    let n_changes = scale(2_000, 12_000);
    let (sync, archive) = start();
    let numbers = Numbers::default();
    let mut sent = Vec::new();
    for round in 0..3 {
        // Away from the start in the second round, back before the third.
        let mut host = sync.start();
        let authors = Authors::start(sync.port, LOAD, &numbers);
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

/// What the quietest second took: a sink that cost something would cost it in every second, other work on the machine
/// does not.
fn quietest(slices: &[Duration]) -> Duration {
    slices.iter().min().copied().expect("there is a slice")
}

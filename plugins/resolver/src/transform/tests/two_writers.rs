//! Two writers who read a key and write it from what they read, in every interleaving that random numbers give.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const RUNS: u64 = 1000;
const ROUNDS: usize = 3;

/// What a writer did, by its own account and by what it was told.
struct Written {
    event_id: String,
    /// The events that its author had read, with what their authors had read.
    seen: BTreeSet<String>,
    answer: Answer,
}

/// One run: each writer reads and writes in turn, who comes next is drawn.
fn run(seed: u64, says_base: bool) -> (Host, Vec<Written>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let strategy = if random.bool() { "last_write_wins" } else { "first_write_wins" };
    let mut host = Host::new(&json!({ "strategy": strategy }));
    let mut head = host.set("start", json!({})).revision;
    let mut written: Vec<Written> = Vec::new();
    let mut read_at = [None::<u64>; 2];
    let mut left = [ROUNDS; 2];
    while left.iter().any(|left| *left > 0) {
        let writer = random.usize(0..2);
        if left[writer] == 0 {
            continue;
        }
        let Some(base) = read_at[writer].take() else {
            read_at[writer] = Some(head);
            continue;
        };
        left[writer] -= 1;
        let rest = if says_base { json!({ "base": base }) } else { json!({}) };
        let answer = host.set(&format!("{writer}.{}", left[writer]), rest);
        head = answer.revision;
        let event_id = answer.entry["event_id"].as_str().expect("text").to_owned();
        let seen = written.iter().filter(|earlier| earlier.answer.revision <= base);
        let seen = seen.map(|earlier| earlier.event_id.clone()).collect();
        written.push(Written { event_id, seen, answer });
    }
    (host, written)
}

/// The changes after the `n`th that nobody up to then had read, found without the rule under test.
fn standing(written: &[Written], n: usize) -> Vec<&str> {
    let unread = |one: &&Written| !written[..=n].iter().any(|other| other.seen.contains(&one.event_id));
    written[..=n].iter().filter(unread).map(|one| one.event_id.as_str()).collect()
}

/// How often a run broke what the writers are promised.
fn violations(host: &Host, written: &[Written]) -> usize {
    (0..written.len()).filter(|n| !is_told(host, written, *n)).count()
}

/// Whether everybody concerned by the `n`th change was told, and nothing that nobody had read disappeared.
fn is_told(host: &Host, written: &[Written], n: usize) -> bool {
    let Written { event_id, answer, .. } = &written[n];
    let mut standing = standing(written, n);
    let mut told: Vec<&str> = match answer.resolution.is_null() {
        true => vec![event_id],
        false => {
            let resolution = &answer.resolution;
            let winner = resolution["winning_change"].as_str().expect("text");
            let won = resolution["won"].as_bool().expect("a bool");
            let others = names(&resolution["discarded_changes"]);
            if won != (winner == event_id) || !is_announced(host, winner, &others) {
                return false;
            }
            others.into_iter().chain([winner]).collect()
        }
    };
    standing.sort_unstable();
    told.sort_unstable();
    standing == told
}

/// Whether a notice named exactly these, so that the author of the other one heard of it too.
fn is_announced(host: &Host, winner: &str, others: &[&str]) -> bool {
    host.notices().iter().any(|notice| {
        let metadata = &notice["metadata"];
        metadata["winning_change"] == winner && names(&metadata["discarded_changes"]) == others
    })
}

/// What a host shows that hears of the changes in another order, and the last entry says.
fn shown_in_another_order(written: &[Written], seed: u64) -> (Value, Value) {
    let mut entries: Vec<&Value> = written.iter().map(|one| &one.answer.entry).collect();
    let last = entries.last().expect("an entry")["new_value"].clone();
    fastrand::Rng::with_seed(seed).shuffle(&mut entries);
    let mut other = Host::new(&json!({}));
    let mut shown = Value::Null;
    for entry in entries {
        if let Some(answer) = other.take(entry).expect("taken in") {
            shown = answer.entry["new_value"].clone();
        }
    }
    (shown, last)
}

#[test]
fn both_writers_know_what_became_of_theirs_and_the_order_does_not_matter() {
    let mut n_conflicts = 0;
    for seed in 0..RUNS {
        let (host, written) = run(seed, true);
        assert_eq!(violations(&host, &written), 0, "seed {seed}");
        let (shown, last) = shown_in_another_order(&written, seed);
        assert_eq!(shown, last, "seed {seed}");
        n_conflicts += written.iter().filter(|one| !one.answer.resolution.is_null()).count();
    }
    assert!(n_conflicts > RUNS as usize, "only {n_conflicts} of {} met another", RUNS * 6);
}

/// Writers that do not say what they read overwrite silently, and the test notices.
#[test]
fn the_test_of_two_writers_fails_without_a_base() {
    let broken = (0..100).filter(|seed| {
        let (host, written) = run(*seed, false);
        violations(&host, &written) > 0
    });
    assert!(broken.count() > 50);
}

/// The guide's way, where the change that comes last wins among equal clocks, shows something else in another order.
#[test]
fn the_test_of_order_fails_where_arrival_breaks_the_tie() {
    let by_arrival = |entries: &[&Value]| {
        let mut shown: BTreeMap<&str, (u64, &Value)> = BTreeMap::new();
        for entry in entries {
            let ms: u64 =
                entry["hlc"].as_str().and_then(|hlc| hlc.split('-').next()?.parse().ok()).expect("HLC");
            let place = shown.entry("app.x").or_insert((0, &Value::Null));
            if ms >= place.0 {
                *place = (ms, &entry["event_id"]);
            }
        }
        shown["app.x"].1.clone()
    };
    let diverged = (0..100).filter(|seed| {
        let (_, written) = run(*seed, true);
        let mut entries: Vec<&Value> = written.iter().map(|one| &one.answer.entry).collect();
        let forth = by_arrival(&entries);
        entries.reverse();
        forth != by_arrival(&entries)
    });
    assert!(diverged.count() > 0);
}

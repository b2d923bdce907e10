//! How many changes a second one resolver takes in, through the adapter that a host calls, with its state in memory.
//!
//! A plugin is a `cdylib` and cannot be linked, so its source is compiled into the benchmark; what it calls `crate` is
//! named here.
#![forbid(unsafe_code)]
#![allow(unused, reason = "the plugin's tests are no part of the benchmark")]

#[path = "../../src/lib.rs"]
mod plugin;

use plugin::{
    advice, calls, carry, clock, config, conflict, draft, encoding, ingested, ledger, manual, merge, metrics,
    node, notice, ot, report, siblings, staging, strategy, sweep, transform, turn, value, wire,
};

use lockstep_plugin_api::{
    Record,
    testing::{self, MemoryHost, Place, TransformDriver},
};
use std::{fs, time::Duration};

/// Single-sibling resolutions per second.
const GOAL: f64 = 200_000.0;

const BATCH: usize = 100;
const SLICE: Duration = Duration::from_millis(500);
const N_SLICES: usize = 6;

fn main() {
    for (what, n_keys, n_bytes) in [
        ("one key, 100-byte values", 1, 100),
        ("1,000 keys, 100-byte values", 1000, 100),
        ("1,000 keys, 1,000-byte values", 1000, 1000),
    ] {
        let mut resolver = resolver();
        let (mut next, value) = (0, "x".repeat(n_bytes));
        let per_second =
            (0..N_SLICES).map(|_| slice(&mut resolver, &mut next, n_keys, &value)).fold(0.0, f64::max);
        let verdict = if per_second >= GOAL { "ok" } else { "MISSED" };
        println!("{what:<32}{per_second:>12.0} resolutions/s   goal >= {GOAL} {verdict}");
    }
}

fn resolver() -> TransformDriver {
    let place = Place { through_log: true, host: MemoryHost::default(), ..Place::default() };
    testing::transform_at::<transform::Resolver>("{}", &place).expect("a resolver")
}

/// Applies batches until the CPU time is over; making the records is not counted.
fn slice(resolver: &mut TransformDriver, next: &mut usize, n_keys: usize, value: &str) -> f64 {
    let (mut busy, mut n_changes) = (Duration::ZERO, 0);
    while busy < SLICE {
        let batch: Vec<Record> = (0..BATCH).map(|i| record((*next + i) % n_keys, value)).collect();
        *next += BATCH;
        let started = own_cpu();
        let applied = resolver.apply(batch).expect("applied");
        busy += own_cpu() - started;
        assert!(applied.failed.is_empty() && applied.out.len() == BATCH, "every change is news");
        n_changes += BATCH;
    }
    n_changes as f64 / busy.as_secs_f64()
}

/// CPU time that this thread has taken so far: wall time would measure the machine's other work too.
fn own_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let ns = stat.split_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.expect("its first field is in nanoseconds"))
}

fn record(key: usize, value: &str) -> Record {
    let mut record = Record::new(format!(
        r#"{{"config_key":"app.database.key-{key}","new_value":"{value}","user_id":"eve","tenant_id":"acme"}}"#
    ));
    // As the source gives it: read once, by whoever asks first.
    record.change().expect("a change");
    record
}

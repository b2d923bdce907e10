//! How many changes a second one resolver takes in, through the adapter that a host calls, with its state in memory: alone,
//! and standing against others.
//!
//! `cargo bench -p lockstep-plugin-resolver --bench apply`, or some rows with `-- merge`, `-- text`. Each row runs by turns with a bare loop that does what nobody
//! can do without: it reads the texts as JSON, puts together what is shown, and writes it, and knows nothing of conflicts.
//!
//! A plugin is a `cdylib` and cannot be linked, so its source is compiled into the benchmark, and what it calls `crate` is
//! named here.
#![allow(unused, reason = "the plugin's tests are no part of the benchmark")]

#[path = "../../src/lib.rs"]
mod plugin;
#[path = "../../../../host/benches/measure/mod.rs"]
mod measure;

mod bare;
mod messages;
mod scene;

use plugin::*;

use measure::{Goal, own_cpu};
use messages::Edit;
use scene::{Authors, Meeting, Plain};
use std::time::Duration;

/// Single-sibling resolutions per second.
const GOAL: f64 = 200_000.0;

const SLICE: Duration = Duration::from_millis(300);
const N_SLICES: usize = 5;

/// Something that is measured: does some of it, and gives how much, and the CPU time that it took.
trait Work {
    fn some(&mut self) -> (usize, Duration);
}

impl<F: FnMut() -> (usize, Duration)> Work for F {
    fn some(&mut self) -> (usize, Duration) {
        self()
    }
}

fn main() {
    println!("{:<44}{:>12}{:>14}{:>8}", "", "per second", "bare", "ratio");
    for (what, n_keys, n_bytes) in [
        ("no conflict: one key, 100-byte values", 1, 100),
        ("no conflict: 1,000 keys, 100-byte values", 1000, 100),
        ("no conflict: 1,000 keys, 1,000-byte values", 1000, 1000),
    ] {
        row(what, Some(GOAL), Plain::new(n_keys, n_bytes), bare::copied(messages::plain(0, n_bytes)));
    }
    for (what, strategy) in [
        ("two siblings, the last write wins", "last_write_wins"),
        ("two siblings, the first write wins", "first_write_wins"),
    ] {
        let edit = Edit::Text { n_bytes: 100 };
        row(what, None, Meeting::of(strategy, edit, 2), bare::shown(edit, 2));
    }
    for (what, n_siblings) in
        [("merge of 100 fields, two siblings", 2), ("merge of 100 fields, four siblings", 4)]
    {
        let edit = Edit::Fields { n_fields: 100 };
        row(what, None, Meeting::of("merge_strategies", edit, n_siblings), bare::shown(edit, n_siblings));
    }
    let edit = Edit::Insert { n_bytes: 10_000 };
    let two = Meeting::of("operational_transform", edit, 2);
    row("10 kB of text, two hosts' operations", None, two, bare::shown(edit, 2));
    let hundred = Meeting::of("operational_transform", edit, 100);
    row("10 kB of text, the last of 100 hosts' operations", None, hundred, bare::shown(edit, 100));
    row("10 kB of text, 100 authors of one host", None, Authors::new(edit, 100), bare::one_by_one(edit, 100));
}

/// Measures both by turns and prints the best slice of each, if it was asked for.
fn row(what: &str, goal: Option<f64>, mut ours: impl Work, mut bare: impl Work) {
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if !asked.is_empty() && !asked.iter().any(|word| what.contains(word.as_str())) {
        return;
    }
    let mut best = [0.0_f64; 2];
    for _ in 0..N_SLICES {
        let slices = [slice(&mut ours), slice(&mut bare)];
        best = std::array::from_fn(|at| best[at].max(slices[at]));
    }
    let [ours, bare] = best;
    let goal = goal.map(|goal| Goal::at_least(ours, goal).to_string()).unwrap_or_default();
    println!("{what:<44}{ours:>12.0}{bare:>14.0}{:>8.2}   {goal}", ours / bare);
}

/// How much is done in a second.
fn slice(work: &mut impl Work) -> f64 {
    let (mut n_done, mut busy) = (0, Duration::ZERO);
    while busy < SLICE {
        let (n, time) = work.some();
        n_done += n;
        busy += time;
    }
    n_done as f64 / busy.as_secs_f64()
}

/// The CPU time that something takes.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = own_cpu();
    let done = work();
    (done, own_cpu() - started)
}

//! What the audit's entry of each change costs: the same commits through the log, with it and without it, by turns.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lockstep::audit::{Audit, AuditOptions, Author};
use lockstep::config::HostSettings;
use lockstep::log::{Log, LogOptions};
use lockstep::store::{Commit, Durability, Namespace, Store, StoreOptions};
use lockstep_plugin_api::{Change, Json, Record};

use crate::syscalls::writes;

/// Turns of each way, so that a loud neighbour disturbs both.
const N_TURNS: u32 = 10;

pub fn header() {
    println!("\nthe log: each commit is n changes of 200 B of value and n state puts of 256 B");
    println!(
        "{:<10} {:>6} {:>16} {:>16} {:>7} {:>14} {:>14}",
        "durability",
        "n",
        "plain changes/s",
        "audited changes/s",
        "ratio",
        "plain KiB/ch.",
        "audited KiB/ch."
    );
}

/// One way to write: a log of its own.
struct Way {
    log: Log,
    audit: Audit,
    n_changes: u64,
    n_written: u64,
    spent: Duration,
}

impl Way {
    fn new(dir: &Path, durability: Durability, with_changes: bool) -> Self {
        let store =
            Store::open(dir, StoreOptions { durability, ..StoreOptions::default() }).expect("a store");
        let settings = HostSettings::default();
        let options = AuditOptions { changes: with_changes, ..AuditOptions::new(&settings) };
        let audit = Audit::open(store.clone(), options).expect("an audit");
        let log = Log::open(store, LogOptions::new(&settings)).expect("a log");
        Self { log, audit, n_changes: 0, n_written: 0, spent: Duration::ZERO }
    }

    fn turn(&mut self, n_entries: u64, time: Duration) {
        let (before, start) = (writes(), Instant::now());
        while start.elapsed() < time {
            // Made outside the measured time, as the chain makes them.
            let records: Vec<_> = (0..n_entries).map(|n| record(self.n_changes + n)).collect();
            let commit_start = Instant::now();
            self.commit(records);
            self.spent += commit_start.elapsed();
            self.n_changes += n_entries;
        }
        self.n_written += writes().bytes - before.bytes;
    }

    fn commit(&self, mut records: Vec<Record>) {
        let mut commit = Commit::default();
        let author = Author { source: "websocket", operator: None };
        for (place, record) in records.iter_mut().enumerate() {
            let change = record.change().expect("a change");
            self.audit.add_change(&mut commit, change, place, &author);
            let key = change.config_key().as_bytes().to_vec();
            commit.puts.push((Namespace::State, key, vec![7; 256]));
        }
        self.audit.add(&mut commit, []);
        self.log.commit(commit, records).expect("committed");
    }

    fn per_second(&self) -> f64 {
        self.n_changes as f64 / self.spent.as_secs_f64()
    }

    fn kib_per_change(&self) -> f64 {
        self.n_written as f64 / 1024.0 / self.n_changes as f64
    }
}

/// A change as the resolver commits it.
fn record(number: u64) -> Record {
    let value = format!("\"{:0>198}\"", number);
    let mut change =
        Change::new(format!("app.service.{}", number % 100_000), Json::parse(&value).expect("JSON"));
    change.set_event_id(Some(format!("0190a000-0000-7000-8000-{number:012x}").into()));
    change.set_user_id(Some("ann".into()));
    change.set_source_node(Some("node-1".into()));
    change.set_timestamp_us(Some(1_700_000_000_000_000));
    change.set_dot(Some(Json::parse(&format!(r#"{{"node":"node-1@0190a","seq":{number}}}"#)).expect("JSON")));
    change.set_strategy(Some("last_write_wins".into()));
    Record::from_change(change)
}

pub fn compare(dir: &Path, time: Duration) {
    let interval = Durability::Interval(Duration::from_millis(10));
    for (name, durability) in [("commit", Durability::Commit), ("interval", interval)] {
        for n_entries in [1, 64, 1_000] {
            let (plain, audited) = (dir.join("plain"), dir.join("audited"));
            let mut ways = [Way::new(&plain, durability, false), Way::new(&audited, durability, true)];
            for _ in 0..N_TURNS {
                ways.iter_mut().for_each(|way| way.turn(n_entries, time / N_TURNS));
            }
            let [without, with] = &ways;
            println!(
                "{name:<10} {n_entries:>6} {:>16.0} {:>16.0} {:>7.3} {:>14.2} {:>14.2}",
                without.per_second(),
                with.per_second(),
                with.per_second() / without.per_second(),
                without.kib_per_change(),
                with.kib_per_change()
            );
            drop(ways);
            [plain, audited].iter().for_each(|dir| fs::remove_dir_all(dir).expect("remove"));
        }
    }
}

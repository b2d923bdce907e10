//! Resolvers at work: with changes that follow each other, with changes of several hosts, and with changes of several
//! authors of one host.

use crate::{
    Work,
    messages::{Edit, Round, plain},
    timed, transform,
};
use lockstep_plugin_api::{
    Record,
    testing::{self, MemoryHost, Place, TransformDriver},
};
use serde_json::json;
use std::time::Duration;

const BATCH: usize = 100;

fn resolver(config: &str) -> (TransformDriver, MemoryHost) {
    let host = MemoryHost::default();
    let place = Place { through_log: true, host: host.clone(), ..Place::default() };
    (testing::transform_at::<transform::Resolver>(config, &place).expect("a resolver"), host)
}

/// As the source gives it: read once, by whoever asks first.
fn record(text: String) -> Record {
    let mut record = Record::new(text);
    record.change().expect("a change");
    record
}

/// Applies a batch of news.
fn apply(resolver: &mut TransformDriver, batch: Vec<Record>) -> (Vec<Record>, Duration) {
    let n_changes = batch.len();
    let (applied, time) = timed(|| resolver.apply(batch).expect("applied"));
    assert!(applied.failed.is_empty() && applied.out.len() == n_changes, "every change is news");
    (applied.out, time)
}

/// Each change replaces the one before it.
pub struct Plain {
    resolver: TransformDriver,
    n_keys: usize,
    n_bytes: usize,
    next: usize,
}

impl Plain {
    pub fn new(n_keys: usize, n_bytes: usize) -> Self {
        Self { resolver: resolver("{}").0, n_keys, n_bytes, next: 0 }
    }
}

impl Work for Plain {
    fn some(&mut self) -> (usize, Duration) {
        let keys = (0..BATCH).map(|at| (self.next + at) % self.n_keys);
        let batch = keys.map(|key| record(plain(key, self.n_bytes))).collect();
        self.next += BATCH;
        (BATCH, apply(&mut self.resolver, batch).1)
    }
}

/// Rounds that a host in memory lives for: it keeps every notice and every audit entry.
const ROUNDS: u64 = 20;

/// Several hosts change every key of a batch; what is measured is the last of them.
pub struct Meeting {
    resolver: TransformDriver,
    round: Round,
    n_rounds: u64,
    n_hosts: usize,
    n_keys: usize,
}

impl Meeting {
    pub fn of(strategy: &'static str, edit: Edit, n_hosts: usize) -> Self {
        // With many hosts, what is not measured takes far longer than what is.
        let n_keys = if n_hosts > 10 { 1 } else { BATCH };
        let round = Round::of(strategy, edit, n_hosts);
        Self { resolver: resolver("{}").0, round, n_rounds: 0, n_hosts, n_keys }
    }
}

impl Work for Meeting {
    fn some(&mut self) -> (usize, Duration) {
        self.n_rounds += 1;
        if self.n_rounds.is_multiple_of(ROUNDS) {
            self.resolver = resolver("{}").0;
        }
        let mut last = Duration::ZERO;
        for host in 0..self.n_hosts {
            let batch = (0..self.n_keys).map(|key| record(self.round.message(host, key))).collect();
            last = apply(&mut self.resolver, batch).1;
        }
        self.round.next();
        (self.n_keys, last)
    }
}

/// Several authors of one host change a key, each with the same revision before it; all of them are measured.
pub struct Authors {
    edit: Edit,
    n_authors: usize,
}

impl Authors {
    pub fn new(edit: Edit, n_authors: usize) -> Self {
        Self { edit, n_authors }
    }
}

impl Work for Authors {
    fn some(&mut self) -> (usize, Duration) {
        let (mut resolver, host) = resolver(r#"{"strategy":"operational_transform"}"#);
        let before = format!(r#"{{"config_key":"app.text","new_value":{}}}"#, self.edit.before());
        let (first, _) = apply(&mut resolver, vec![record(before)]);
        let base = host.append(first);
        let mut busy = Duration::ZERO;
        for author in 0..self.n_authors {
            let ops = self.edit.by(author, 0).ops.expect("it is edited by operations");
            let change = format!(r#"{{"config_key":"app.text","ops":{ops},"base":{base}}}"#);
            let (entry, time) = apply(&mut resolver, vec![record(change)]);
            host.append(entry);
            busy += time;
        }
        (self.n_authors, busy)
    }
}

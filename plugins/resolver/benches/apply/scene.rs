//! Resolvers at work: with changes that follow each other, with changes of several hosts, and with changes of several
//! authors of one host.

use crate::{
    Work,
    messages::{Edit, Hosts, plain},
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

/// Several hosts change every key of a batch, none having heard of another; what is measured is the last of them.
pub struct Meeting {
    /// What the keys are after all of them but the last, as a host that has heard them says it.
    before: Vec<String>,
    last: Vec<String>,
}

impl Meeting {
    pub fn of(strategy: &'static str, edit: Edit, n_hosts: usize) -> Self {
        let n_keys = if n_hosts > 10 { 1 } else { BATCH };
        let hosts = Hosts::of(strategy, edit);
        let before = |key: usize| {
            let (mut resolver, _) = resolver("{}");
            let heard = (0..n_hosts - 1).map(|host| hosts.message(host, key));
            let last = heard.map(|text| apply(&mut resolver, vec![record(text)]).0).last();
            let value = last.expect("several hosts")[0].value().expect("an entry");
            String::from_utf8(value.to_vec()).expect("text")
        };
        let last = (0..n_keys).map(|key| hosts.message(n_hosts - 1, key)).collect();
        Self { before: (0..n_keys).map(before).collect(), last }
    }
}

impl Work for Meeting {
    fn some(&mut self) -> (usize, Duration) {
        let (mut resolver, _) = resolver("{}");
        let batch = |texts: &[String]| texts.iter().cloned().map(record).collect();
        apply(&mut resolver, batch(&self.before));
        (self.last.len(), apply(&mut resolver, batch(&self.last)).1)
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
            let ops = self.edit.by(author).ops.expect("it is edited by operations");
            let change = format!(r#"{{"config_key":"app.text","ops":{ops},"base":{base}}}"#);
            let (entry, time) = apply(&mut resolver, vec![record(change)]);
            host.append(entry);
            busy += time;
        }
        (self.n_authors, busy)
    }
}

//! This host's own numbers: its incarnation, the last number it gave to a change, its clock, and what it counted.
//!
//! They are state like any other and become true with the batch that used them: no number is ever given to a change that
//! was not committed, and none is given twice.

use crate::{
    clock::Hlc,
    encoding::{Reader, Unreadable, Writer},
};
use lockstep_plugin_api::{Bytes, Text, causality::Dot};
use std::time::Duration;
use uuid::Uuid;

/// How many characters of a random UUID an incarnation has.
const INCARNATION: usize = 12;

/// This host among all hosts, as the store remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `name@incarnation`.
    name: Text,
    /// The log that its changes are in; empty before the first.
    epoch: Text,
    /// The number of the last change that was taken in.
    seq: u64,
    hlc: Hlc,
    pub counts: Counts,
}

/// What has been counted since the state was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Changes that met a concurrent one.
    pub conflicts_detected: u64,
    /// Of these, how many a strategy decided.
    pub conflicts_resolved: u64,
    /// Keys of which only deletions are left.
    pub tombstones: u64,
    /// Entries in the contexts of all keys.
    pub context_entries: u64,
}

impl Node {
    /// A host that remembers nothing, under a new incarnation.
    pub fn new(node_id: &str) -> Self {
        let name = incarnation_of(node_id);
        Self { name, epoch: Text::from(""), seq: 0, hlc: Hlc::default(), counts: Counts::default() }
    }

    /// The same host in this log. Another log than before is what a power cut leaves that took changes with it which
    /// others may have seen: it goes on under a new incarnation, so that their dots are not given again.
    pub fn in_epoch(mut self, epoch: &Text, node_id: &str) -> Self {
        if self.epoch != *epoch {
            if !self.epoch.is_empty() {
                self.name = incarnation_of(node_id);
                self.seq = 0;
            }
            self.epoch = epoch.clone();
        }
        self
    }

    /// A new dot and stamp for a change that is made now.
    pub fn stamp(&mut self, now_ms: u64) -> (Dot, Hlc) {
        self.seq += 1;
        self.hlc = self.hlc.tick(now_ms);
        (Dot { node: self.name.clone(), seq: self.seq }, self.hlc)
    }

    /// Meets a stamp from elsewhere.
    pub fn meet(&mut self, other: Hlc, now_ms: u64, max_ahead: Duration) {
        self.hlc = self.hlc.merge(other, now_ms, max_ahead);
    }

    /// Meets a change that this host is said to have made. If it does not know it, its state is older than what others
    /// have seen of it: a restored or copied disk. It goes on under a new incarnation, so that no dot is given twice, and
    /// no new change is taken for one that somebody has seen and replaced.
    pub fn meet_own(&mut self, dot: &Dot, is_known: impl FnOnce() -> bool, node_id: &str) {
        if dot.node == self.name && (dot.seq > self.seq || !is_known()) {
            self.name = incarnation_of(node_id);
            self.seq = 0;
        }
    }

    /// The state as it lies in the store.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(self.name.len() + self.epoch.len() + 64);
        writer.text(&self.name);
        writer.text(&self.epoch);
        let counts = [
            self.counts.conflicts_detected,
            self.counts.conflicts_resolved,
            self.counts.tombstones,
            self.counts.context_entries,
        ];
        [self.seq, self.hlc.bits()].into_iter().chain(counts).for_each(|number| writer.number(number));
        writer.finish()
    }

    /// Reads what [`Node::encode`] wrote.
    ///
    /// # Errors
    /// [`Unreadable`] if another version wrote it, or it is damaged.
    pub fn decode(bytes: &Bytes) -> Result<Self, Unreadable> {
        let mut reader = Reader::new(bytes)?;
        Ok(Self {
            name: reader.text()?,
            epoch: reader.text()?,
            seq: reader.number()?,
            hlc: Hlc::from_bits(reader.number()?),
            counts: Counts {
                conflicts_detected: reader.number()?,
                conflicts_resolved: reader.number()?,
                tombstones: reader.number()?,
                context_entries: reader.number()?,
            },
        })
    }
}

fn incarnation_of(node_id: &str) -> Text {
    let random = Uuid::new_v4().simple().to_string();
    format!("{node_id}@{}", &random[..INCARNATION]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AHEAD: Duration = Duration::from_millis(500);

    #[test]
    fn numbers_and_clock_go_on_where_the_store_left_them() {
        let mut node = Node::new("eu-1");
        let (first, early) = node.stamp(1_000_000);
        node.counts.tombstones = 3;
        let mut again = Node::decode(&node.encode()).expect("readable");
        assert_eq!(again, node);
        let (second, late) = again.stamp(10);
        assert_eq!((second.node.clone(), second.seq), (first.node, 2));
        assert!(late > early, "the wall clock went back, the host's did not");
    }

    #[test]
    fn a_host_without_its_numbers_takes_a_new_incarnation() {
        let mut node = Node::new("eu-1");
        let other = Node::new("eu-1");
        assert_ne!(node.name, other.name);
        let (own, _) = node.stamp(1);
        let before = node.clone();
        node.meet_own(&own, || true, "eu-1");
        node.meet_own(&Dot { node: other.name.clone(), seq: 99 }, || false, "eu-1");
        assert_eq!(node, before, "what it knows, and what others made, is no reason");
        node.meet_own(&Dot { seq: own.seq + 1, ..own.clone() }, || false, "eu-1");
        assert_ne!(node.name, before.name);
        let mut copied = before.clone();
        copied.meet_own(&own, || false, "eu-1");
        assert_ne!(copied.name, before.name, "its number was given to a change that it does not know");
    }

    #[test]
    fn a_new_log_means_a_new_incarnation_and_the_same_clock() {
        let (one, other) = (Text::from("one"), Text::from("other"));
        let mut node = Node::new("eu-1").in_epoch(&one, "eu-1");
        let (first, early) = node.stamp(1_000_000);
        let read = |node: &Node| Node::decode(&node.encode()).expect("readable");
        assert_eq!(read(&node).in_epoch(&one, "eu-1"), node);
        let (second, late) = read(&node).in_epoch(&other, "eu-1").stamp(10);
        assert_ne!(second.node, first.node, "the first may have been seen, and is given to nothing else");
        assert!(late > early);
    }

    #[test]
    fn a_stamp_from_elsewhere_moves_the_clock_no_further_than_the_bound() {
        let mut node = Node::new("eu-1");
        node.meet(Hlc::at(3_600_000), 1000, AHEAD);
        assert!(node.stamp(1000).1.ms() <= 1501);
        assert!(node.stamp(1000).1 > Hlc::at(1500));
    }
}

//! Which messages of a connection may be acknowledged.
//!
//! Invariant: a message is acknowledged when it and everything before it is taken care of, and in the order the broker sent
//! them. A message that nobody took care of comes again on the next connection.

use crate::packet::Ack;
use std::collections::VecDeque;

/// The messages of one connection that are not acknowledged yet.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Oldest first; the first one has the number `n_forgotten + 1`.
    entries: VecDeque<Entry>,
    n_forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    ack: Option<Ack>,
    is_done: bool,
}

impl Ledger {
    /// Takes a message in and gives its number, counted from 1.
    pub(crate) fn add(&mut self, ack: Option<Ack>) -> u64 {
        self.entries.push_back(Entry { ack, is_done: false });
        self.n_forgotten + self.entries.len() as u64
    }

    /// Whether no message waits to be taken care of: the broker may hold back more until they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One message is taken care of.
    pub(crate) fn done(&mut self, number: u64) {
        if let Some(entry) =
            number.checked_sub(self.n_forgotten + 1).and_then(|at| self.entries.get_mut(at as usize))
        {
            entry.is_done = true;
        }
    }

    /// Every message up to this one is taken care of.
    pub(crate) fn done_through(&mut self, number: u64) {
        let n_done = number.saturating_sub(self.n_forgotten) as usize;
        self.entries.iter_mut().take(n_done).for_each(|entry| entry.is_done = true);
    }

    /// The acknowledgements that are due, in order; each is given once.
    pub(crate) fn take_due(&mut self, due: &mut Vec<Ack>) {
        while self.entries.front().is_some_and(|entry| entry.is_done) {
            let entry = self.entries.pop_front().expect("there is a front");
            self.n_forgotten += 1;
            due.extend(entry.ack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ack::{AtLeastOnce, ExactlyOnce};

    fn due(ledger: &mut Ledger) -> Vec<Ack> {
        let mut due = Vec::new();
        ledger.take_due(&mut due);
        due
    }

    #[test]
    fn acknowledgements_go_out_in_order_and_once() {
        let mut ledger = Ledger::default();
        let numbers = [Some(AtLeastOnce(7)), None, Some(ExactlyOnce(3)), Some(AtLeastOnce(8))]
            .map(|ack| ledger.add(ack));
        assert_eq!(numbers, [1, 2, 3, 4]);
        ledger.done(3);
        assert_eq!(due(&mut ledger), [], "two are before it");
        ledger.done_through(2);
        assert_eq!(due(&mut ledger), [AtLeastOnce(7), ExactlyOnce(3)]);
        ledger.done_through(2);
        ledger.done(1);
        assert_eq!(due(&mut ledger), []);
        ledger.done_through(99);
        assert_eq!(due(&mut ledger), [AtLeastOnce(8)]);
        assert!(ledger.is_empty());
        assert_eq!(ledger.add(None), 5);
        assert!(!ledger.is_empty());
    }
}

//! What was last said of locks, as far back as there is room for.
//!
//! Invariant: of too many locks the one is forgotten of which nothing was written for longest, and no other.

use crate::name::LockName;
use std::collections::{BTreeMap, HashMap};

/// How many locks are remembered.
pub const MOST: usize = 10_000;

/// Something about each of the last locks.
#[derive(Debug, Default)]
pub struct Recent<T> {
    of: HashMap<LockName, (u64, T)>,
    /// The locks in the order in which they were last written of.
    in_order: BTreeMap<u64, LockName>,
    n_writes: u64,
}

impl<T: Default> Recent<T> {
    pub fn get(&self, name: &LockName) -> Option<&T> {
        self.of.get(name).map(|(_, said)| said)
    }

    /// What is said of a lock, to be written.
    pub fn entry(&mut self, name: &LockName) -> &mut T {
        self.n_writes += 1;
        match self.of.get(name) {
            Some((written, _)) => drop(self.in_order.remove(written)),
            None if self.of.len() >= MOST => {
                let oldest = self.in_order.pop_first();
                drop(oldest.and_then(|(_, oldest)| self.of.remove(&oldest)));
            }
            None => {}
        }
        self.in_order.insert(self.n_writes, name.clone());
        let (written, said) = self.of.entry(name.clone()).or_default();
        *written = self.n_writes;
        said
    }
}

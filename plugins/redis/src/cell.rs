//! A cell of the cache: the newest state of one key, shared by every host that writes there.
//!
//! Invariant: a cell is replaced only by a state that knows everything the cell showed. What a cell shows and its writer
//! does not know goes the other way first: it is taken in like a record, and the state that knows both is written then.

use lockstep_plugin_api::{
    causality::{Dot, Shown},
    prelude::*,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

/// The script that compares and sets on the server.
pub(crate) const SCRIPT: &str = include_str!("cell.lua");

/// The SHA-1 of a cell. Nothing rests on its strength: it only tells whether a cell is the one that was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 20]);

impl Digest {
    pub(crate) fn of(cell: &[u8]) -> Self {
        Self(sha1_smol::Sha1::from(cell).digest().bytes())
    }

    /// As the server's `sha1hex` writes it.
    pub(crate) fn hex(&self) -> String {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).expect("a nibble is below 16");
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

/// What a cell shows, beside the state that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing that the state does not know: it may be replaced.
    Older,
    /// The same, in other words.
    Same,
    /// All of it and more.
    Newer,
    /// Something the state does not know, and not all of the state.
    Beside,
    /// The word of a program that knows no dots, or nothing that can be read.
    Foreign,
}

impl Finding {
    pub(crate) fn of(state: &Shown, cell: &[u8]) -> Self {
        let change = Change::from_json(&Bytes::copy_from_slice(cell));
        let Ok(Some(cell)) = change.and_then(|change| Shown::of(&change)) else { return Self::Foreign };
        match (state.covers(&cell), cell.covers(state)) {
            (true, true) => Self::Same,
            (true, false) => Self::Older,
            (false, true) => Self::Newer,
            (false, false) => Self::Beside,
        }
    }
}

impl Finding {
    /// Whether the stream may never have been told of a state that the cell knows and more: a host that died wrote the
    /// cell with a later one before it came to tell of either. Who gave one of the two its dot tells of it, perhaps again.
    pub(crate) fn leaves_untold(self, node: &str, author: Option<&str>, cell: &[u8]) -> bool {
        if self != Self::Newer {
            return false;
        }
        let is_own = |author: &str| author.rsplit_once('@').is_some_and(|(name, _)| name == node);
        let of_cell = Change::from_json(&Bytes::copy_from_slice(cell)).ok().as_ref().and_then(author_of);
        author.is_some_and(is_own) || of_cell.as_deref().is_some_and(is_own)
    }
}

/// Who gave a change its dot, as `name@incarnation`.
pub(crate) fn author_of(change: &Change) -> Option<Text> {
    serde_json::from_str::<Dot>(change.dot()?.as_str()).ok().map(|dot| dot.node)
}

/// A key of a tenant, as a number; another one in every process.
pub(crate) type KeyNumber = u64;

/// Makes numbers of keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyNumbers(RandomState);

impl KeyNumbers {
    pub(crate) fn of(&self, tenant: Option<&str>, key: &[u8]) -> KeyNumber {
        self.0.hash_one((tenant, key))
    }
}

/// The cells as they were seen last. Forgets what was not used for long: a cell that is not known here is read before it
/// is replaced, which costs one more round trip. Two keys with one number cost the same, for their cells differ.
#[derive(Debug)]
pub(crate) struct Seen<T = Digest> {
    young: HashMap<KeyNumber, T>,
    old: HashMap<KeyNumber, T>,
    most_young: usize,
}

impl<T: Copy> Seen<T> {
    /// Remembers at least `n_cells / 2` and at most `n_cells`.
    pub(crate) fn new(n_cells: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most_young: (n_cells / 2).max(1) }
    }

    pub(crate) fn get(&self, key: KeyNumber) -> Option<T> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    pub(crate) fn set(&mut self, key: KeyNumber, cell: T) {
        if self.young.len() >= self.most_young && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, cell);
    }
}

#[cfg(test)]
mod tests;

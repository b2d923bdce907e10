//! What one commit carries, and how its keys lie in the engine: one byte for the namespace, then the key.

use std::fmt;

use super::error::StoreError;

/// Longest key that is taken. A config key has at most 512 bytes; namespaces put names before it.
const MAX_KEY_BYTES: usize = 4 << 10;

/// Whose data it is. The numbers are on disk: they are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Namespace {
    /// The store's own: format and epoch. Also what the host keeps about itself (its node id).
    Meta = 1,
    /// How far each source has come, per lane.
    Positions = 2,
    /// Records that could not be delivered, with why.
    DeadLetters = 3,
    /// What components keep.
    State = 4,
}

/// What must hold for a commit to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub namespace: Namespace,
    pub key: Vec<u8>,
    pub expect: Expect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Value(Vec<u8>),
}

/// All of it becomes true, or nothing. Deletes come before puts: a key in both has the put's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    pub checks: Vec<Check>,
    pub puts: Vec<(Namespace, Vec<u8>, Vec<u8>)>,
    pub deletes: Vec<(Namespace, Vec<u8>)>,
}

impl Commit {
    pub fn check(mut self, namespace: Namespace, key: impl Into<Vec<u8>>, expect: Expect) -> Self {
        self.checks.push(Check { namespace, key: key.into(), expect });
        self
    }

    pub fn put(mut self, namespace: Namespace, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.puts.push((namespace, key.into(), value.into()));
        self
    }

    pub fn delete(mut self, namespace: Namespace, key: impl Into<Vec<u8>>) -> Self {
        self.deletes.push((namespace, key.into()));
        self
    }

    /// Bytes of keys and values: what it holds in the queue.
    pub(super) fn n_bytes(&self) -> usize {
        let checks = self.checks.iter().map(|check| check.key.len() + check.expect.n_bytes());
        let puts = self.puts.iter().map(|(_, key, value)| key.len() + value.len());
        let deletes = self.deletes.iter().map(|(_, key)| key.len());
        checks.chain(puts).chain(deletes).sum()
    }

    /// Refuses a key that the engine would cut off.
    pub(super) fn check_sizes(&self) -> Result<(), StoreError> {
        let checks = self.checks.iter().map(|check| &check.key);
        let puts = self.puts.iter().map(|(_, key, _)| key);
        let deletes = self.deletes.iter().map(|(_, key)| key);
        match checks.chain(puts).chain(deletes).map(Vec::len).max() {
            Some(n_bytes) if n_bytes > MAX_KEY_BYTES => {
                Err(StoreError::TooLarge { what: "key", n_bytes, limit: MAX_KEY_BYTES })
            }
            _ => Ok(()),
        }
    }
}

impl Expect {
    pub(super) fn holds(&self, found: Option<&[u8]>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Value(expected) => found == Some(expected),
        }
    }

    fn n_bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Value(value) => value.len(),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meta => "meta",
            Self::Positions => "position",
            Self::DeadLetters => "dead letter",
            Self::State => "state",
        })
    }
}

pub(super) fn stored_key(namespace: Namespace, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(namespace as u8);
    stored.extend_from_slice(key);
    stored
}

/// Keys are mostly text; what is not is shown escaped.
pub(super) fn printable(key: &[u8]) -> impl fmt::Display {
    key.escape_ascii()
}

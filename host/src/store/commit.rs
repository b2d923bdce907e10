//! What one commit carries, and how its keys lie in the engine: one byte for the namespace, then the key.

use std::fmt;

use lockstep_plugin_api::Bytes;

use super::chain::{AuditTrim, NewAudit};
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
    // 5 and 6 are the log's two indexes, which only the writer changes: see `entries.rs`.
    /// How far each sink has come in the log.
    Cursors = 7,
    /// Who did what. Only the writer changes it: see `chain.rs`.
    Audit = 8,
    /// Names that authors gave to their changes, so that a repeat is recognised.
    Seen = 9,
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
    /// Appended to the log in this order. Only the log makes them; its room knows what is in one.
    pub entries: Vec<NewEntry>,
    /// Keys whose value becomes the revision of an entry, by its place in `entries`.
    pub revisions: Vec<(Namespace, Vec<u8>, usize)>,
    /// Only the log's compaction asks for it.
    pub trim: Option<Trim>,
    /// Appended to the audit in this order.
    pub audit: Vec<NewAudit>,
    pub audit_trim: Option<AuditTrim>,
}

/// An entry that has no revision yet: the writer gives it the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// What it is the newest entry of; `None` for a notice, which is the newest of nothing.
    pub key: Option<Vec<u8>>,
    pub value: Bytes,
    /// It says that its key is gone. Only counted here.
    pub is_deletion: bool,
}

/// History that is given up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trim {
    /// History now begins after this revision; what was there before it and stays is what keys were then.
    pub passed: u64,
    /// Bytes of the entries that were passed, whether they stay or go.
    pub passed_bytes: u64,
    /// The entries that go. None of them may be the newest of its key.
    pub revisions: Vec<u64>,
    /// Bytes of the entries that go.
    pub bytes: u64,
}

/// What a commit has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The revision of its first entry, the others follow without a gap; 0 if it has none.
    pub first_revision: u64,
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
        let entries = self.entries.iter().map(NewEntry::n_bytes);
        let revisions = self.revisions.iter().map(|(_, key, _)| key.len() + size_of::<u64>());
        let audit = self.audit.iter().map(|new| new.entry.len());
        checks.chain(puts).chain(deletes).chain(entries).chain(revisions).chain(audit).sum()
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        let Self { checks: _, puts, deletes, entries, revisions: _, trim, audit, audit_trim } = self;
        let is_kept = puts.is_empty() && deletes.is_empty() && entries.is_empty() && audit.is_empty();
        is_kept && trim.is_none() && audit_trim.is_none()
    }

    /// Refuses a key that the engine would cut off.
    pub(super) fn check_sizes(&self) -> Result<(), StoreError> {
        let checks = self.checks.iter().map(|check| &check.key);
        let puts = self.puts.iter().map(|(_, key, _)| key);
        let deletes = self.deletes.iter().map(|(_, key)| key);
        let entries = self.entries.iter().filter_map(|entry| entry.key.as_ref());
        match checks.chain(puts).chain(deletes).chain(entries).map(Vec::len).max() {
            Some(n_bytes) if n_bytes > MAX_KEY_BYTES => {
                Err(StoreError::TooLarge { what: "key", n_bytes, limit: MAX_KEY_BYTES })
            }
            _ => Ok(()),
        }
    }
}

impl NewEntry {
    fn n_bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.value.len()
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

impl Namespace {
    /// Whose data a stored key is of; `None` for the log's own indexes.
    pub(super) fn of_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Meta,
            Self::Positions,
            Self::DeadLetters,
            Self::State,
            Self::Cursors,
            Self::Audit,
            Self::Seen,
        ];
        all.into_iter().find(|namespace| *namespace as u8 == byte)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Meta => "meta",
            Self::Positions => "position",
            Self::DeadLetters => "dead letter",
            Self::State => "state",
            Self::Cursors => "cursor",
            Self::Audit => "audit entry",
            Self::Seen => "idempotency key",
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

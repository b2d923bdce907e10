//! The log as components see it: where it stands, what a key was at some revision, and its entries once more.

use crate::{
    abi::vtable::{EntryAtParts, LogParts, ReplayedParts},
    record::Record,
};

/// Where a log stands. Revisions are compared only inside one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPosition {
    /// Which log it is, a UUID.
    pub epoch: String,
    /// The newest revision.
    pub head: u64,
    /// History is complete only after this revision; 0 if it is whole.
    pub compacted: u64,
}

/// What a key was at some revision.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "it is looked at and dropped, never kept")]
pub enum EntryAt {
    /// Its newest entry up to then.
    Entry(Record),
    /// It had none.
    Absent,
    /// History does not reach back that far.
    Compacted,
}

/// Which entries a replay gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Every entry.
    History,
    /// Only the newest entry of each key, deletions included, and no notices.
    Current,
}

/// A page of the log.
#[derive(Debug)]
pub struct Replayed {
    /// The entries, in revision order, as the sink's `when` and transforms leave them.
    pub records: Vec<Record>,
    /// Everything up to this revision is covered: ask for what comes after it next.
    pub through: u64,
    /// Whether that was the head of the log when the page was read.
    pub is_end: bool,
    /// The page starts where history is incomplete, up to this revision: some of what happened there is left out, but
    /// the newest entry of every key is not.
    pub compacted: Option<u64>,
}

impl From<LogParts> for LogPosition {
    fn from(parts: LogParts) -> Self {
        Self { epoch: parts.epoch.into(), head: parts.head, compacted: parts.compacted }
    }
}

impl From<EntryAtParts> for EntryAt {
    fn from(parts: EntryAtParts) -> Self {
        match parts.entry.into_option() {
            Some(entry) => Self::Entry(entry),
            None if parts.is_compacted => Self::Compacted,
            None => Self::Absent,
        }
    }
}

impl From<ReplayedParts> for Replayed {
    fn from(parts: ReplayedParts) -> Self {
        let compacted = parts.compacted.into_option();
        Self { records: parts.records.into(), through: parts.through, is_end: parts.is_end, compacted }
    }
}

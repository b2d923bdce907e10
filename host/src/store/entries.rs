//! The log's entries as they lie in the engine: keyed by revision, with two indexes and a tally.
//!
//! Invariant: entries, indexes and tally are written in one batch, so they always tell of the same moment. The tally
//! holds the newest revision, so that it is known even when every entry is gone.

use std::path::Path;

use super::commit::{Namespace, stored_key};
use super::error::StoreError;
use super::view::View;
use super::{Store, shared::Shared};

/// The first byte of the indexes' keys, beside those of [`Namespace`].
const KEYS: u8 = 5;
const CURRENT: u8 = 6;

const BAD_INDEX: &str = "an index of its log cannot be read";

const TALLY_KEY: &[u8] = b"log";
const TALLY_BYTES: usize = 8 * 8;

/// Before each entry's value: the revision of the same key's entry before it, and how many bytes that one has.
const HEADER_BYTES: usize = 8 + 4;

/// An entry with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    pub revision: u64,
    /// The revision of the same key's entry before this one, whether or not it is still there; 0 if there was none.
    pub previous: u64,
    /// What the entry before this one counts in the tally.
    pub previous_bytes: u32,
    bytes: Vec<u8>,
}

/// Entries of one moment, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryPage {
    pub entries: Vec<StoredEntry>,
    /// Nothing that may be shown is left after them.
    pub is_end: bool,
    /// As in the tally of that moment.
    pub compacted: u64,
    n_bytes: u64,
}

/// What the log holds, kept up to date with each commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The newest revision; 0 in a new store.
    pub head: u64,
    /// The newest revision that has been given up: history is complete after it.
    pub compacted: u64,
    /// Up to here only what keys were at this revision is kept.
    pub passed: u64,
    pub n_entries: u64,
    /// Bytes of all entries.
    pub n_bytes: u64,
    /// Bytes of the entries after `passed`.
    pub history_bytes: u64,
    /// Keys that have an entry.
    pub n_keys: u64,
    /// Keys whose newest entry is a deletion.
    pub n_deleted_keys: u64,
}

/// The newest entry of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    pub revision: u64,
    pub n_bytes: u32,
    pub is_deletion: bool,
}

/// How much a read may give: at least one entry, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// No entry after this revision.
    pub through: u64,
    pub records: usize,
    pub bytes: u64,
}

impl StoredEntry {
    pub fn value(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// What it counts in the tally.
    pub fn n_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn read(revision: u64, bytes: Vec<u8>) -> Option<Self> {
        let (previous, rest) = bytes.split_first_chunk()?;
        let (previous, previous_bytes) =
            (u64::from_be_bytes(*previous), u32::from_be_bytes(*rest.first_chunk()?));
        Some(Self { revision, previous, previous_bytes, bytes })
    }
}

/// An entry's bytes as they are stored, `previous` being the newest entry of its key before it.
pub(super) fn stored_entry(previous: Option<Newest>, value: &[u8]) -> Vec<u8> {
    let (revision, n_bytes) = previous.map_or((0, 0), |previous| (previous.revision, previous.n_bytes));
    [&revision.to_be_bytes()[..], &n_bytes.to_be_bytes(), value].concat()
}

/// How long [`stored_entry`] makes it.
pub(super) fn stored_bytes(value: &[u8]) -> u32 {
    u32::try_from(HEADER_BYTES + value.len()).expect("a commit is smaller than 4 GiB")
}

/// Where the newest entry of a key is found.
pub(super) fn newest_key(key: &[u8]) -> Vec<u8> {
    [&[KEYS], key].concat()
}

/// Where it is found that an entry is the newest of its key.
pub(super) fn current_key(revision: u64) -> Vec<u8> {
    [&[CURRENT][..], &revision.to_be_bytes()].concat()
}

pub(super) fn tally_key() -> Vec<u8> {
    stored_key(Namespace::Meta, TALLY_KEY)
}

impl Newest {
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.revision.to_be_bytes()[..], &self.n_bytes.to_be_bytes(), &[u8::from(self.is_deletion)]]
            .concat()
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (revision, rest) = bytes.split_first_chunk()?;
        let (n_bytes, flag) = rest.split_first_chunk()?;
        let (revision, n_bytes) = (u64::from_be_bytes(*revision), u32::from_be_bytes(*n_bytes));
        Some(Self { revision, n_bytes, is_deletion: flag == [1] })
    }
}

impl Tally {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let Self { head, compacted, passed, n_entries, n_bytes, history_bytes, n_keys, n_deleted_keys } =
            self;
        let numbers = [head, compacted, passed, n_entries, n_bytes, history_bytes, n_keys, n_deleted_keys];
        numbers.into_iter().flat_map(u64::to_be_bytes).collect()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TALLY_BYTES] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let [head, compacted, passed, n_entries, n_bytes, history_bytes, n_keys, n_deleted_keys] =
            <[u64; 8]>::try_from(numbers.iter().map(|it| u64::from_be_bytes(*it)).collect::<Vec<_>>())
                .ok()?;
        Some(Self { head, compacted, passed, n_entries, n_bytes, history_bytes, n_keys, n_deleted_keys })
    }

    /// Entries after `passed`.
    pub fn history_records(&self) -> u64 {
        self.head - self.passed
    }
}

/// The tally as it lies in the store of `dir`.
pub(super) fn load_tally(view: &View<'_>, dir: &Path) -> Result<Tally, StoreError> {
    let Some(bytes) = view.get(&tally_key())? else { return Ok(Tally::default()) };
    Tally::read(&bytes).ok_or_else(|| damaged(dir, "the tally of its log has another length"))
}

pub(super) fn damaged(dir: &Path, what: &'static str) -> StoreError {
    StoreError::Damaged { path: dir.to_path_buf(), what }
}

impl Store {
    /// What the log holds, as of the newest commit.
    pub fn tally(&self) -> Tally {
        self.handle.shared.tally()
    }

    /// Entries after revision `after`, in order.
    pub fn entries(&self, after: u64, limit: ReadLimit) -> Result<EntryPage, StoreError> {
        let shared = &self.handle.shared;
        shared.with_engine(|engine| {
            let view = engine.view();
            let mut page = shared.page(&view)?;
            for item in view.entries(after) {
                let (revision, bytes) = item?;
                if revision > limit.through {
                    break;
                }
                if !page.add(shared.stored(revision, bytes)?, limit) {
                    return Ok(page);
                }
            }
            Ok(EntryPage { is_end: true, ..page })
        })
    }

    /// Of the entries after revision `after`, those that are the newest of their key, in order.
    pub fn current_entries(&self, after: u64, limit: ReadLimit) -> Result<EntryPage, StoreError> {
        let shared = &self.handle.shared;
        shared.with_engine(|engine| {
            let view = engine.view();
            let mut page = shared.page(&view)?;
            for item in view.scan(&[CURRENT], &current_key(after)) {
                let (key, _) = item?;
                let revision = shared.revision_of(&key)?;
                if revision > limit.through {
                    break;
                }
                let bytes =
                    view.entry(revision)?.ok_or_else(|| shared.damaged("an indexed entry is gone"))?;
                if !page.add(shared.stored(revision, bytes)?, limit) {
                    return Ok(page);
                }
            }
            Ok(EntryPage { is_end: true, ..page })
        })
    }

    /// The entry with this revision, if it is there.
    pub fn entry(&self, revision: u64) -> Result<Option<StoredEntry>, StoreError> {
        let shared = &self.handle.shared;
        let bytes = shared.with_engine(|engine| engine.entry(revision))?;
        bytes.map(|bytes| shared.stored(revision, bytes)).transpose()
    }

    /// The revision of the newest entry of `key`.
    pub fn newest(&self, key: &[u8]) -> Result<Option<u64>, StoreError> {
        Ok(self.handle.shared.newest(key)?.map(|newest| newest.revision))
    }

    /// At most `limit` keys of the log that start with `prefix` and come after `after`, each with its newest revision;
    /// those whose newest entry is a deletion are left out.
    pub fn keys(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
        let shared = &self.handle.shared;
        let after = after.map_or_else(Vec::new, newest_key);
        shared.with_engine(|engine| {
            let (view, prefix) = (engine.view(), newest_key(prefix));
            let keys = view.scan(&prefix, &after).map(|item| {
                let (key, value) = item?;
                let newest = Newest::read(&value).ok_or_else(|| shared.damaged(BAD_INDEX))?;
                Ok((!newest.is_deletion).then(|| (key[1..].to_vec(), newest.revision)))
            });
            keys.filter_map(Result::transpose).take(limit).collect()
        })
    }
}

impl EntryPage {
    /// False if there is no room for it.
    fn add(&mut self, entry: StoredEntry, limit: ReadLimit) -> bool {
        self.n_bytes += entry.n_bytes();
        let has_room = self.entries.len() < limit.records && self.n_bytes <= limit.bytes;
        let takes = has_room || self.entries.is_empty();
        if takes {
            self.entries.push(entry);
        }
        takes
    }
}

impl Shared {
    /// The newest entry of `key`, as committed.
    pub fn newest(&self, key: &[u8]) -> Result<Option<Newest>, StoreError> {
        let Some(bytes) = self.get(&newest_key(key))? else { return Ok(None) };
        Newest::read(&bytes).map(Some).ok_or_else(|| self.damaged(BAD_INDEX))
    }

    fn page(&self, view: &View<'_>) -> Result<EntryPage, StoreError> {
        let compacted = load_tally(view, &self.dir)?.compacted;
        Ok(EntryPage { compacted, ..EntryPage::default() })
    }

    fn stored(&self, revision: u64, bytes: Vec<u8>) -> Result<StoredEntry, StoreError> {
        StoredEntry::read(revision, bytes).ok_or_else(|| self.damaged("an entry has no header"))
    }

    fn revision_of(&self, key: &[u8]) -> Result<u64, StoreError> {
        let revision = key.get(1..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        revision.ok_or_else(|| self.damaged(BAD_INDEX))
    }

    fn damaged(&self, what: &'static str) -> StoreError {
        damaged(&self.dir, what)
    }
}

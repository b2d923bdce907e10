//! Reading the log key by key: what there is, what a key was at some revision or moment, and what it was before.

use lockstep_plugin_api::Record;

use super::entry::{Head, log_key};
use super::{Log, Shared};
use crate::store::{StoreError, StoredEntry};

/// How far back a key's entries are followed one by one. Beyond it, what a key was is not told any more.
const MAX_STEPS: usize = 10_000;

/// What a key was at some revision.
#[derive(Debug, Clone)]
pub enum At {
    /// Its newest entry up to then.
    Entry(Record),
    /// It had none.
    Absent,
    /// History does not reach back that far, but to this revision of the key.
    Compacted { reaches_back_to: u64 },
}

/// Some of a key's entries, the newest first.
#[derive(Debug, Clone)]
pub struct KeyHistory {
    pub records: Vec<Record>,
    /// What is before the last of them.
    pub before: Before,
}

/// What is before some entry of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Further entries.
    More,
    /// Nothing: it was the key's first one.
    Nothing,
    /// Entries that history no longer holds.
    Compacted,
}

impl Log {
    /// The newest entry of a key, a deletion included.
    pub fn get(&self, tenant: Option<&str>, key: &str) -> Result<Option<Record>, StoreError> {
        match self.newest(tenant, key)? {
            Some(entry) => self.shared().record(&entry).map(Some),
            None => Ok(None),
        }
    }

    /// What a key was at some revision.
    pub fn entry_at(&self, tenant: Option<&str>, key: &str, revision: u64) -> Result<At, StoreError> {
        // Whoever has seen nothing needs no history.
        if revision == 0 {
            return Ok(At::Absent);
        }
        self.newest_that(tenant, key, |entry| Ok(entry.revision <= revision))
    }

    /// What a key was at some moment, in microseconds since 1970, by the clock that this host committed by.
    pub fn entry_at_time(&self, tenant: Option<&str>, key: &str, at_us: i64) -> Result<At, StoreError> {
        self.newest_that(tenant, key, |entry| {
            let head = Head::read(entry.value()).ok_or_else(|| self.shared().damaged())?;
            Ok(head.committed_at_us <= at_us)
        })
    }

    /// When an entry was committed, in microseconds since 1970, by the clock of this host; `None` if it is not there any more.
    pub fn committed_at(&self, revision: u64) -> Result<Option<i64>, StoreError> {
        let Some(entry) = self.shared().store.entry(revision)? else { return Ok(None) };
        let head = Head::read(entry.value()).ok_or_else(|| self.shared().damaged())?;
        Ok(Some(head.committed_at_us))
    }

    fn newest_that(
        &self,
        tenant: Option<&str>,
        key: &str,
        was_there: impl Fn(&StoredEntry) -> Result<bool, StoreError>,
    ) -> Result<At, StoreError> {
        let (mut next, mut reaches_back_to) = (self.newest(tenant, key)?, 0);
        for _ in 0..MAX_STEPS {
            let Some(entry) = next else { return Ok(At::Absent) };
            reaches_back_to = entry.revision;
            if was_there(&entry)? {
                return self.shared().record(&entry).map(At::Entry);
            }
            next = match self.shared().before(&entry)? {
                Some(before) => Some(before),
                None if entry.previous == 0 => None,
                None => break,
            };
        }
        Ok(At::Compacted { reaches_back_to })
    }

    /// The oldest entry of a key that is still there.
    pub fn reaches_back_to(&self, tenant: Option<&str>, key: &str) -> Result<Option<u64>, StoreError> {
        let (mut next, mut oldest) = (self.newest(tenant, key)?, None);
        for _ in 0..MAX_STEPS {
            let Some(entry) = next else { break };
            oldest = Some(entry.revision);
            next = self.shared().before(&entry)?;
        }
        Ok(oldest)
    }

    /// At most `limit` keys of a tenant, in order, with the revision of their newest entry; deleted ones are left out.
    pub fn keys(
        &self,
        tenant: Option<&str>,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let n_before = log_key(tenant, "").len();
        let after = after.map(|after| log_key(tenant, after));
        let found = self.shared().store.keys(&log_key(tenant, prefix), after.as_deref(), limit)?;
        let name = |key: &[u8]| String::from_utf8_lossy(&key[n_before..]).into_owned();
        Ok(found.into_iter().map(|(key, revision)| (name(&key), revision)).collect())
    }

    /// The entries of a key, newest first: at most `limit`, of those before revision `before` if it is given.
    pub fn history(
        &self,
        tenant: Option<&str>,
        key: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<KeyHistory, StoreError> {
        let before = before.unwrap_or(u64::MAX);
        let mut history = KeyHistory { records: Vec::new(), before: Before::Nothing };
        let mut next = self.newest_from(tenant, key, before)?;
        while let Some(entry) = next {
            if history.records.len() >= limit {
                return Ok(KeyHistory { before: Before::More, ..history });
            }
            if entry.revision < before {
                history.records.push(self.shared().record(&entry)?);
            }
            next = self.shared().before(&entry)?;
            if next.is_none() && entry.previous != 0 {
                history.before = Before::Compacted;
            }
        }
        Ok(history)
    }

    /// The entry `before` itself, where it is one of this key's, so that the next page does not start from the newest.
    fn newest_from(
        &self,
        tenant: Option<&str>,
        key: &str,
        before: u64,
    ) -> Result<Option<StoredEntry>, StoreError> {
        if let Some(entry) = self.shared().store.entry(before)? {
            let record = self.shared().record(&entry)?;
            let change = record.known_change().filter(|_| !record.is_notice());
            if change.is_some_and(|change| change.tenant_id() == tenant && change.config_key() == key) {
                return Ok(Some(entry));
            }
        }
        self.newest(tenant, key)
    }

    /// Between looking for it and reading it, it may be replaced and given up: then there is a newer one.
    fn newest(&self, tenant: Option<&str>, key: &str) -> Result<Option<StoredEntry>, StoreError> {
        let (store, key) = (&self.shared().store, log_key(tenant, key));
        loop {
            let Some(revision) = store.newest(&key)? else { return Ok(None) };
            if let Some(entry) = store.entry(revision)? {
                return Ok(Some(entry));
            }
        }
    }
}

impl Shared {
    fn before(&self, entry: &StoredEntry) -> Result<Option<StoredEntry>, StoreError> {
        match entry.previous {
            0 => Ok(None),
            previous => self.store.entry(previous),
        }
    }
}

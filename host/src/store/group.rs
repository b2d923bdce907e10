//! A group before it is written: commit by commit, each seeing what those before it will have changed.
//!
//! Invariant: a commit is staged whole or not at all, and neither a revision nor a number of the audit is
//! used up before its group was written.

use super::chain::{Chain, chain_key};
use super::commit::{Check, Commit, Committed, NewEntry, Trim, stored_key};
use super::engine::Changes;
use super::entries::{
    Newest, Tally, current_key, damaged, newest_key, stored_bytes, stored_entry, tally_key,
};
use super::error::StoreError;
use super::shared::Shared;

pub(super) struct Group<'a> {
    shared: &'a Shared,
    changes: Changes,
    before: Heads,
    tally: Tally,
    chain: Chain,
}

/// Where the log and the audit stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heads {
    pub tally: Tally,
    pub chain: Chain,
}

impl<'a> Group<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        let before = shared.heads();
        let Heads { tally, chain } = before;
        Self { shared, changes: Changes::default(), before, tally, chain }
    }

    /// Refused if a check fails, or if what it needs to know cannot be read.
    pub fn stage(&mut self, commit: Commit) -> Result<Committed, StoreError> {
        commit.checks.iter().try_for_each(|check| self.check(check))?;
        if commit.audit_trim.as_ref().is_some_and(|trim| !self.chain.reaches(trim)) {
            // Whoever asks has read it there. Taken for done, it would be asked for without end.
            return Err(damaged(&self.shared.dir, "an entry of its audit lies behind the head"));
        }
        let newest = commit.entries.iter().map(|entry| self.committed_newest(entry));
        let newest = newest.collect::<Result<Vec<_>, _>>()?;
        // Nothing fails from here on.
        for (namespace, key) in commit.deletes {
            self.changes.records.insert(stored_key(namespace, &key), None);
        }
        for (namespace, key, value) in commit.puts {
            self.changes.records.insert(stored_key(namespace, &key), Some(value));
        }
        let first_revision = if commit.entries.is_empty() { 0 } else { self.tally.head + 1 };
        for (namespace, key, entry) in commit.revisions {
            let revision = first_revision + entry as u64;
            self.changes.records.insert(stored_key(namespace, &key), Some(revision.to_be_bytes().to_vec()));
        }
        for (entry, newest) in commit.entries.into_iter().zip(newest) {
            self.append(entry, newest);
        }
        if let Some(trim) = commit.trim {
            self.trim(trim);
        }
        for new in commit.audit {
            self.chain.append(new, first_revision, &mut self.changes);
        }
        if let Some(trim) = commit.audit_trim {
            self.chain.trim(&trim, &mut self.changes);
        }
        Ok(Committed { first_revision })
    }

    /// What is to be written, and where log and audit stand after it.
    pub fn finish(mut self) -> (Changes, Heads) {
        if self.tally != self.before.tally {
            self.changes.records.insert(tally_key(), Some(self.tally.to_bytes()));
        }
        if self.chain != self.before.chain {
            self.changes.records.insert(chain_key(), Some(self.chain.to_bytes()));
        }
        (self.changes, Heads { tally: self.tally, chain: self.chain })
    }

    fn check(&self, check: &Check) -> Result<(), StoreError> {
        let key = stored_key(check.namespace, &check.key);
        let holds = match self.changes.records.get(&key) {
            Some(value) => check.expect.holds(value.as_deref()),
            None => check.expect.holds(self.shared.get(&key)?.as_deref()),
        };
        match holds {
            true => Ok(()),
            false => Err(StoreError::Conflict { namespace: check.namespace, key: check.key.clone() }),
        }
    }

    /// Before this group.
    fn committed_newest(&self, entry: &NewEntry) -> Result<Option<Newest>, StoreError> {
        match &entry.key {
            Some(key) if !self.changes.records.contains_key(&newest_key(key)) => self.shared.newest(key),
            _ => Ok(None),
        }
    }

    fn append(&mut self, entry: NewEntry, committed: Option<Newest>) {
        let revision = self.tally.head + 1;
        let n_bytes = stored_bytes(&entry.value);
        let newest = Newest { revision, n_bytes, is_deletion: entry.is_deletion };
        let previous = entry.key.and_then(|key| self.make_newest(&key, newest, committed));
        self.changes.entries.insert(revision, Some(stored_entry(previous, &entry.value)));
        self.tally.head = revision;
        self.tally.n_entries += 1;
        self.tally.n_bytes += u64::from(n_bytes);
        self.tally.history_bytes += u64::from(n_bytes);
    }

    /// Points the indexes at `newest`, and gives what was the newest before.
    fn make_newest(&mut self, key: &[u8], newest: Newest, committed: Option<Newest>) -> Option<Newest> {
        let staged = self.changes.records.insert(newest_key(key), Some(newest.to_bytes()));
        let before = staged.flatten().and_then(|bytes| Newest::read(&bytes)).or(committed);
        self.changes.records.insert(current_key(newest.revision), Some(Vec::new()));
        self.tally.n_deleted_keys += u64::from(newest.is_deletion);
        match before {
            None => self.tally.n_keys += 1,
            Some(before) => {
                self.tally.n_deleted_keys -= u64::from(before.is_deletion);
                self.changes.records.insert(current_key(before.revision), None);
            }
        }
        before
    }

    fn trim(&mut self, trim: Trim) {
        let tally = &mut self.tally;
        tally.passed = tally.passed.max(trim.passed);
        tally.compacted = trim.revisions.iter().copied().fold(tally.compacted, u64::max);
        tally.n_entries -= trim.revisions.len() as u64;
        tally.n_bytes -= trim.bytes;
        tally.history_bytes -= trim.passed_bytes;
        self.changes.entries.extend(trim.revisions.into_iter().map(|revision| (revision, None)));
    }
}

//! What a store must hold after some commits: the same rules once more, in memory and one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const EVERYTHING: ReadLimit = ReadLimit { through: u64::MAX, records: usize::MAX, bytes: u64::MAX };

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    pub values: BTreeMap<Vec<u8>, Arc<Vec<u8>>>,
    /// By revision, what was trimmed left out.
    entries: BTreeMap<u64, Arc<Entry>>,
    head: u64,
    compacted: u64,
    /// All that were ever written.
    audit: Vec<Arc<str>>,
    n_forgotten: u64,
}

#[derive(Debug, PartialEq)]
struct Entry {
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    is_deletion: bool,
}

impl Model {
    pub fn apply(&mut self, commit: &Commit) {
        for (_, key) in &commit.deletes {
            self.values.remove(key);
        }
        for (_, key, value) in &commit.puts {
            self.values.insert(key.clone(), Arc::new(value.clone()));
        }
        for NewAudit { entry, revision_of, .. } in &commit.audit {
            let revision = revision_of.map(|place| format!("\"revision\":{},", self.head + 1 + place as u64));
            let entry = entry.replacen('{', &format!("{{{}", revision.unwrap_or_default()), 1);
            self.audit.push(entry.into());
        }
        if let Some(trim) = &commit.audit_trim {
            self.n_forgotten = trim.through.number;
        }
        for NewEntry { key, value, is_deletion } in &commit.entries {
            self.head += 1;
            let entry = Entry { key: key.clone(), value: value.to_vec(), is_deletion: *is_deletion };
            self.entries.insert(self.head, Arc::new(entry));
        }
        for revision in commit.trim.iter().flat_map(|trim| &trim.revisions) {
            self.entries.remove(revision);
            self.compacted = self.compacted.max(*revision);
        }
    }

    /// The oldest entry that another one of its key has replaced, as what compaction would ask to have trimmed.
    pub fn replaced(&self, store: &Store) -> Option<Trim> {
        let newest: BTreeSet<u64> = self.newest().into_values().collect();
        let (revision, _) = self
            .entries
            .iter()
            .find(|(revision, entry)| entry.key.is_none() || !newest.contains(revision))?;
        let n_bytes = store.entry(*revision).expect("read").expect("it is there").n_bytes();
        let (passed, passed_bytes) = (store.tally().passed, 0);
        Some(Trim { passed, passed_bytes, revisions: vec![*revision], bytes: n_bytes })
    }

    /// The oldest entries of the audit, as what its retention would ask to have forgotten.
    pub fn oldest_audit(&self, store: &Store) -> Option<AuditTrim> {
        let page =
            store.audit_page(self.n_forgotten, AuditLimit { records: 3, bytes: usize::MAX }).expect("read");
        let records: Vec<_> = page.records.into_iter().filter_map(|(_, record)| record).collect();
        let n_bytes = records.iter().map(AuditRecord::n_bytes).sum();
        // Of commits that this state knows.
        let last = records.last().filter(|last| last.number <= self.audit.len() as u64)?;
        Some(AuditTrim { through: last.link(), n_bytes })
    }

    /// The audit is a chain of what was written, without a gap.
    fn check_audit(&self, store: &Store) -> Result<(), String> {
        let AuditPage { chain, records, .. } = store.audit_page(0, super::audit::ALL).expect("read");
        expect("the audit's anchor", &chain.anchor.number, &self.n_forgotten)?;
        let (mut last, mut n_bytes) = (chain.anchor, 0);
        for (number, record) in records {
            let record = record.ok_or("an entry of the audit cannot be read")?;
            expect("the audit's number", &number, &(last.number + 1))?;
            expect("the hash before", &record.previous, &last.hash)?;
            expect("the hash", &record.hash, &record.computed_hash())?;
            expect("the audit's entry", &*record.entry, &*self.audit[number as usize - 1])?;
            (last, n_bytes) = (record.link(), n_bytes + record.n_bytes());
        }
        expect("the audit's head", &(last, n_bytes), &(chain.head, chain.n_bytes))?;
        expect("the audit's end", &(last.number as usize), &self.audit.len())
    }

    fn newest(&self) -> BTreeMap<&[u8], u64> {
        let keyed =
            self.entries.iter().filter_map(|(revision, entry)| Some((entry.key.as_deref()?, *revision)));
        keyed.collect()
    }

    fn is_deletion(&self, revision: u64) -> bool {
        self.entries[&revision].is_deletion
    }

    /// Entries, indexes and tally tell the same.
    pub fn check_log(&self, store: &Store) -> Result<(), String> {
        self.check_audit(store)?;
        let found = store.entries(0, EVERYTHING).expect("read");
        let expected: Vec<_> =
            self.entries.iter().map(|(revision, entry)| (*revision, &entry.value[..])).collect();
        let entries: Vec<_> = found.entries.iter().map(|entry| (entry.revision, entry.value())).collect();
        expect("entries", &entries, &expected)?;
        let newest = self.newest();
        let current = store.current_entries(0, EVERYTHING).expect("read");
        let current: Vec<_> = current.entries.iter().map(|entry| entry.revision).collect();
        let mut revisions: Vec<_> = newest.values().copied().collect();
        revisions.sort_unstable();
        expect("current entries", &current, &revisions)?;
        let live = newest.iter().filter(|(_, revision)| !self.is_deletion(**revision));
        let live: Vec<_> = live.map(|(key, revision)| (key.to_vec(), *revision)).collect();
        expect("keys", &store.keys(b"", None, usize::MAX).expect("read"), &live)?;
        self.check_tally(store.tally(), &found.entries, revisions.len() - live.len())
    }

    fn check_tally(&self, tally: Tally, entries: &[StoredEntry], n_deleted: usize) -> Result<(), String> {
        let expected = Tally {
            head: self.head,
            compacted: self.compacted,
            n_entries: self.entries.len() as u64,
            n_bytes: entries.iter().map(StoredEntry::n_bytes).sum(),
            n_keys: self.newest().len() as u64,
            n_deleted_keys: n_deleted as u64,
            ..tally
        };
        expect("tally", &tally, &expected)
    }

    pub fn head(&self) -> u64 {
        self.head
    }
}

fn expect<T: std::fmt::Debug + PartialEq + ?Sized>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?} instead of {expected:?}")),
    }
}

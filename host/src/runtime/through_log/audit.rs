//! Who did what: entries of components that operators read, apart from the log, the newest 100,000 of them.

use crate::store::{Commit, Namespace, Store, StoreError};
use serde_json::value::RawValue;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many entries are kept.
const KEPT: u64 = 100_000;

/// The audit of this host. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    last_number: Arc<AtomicU64>,
}

/// An entry and its number, which grows.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    pub number: u64,
    pub entry: Box<RawValue>,
}

impl Audit {
    /// Goes on after the newest entry there is.
    pub fn open(store: Store) -> Result<Self, StoreError> {
        let mut last = store.get(Namespace::Meta, LAST_NUMBER_KEY)?.map_or(0, |bytes| number(&bytes));
        // What was committed after the number was, if anything.
        while let Some((key, _)) =
            store.scan(Namespace::Audit, b"", Some(&last.to_be_bytes()), 1000)?.into_iter().next_back()
        {
            last = number(&key);
        }
        Ok(Self { store, last_number: Arc::new(last.into()) })
    }

    /// Adds entries to a commit. If that is never made, their numbers stay unused.
    pub fn add(&self, commit: &mut Commit, entries: impl IntoIterator<Item = String>) {
        let mut last = None;
        for entry in entries {
            let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
            commit.puts.push((Namespace::Audit, key(number), entry.into_bytes()));
            if let Some(oldest) = number.checked_sub(KEPT).filter(|oldest| *oldest > 0) {
                commit.deletes.push((Namespace::Audit, key(oldest)));
            }
            last = Some(number);
        }
        if let Some(last) = last {
            commit.puts.push((Namespace::Meta, LAST_NUMBER_KEY.to_vec(), key(last)));
        }
    }

    /// At most `limit` entries before the one with this number, newest first.
    pub fn newest(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let newest = self.last_number.load(Ordering::Relaxed);
        let mut before = before.unwrap_or(u64::MAX).min(newest + 1);
        let mut found = Vec::new();
        // Numbers may be missing, so one step back may not be enough.
        while found.len() < limit && before > newest.saturating_sub(KEPT) + 1 {
            let after = before.saturating_sub(1 + PAGE as u64);
            let page = self.store.scan(Namespace::Audit, b"", Some(&key(after)), PAGE)?;
            let page = page.into_iter().map(|(key, value)| (number(&key), value));
            let page = page.take_while(|(number, _)| *number < before).collect::<Vec<_>>();
            found.extend(page.into_iter().rev().filter_map(|(number, value)| {
                let entry = RawValue::from_string(String::from_utf8(value).ok()?).ok()?;
                Some(AuditEntry { number, entry })
            }));
            before = after + 1;
            if after == 0 {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// How many entries are read at once.
const PAGE: usize = 1000;

const LAST_NUMBER_KEY: &[u8] = b"audit";

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    fn write(audit: &Audit, entries: &[&str]) {
        let mut commit = Commit::default();
        audit.add(&mut commit, entries.iter().map(|entry| format!("\"{entry}\"")));
        audit.store.commit(commit).expect("stored");
    }

    fn read(audit: &Audit, before: Option<u64>, limit: usize) -> Vec<(u64, String)> {
        let found = audit.newest(before, limit).expect("readable");
        found.into_iter().map(|found| (found.number, found.entry.get().to_owned())).collect()
    }

    #[test]
    fn entries_are_read_newest_first_and_numbered_on_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let store = Store::open(folder.path(), StoreOptions::default()).expect("a store");
            Audit::open(store).expect("readable")
        };
        let audit = open();
        write(&audit, &["a", "b"]);
        audit.add(&mut Commit::default(), ["never".to_owned()]);
        write(&audit, &["c"]);
        drop(audit);
        let audit = open();
        write(&audit, &["d"]);
        let text = |number, text: &str| (number, format!("\"{text}\""));
        assert_eq!(read(&audit, None, 2), [text(5, "d"), text(4, "c")]);
        assert_eq!(read(&audit, Some(4), 9), [text(2, "b"), text(1, "a")]);
    }

    #[test]
    fn the_oldest_entries_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), StoreOptions::default()).expect("a store");
        let audit = Audit::open(store).expect("readable");
        write(&audit, &["a", "b"]);
        audit.last_number.store(KEPT, Ordering::Relaxed);
        write(&audit, &["c"]);
        assert_eq!(read(&audit, None, 9), [(KEPT + 1, "\"c\"".to_owned()), (2, "\"b\"".to_owned())]);
    }
}

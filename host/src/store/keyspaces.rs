//! The engine's keyspaces: which key lies where.
//!
//! The log's entries and the audit are only appended, and each has a keyspace of its own: among keys of all kinds they would
//! be written again and again when the engine merges its tables.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::commit::Namespace;

const AUDIT: u8 = Namespace::Audit as u8;

/// Records that are moved at once.
const MOVED_AT_ONCE: usize = 1000;

pub(super) struct Keyspaces {
    /// By stored key, but for the audit's.
    pub records: Keyspace,
    /// The audit's records, by stored key.
    pub audit: Keyspace,
    /// The log's entries, by revision.
    pub entries: Keyspace,
}

impl Keyspaces {
    pub fn open(database: &Database, write_buffer_bytes: u64) -> fjall::Result<Self> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(write_buffer_bytes);
        let open = |name| database.keyspace(name, options);
        let keyspaces = Self { records: open("records")?, audit: open("audit")?, entries: open("entries")? };
        keyspaces.move_audit(database)?;
        Ok(keyspaces)
    }

    /// Where a record lies.
    pub fn of(&self, stored_key: &[u8]) -> &Keyspace {
        if stored_key.first() == Some(&AUDIT) { &self.audit } else { &self.records }
    }

    pub fn all(&self) -> [&Keyspace; 3] {
        [&self.records, &self.audit, &self.entries]
    }

    /// Earlier hosts kept the audit among the other records.
    fn move_audit(&self, database: &Database) -> fjall::Result<()> {
        loop {
            let found = self.records.prefix([AUDIT]).take(MOVED_AT_ONCE);
            let found = found.map(|item| item.into_inner()).collect::<fjall::Result<Vec<_>>>()?;
            if found.is_empty() {
                return Ok(());
            }
            let mut batch = database.batch().durability(Some(PersistMode::SyncData));
            for (key, stored) in found {
                batch.insert(&self.audit, key.clone(), stored);
                batch.remove(&self.records, key);
            }
            batch.commit()?;
        }
    }
}

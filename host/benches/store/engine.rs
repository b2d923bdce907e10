//! The engines that were compared, each used as the store would use it: one atomic, durable commit per group.

use std::path::Path;

use crate::workload::Group;

pub trait Engine: Sized {
    const NAME: &'static str;

    fn open(dir: &Path) -> Self;
    fn commit(&mut self, group: &Group);
    /// The value of the last revision and the number of kept entries, by a scan: what reopening must find.
    fn history(&self) -> (u64, u64);
    fn get_state(&self, key: &[u8]) -> Option<Vec<u8>>;
}

/// One B-tree file. `QUICK` saves the allocator with each commit, so that reopening after a kill walks nothing.
pub struct Redb<const QUICK: bool> {
    database: redb::Database,
}

const ENTRIES: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("entries");
const STATE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("state");
const POSITIONS: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("positions");

impl<const QUICK: bool> Engine for Redb<QUICK> {
    const NAME: &'static str = if QUICK { "redb, quick repair" } else { "redb" };

    fn open(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the benchmark's folder can be made");
        let database = redb::Database::builder()
            .set_cache_size(64 << 20)
            .create(dir.join("store.redb"))
            .expect("redb opens");
        Self { database }
    }

    fn commit(&mut self, group: &Group) {
        let mut transaction = self.database.begin_write().expect("redb begins");
        transaction.set_quick_repair(QUICK);
        {
            let mut entries = transaction.open_table(ENTRIES).expect("entries");
            for (revision, entry) in (group.first_revision..).zip(&group.entries) {
                entries.insert(revision, entry.as_slice()).expect("insert");
            }
            for revision in group.expired.clone() {
                entries.remove(revision).expect("remove");
            }
            let mut state = transaction.open_table(STATE).expect("state");
            for (key, value) in &group.state {
                state.insert(key.as_slice(), value.as_slice()).expect("insert");
            }
            let mut positions = transaction.open_table(POSITIONS).expect("positions");
            positions.insert(b"source/0".as_slice(), group.position.as_slice()).expect("insert");
        }
        transaction.commit().expect("redb commits");
    }

    fn history(&self) -> (u64, u64) {
        use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};
        let entries = self.database.begin_read().expect("read").open_table(ENTRIES).expect("entries");
        let last = entries.last().expect("last").map_or(0, |(revision, _)| revision.value());
        (last, entries.len().expect("len"))
    }

    fn get_state(&self, key: &[u8]) -> Option<Vec<u8>> {
        use redb::ReadableDatabase;
        let state = self.database.begin_read().expect("read").open_table(STATE).expect("state");
        state.get(key).expect("get").map(|value| value.value().to_vec())
    }
}

/// A log-structured merge tree with one journal. Small write buffers, so that reopening replays little.
pub struct Fjall {
    database: fjall::Database,
    entries: fjall::Keyspace,
    state: fjall::Keyspace,
    positions: fjall::Keyspace,
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";

    fn open(dir: &Path) -> Self {
        let database = fjall::Database::builder(dir)
            .cache_size(64 << 20)
            .max_journaling_size(64 << 20)
            .open()
            .expect("fjall opens");
        let keyspace = |name| {
            database
                .keyspace(name, || fjall::KeyspaceCreateOptions::default().max_memtable_size(16 << 20))
                .expect("keyspace")
        };
        let (entries, state, positions) = (keyspace("entries"), keyspace("state"), keyspace("positions"));
        Self { database, entries, state, positions }
    }

    fn commit(&mut self, group: &Group) {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for (revision, entry) in (group.first_revision..).zip(&group.entries) {
            batch.insert(&self.entries, revision.to_be_bytes(), entry.as_slice());
        }
        for revision in group.expired.clone() {
            batch.remove(&self.entries, revision.to_be_bytes());
        }
        for (key, value) in &group.state {
            batch.insert(&self.state, key.as_slice(), value.as_slice());
        }
        batch.insert(&self.positions, "source/0", group.position.as_slice());
        batch.commit().expect("fjall commits");
    }

    fn history(&self) -> (u64, u64) {
        let (mut last, mut n_entries) = (0, 0);
        for guard in self.entries.iter() {
            let key = guard.key().expect("key");
            last = u64::from_be_bytes(key.as_ref().try_into().expect("eight bytes"));
            n_entries += 1;
        }
        (last, n_entries)
    }

    fn get_state(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.state.get(key).expect("get").map(|value| value.to_vec())
    }
}

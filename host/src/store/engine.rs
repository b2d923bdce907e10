//! The one file that knows fjall: a log-structured merge tree with a journal, opened, written and read.
//!
//! Chosen over redb by `benches/store`: two to four times the commits per second from groups of 1 to 1,000, a quarter
//! to a tenth of the bytes written. It takes longer to open after a crash (0.2-0.4 s), for it replays its journal.
//!
//! What it leaves to us, each found by a test of this room: it does not sync that its folders are there, refuses a
//! journal whose last batch a power cut has torn, stops for good when the disk is full, and may then wait forever.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::KeyValue;
use super::error::{StoreError, is_disk_full};
use super::journal;

/// The engine's folder inside the data folder.
pub(super) const FOLDER: &str = "store";

/// Where the engine makes a folder per keyspace.
const KEYSPACES_FOLDER: &str = "keyspaces";

/// What a group leaves behind per stored key: a value, or `None` where it was deleted.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Small enough that reopening replays little, large enough that a burst is not held up by the flush before it.
const WRITE_BUFFER_BYTES: u64 = 16 << 20;

/// The engine's own limits are 4 and 20, and there it waits for its worker even if that has died: stay below.
const MAX_FULL_BUFFERS: usize = 3;
const MAX_YOUNG_TABLES: usize = 19;

#[derive(Debug, Clone, Copy)]
pub(super) struct EngineOptions {
    cache_bytes: u64,
    write_buffer_bytes: u64,
    sync: PersistMode,
}

pub(super) struct Engine {
    database: Database,
    records: Keyspace,
    sync: PersistMode,
}

/// Why a write did not happen, as far as what to do next differs.
pub(super) enum WriteFailure {
    /// The write itself failed: a part of it may lie in the journal.
    Write(fjall::Error),
    /// Nothing of it was written, because something had failed before.
    Refused,
}

impl EngineOptions {
    pub fn new(cache_bytes: u64) -> Self {
        Self { cache_bytes, write_buffer_bytes: WRITE_BUFFER_BYTES, sync: PersistMode::SyncData }
    }

    /// The negative control of the power cut test: the same store with its sync call taken out.
    #[cfg(test)]
    pub fn without_sync(self) -> Self {
        Self { sync: PersistMode::Buffer, ..self }
    }

    /// A test does not want to write megabytes to see a flush.
    #[cfg(test)]
    pub fn with_write_buffer(self, write_buffer_bytes: u64) -> Self {
        Self { write_buffer_bytes, ..self }
    }
}

impl Engine {
    pub fn open(dir: &Path, options: EngineOptions) -> Result<Self, StoreError> {
        let path = dir.join(FOLDER);
        let engine = match Self::try_open(&path, options) {
            Err(refusal @ fjall::Error::JournalRecovery(_)) => {
                Self::open_without_torn_end(&path, options, refusal)
            }
            opened => opened.map_err(|error| engine_error("open its files", &path, error)),
        }?;
        // The engine syncs what it puts into a new folder, but not that these new folders are there.
        for folder in [dir, &path.join(KEYSPACES_FOLDER)] {
            sync_folder(folder).map_err(|error| StoreError::io("sync", folder, error))?;
        }
        Ok(engine)
    }

    /// `refusal` is how the engine refused the journal as it is.
    fn open_without_torn_end(
        path: &Path,
        options: EngineOptions,
        refusal: fjall::Error,
    ) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io("mend the journal in", path, error);
        if let Some(cut) = journal::cut_last_batch(path).map_err(failed)? {
            match Self::try_open(path, options) {
                Ok(engine) => return Ok(engine),
                Err(_) => cut.put_back().map_err(failed)?,
            }
        }
        Err(engine_error("open its files", path, refusal))
    }

    fn try_open(path: &Path, options: EngineOptions) -> fjall::Result<Self> {
        let database =
            Database::builder(path).cache_size(options.cache_bytes).max_journaling_size(64 << 20).open()?;
        let records = database.keyspace("records", || {
            KeyspaceCreateOptions::default().max_memtable_size(options.write_buffer_bytes)
        })?;
        Ok(Self { database, records, sync: options.sync })
    }

    /// Writes all of `changes` and syncs them to the disk, then lets readers see them.
    pub fn write(&self, changes: &Changes) -> Result<(), WriteFailure> {
        self.wait_for_flush()?;
        let mut batch = self.database.batch().durability(Some(self.sync));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.records, key.as_slice(), value.as_slice()),
                None => batch.remove(&self.records, key.as_slice()),
            }
        }
        batch.commit().map_err(|error| match error {
            fjall::Error::Poisoned => WriteFailure::Refused,
            error => WriteFailure::Write(error),
        })
    }

    /// Where the engine would wait without end for a worker that has died of a full disk, this notices.
    fn wait_for_flush(&self) -> Result<(), WriteFailure> {
        while self.records.tree.sealed_memtable_count() >= MAX_FULL_BUFFERS
            || self.records.tree.l0_run_count() >= MAX_YOUNG_TABLES
        {
            self.database.persist(PersistMode::Buffer).map_err(|_| WriteFailure::Refused)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.records.get(key).map_err(read_error)?;
        Ok(found.map(|value| value.to_vec()))
    }

    /// Keys of `prefix` after `after`, with their values, of one moment.
    pub fn scan(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let start = if after < prefix { Included(prefix) } else { Excluded(after) };
        let snapshot = self.database.snapshot();
        let mut found = Vec::new();
        for item in snapshot.range::<&[u8], _>(&self.records, (start, Unbounded)).take(limit) {
            let (key, value) = item.into_inner().map_err(read_error)?;
            if !key.starts_with(prefix) {
                break;
            }
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
    }
}

/// Whether `error` has a full disk at its root.
pub(super) fn is_full(error: &fjall::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(is_disk_full) {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) fn engine_error(action: &'static str, path: &Path, error: fjall::Error) -> StoreError {
    match is_full(&error) {
        true => StoreError::DiskFull { path: PathBuf::from(path) },
        false => StoreError::Engine { action, source: Arc::new(error) },
    }
}

fn read_error(error: fjall::Error) -> StoreError {
    StoreError::Engine { action: "read", source: Arc::new(error) }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

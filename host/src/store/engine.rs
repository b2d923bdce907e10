//! fjall, which no other room knows: a log-structured merge tree with a journal, opened, written and read.
//!
//! Chosen over redb by `benches/store`: two to four times the commits per second from groups of 1 to 1,000, a quarter
//! to a tenth of the bytes written. It takes longer to open after a crash (0.2-0.4 s), for it replays its journal.
//!
//! What it leaves to us, each found by a test of this room: it does not sync that its folders are there, refuses a
//! journal whose last batch a power cut has torn, stops for good when the disk is full, and may then wait forever.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fjall::{AbstractTree, Database, Keyspace, PersistMode, UserValue};

use super::KeyValue;
use super::error::{StoreError, is_disk_full};
use super::journal::{self, CutEnd};
use super::keyspaces::Keyspaces;
use super::later_sync;
use super::sealing::Form;
use super::sync_folder;
use super::unfinished;

/// Where the engine makes a folder per keyspace.
const KEYSPACES_FOLDER: &str = "keyspaces";

/// What a group leaves behind: a value, or `None` where it was deleted.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Per stored key.
    pub records: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The log's entries, per revision.
    pub entries: BTreeMap<u64, Option<Vec<u8>>>,
}

/// Small enough that reopening replays little, large enough that a burst is not held up by the flush before it.
/// There is one per keyspace.
const WRITE_BUFFER_BYTES: u64 = 8 << 20;

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
    pub database: Database,
    pub keyspaces: Keyspaces,
    /// How values lie in it: nobody outside sees a sealed one.
    pub form: Form,
    sync: PersistMode,
}

/// A value, opened, if there is one.
pub(super) type Found = Result<Option<Vec<u8>>, StoreError>;

/// Why a write did not happen, as far as what to do next differs.
pub(super) enum WriteFailure {
    /// The write itself failed: a part of it may lie in the journal.
    Write(fjall::Error),
    /// Nothing of it was begun, for it could not be sealed; the engine has not failed.
    Unsealed(io::Error),
    /// Nothing of it was written, because something had failed before.
    Refused,
}

impl EngineOptions {
    pub fn new(cache_bytes: u64) -> Self {
        Self { cache_bytes, write_buffer_bytes: WRITE_BUFFER_BYTES, sync: PersistMode::SyncData }
    }

    /// A write is only handed to the operating system; [`Engine::sync`] is called in time.
    pub fn with_later_sync(self) -> Self {
        Self { sync: PersistMode::Buffer, ..self }
    }

    /// Every write is synced.
    pub fn synced(self) -> Self {
        Self { sync: PersistMode::SyncData, ..self }
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
    pub fn open(dir: &Path, form: Form, options: EngineOptions) -> Result<Self, StoreError> {
        let path = dir.join(form.folder());
        let marker = later_sync::path(dir);
        unfinished::take_away(&path).map_err(|error| StoreError::io("make", &path, error))?;
        let engine = match Self::try_open(&path, &form, options) {
            Err(refusal @ fjall::Error::JournalRecovery(_)) => {
                let cut =
                    if marker.exists() { journal::cut_unsynced_batches } else { journal::cut_last_batch };
                Self::open_without_torn_end(&path, &form, options, refusal, cut)
            }
            opened => opened.map_err(|error| engine_error("open its files", &path, error)),
        }?;
        // What the marker says must not be forgotten before it was heeded.
        if !later_sync::may_have_lost(dir) {
            engine.mark_sync(dir)?;
        }
        // The engine syncs what it puts into a new folder, but not that these new folders are there.
        for folder in [dir, &path.join(KEYSPACES_FOLDER)] {
            sync_folder(folder).map_err(|error| StoreError::io("sync", folder, error))?;
        }
        Ok(engine)
    }

    /// Leaves the marker as it has to be from the first write on; what was written before is synced, if it is to go.
    pub fn mark_sync(&self, dir: &Path) -> Result<(), StoreError> {
        let marker = later_sync::path(dir);
        let marked = match self.sync {
            // Written anew it would be empty for a moment, and on a full disk for longer.
            PersistMode::Buffer if marker.exists() && !later_sync::may_have_lost(dir) => Ok(()),
            PersistMode::Buffer => later_sync::set(dir),
            _ if !marker.exists() => Ok(()),
            _ => self.forget_later_sync(dir),
        };
        marked.map_err(|error| StoreError::io("mark how to sync", dir, error))
    }

    /// Syncs everything, and says so.
    pub fn forget_later_sync(&self, dir: &Path) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(io::Error::other)?;
        later_sync::take_away(dir)
    }

    /// `refusal` is how the engine refused the journal as it is.
    fn open_without_torn_end(
        path: &Path,
        form: &Form,
        options: EngineOptions,
        refusal: fjall::Error,
        cut: impl Fn(&Path) -> io::Result<Option<CutEnd>>,
    ) -> Result<Self, StoreError> {
        let failed = |error| StoreError::io("mend the journal in", path, error);
        if let Some(cut) = cut(path).map_err(failed)? {
            match Self::try_open(path, form, options) {
                Ok(engine) => return Ok(engine),
                Err(_) => cut.put_back().map_err(failed)?,
            }
        }
        Err(engine_error("open its files", path, refusal))
    }

    fn try_open(path: &Path, form: &Form, options: EngineOptions) -> fjall::Result<Self> {
        let database =
            Database::builder(path).cache_size(options.cache_bytes).max_journaling_size(64 << 20).open()?;
        let keyspaces = Keyspaces::open(&database, options.write_buffer_bytes)?;
        Ok(Self { database, keyspaces, form: form.clone(), sync: options.sync })
    }

    /// Writes all of `changes` and, unless that is left for later, syncs them to the disk; then lets readers see them.
    pub fn write(&self, changes: &Changes) -> Result<(), WriteFailure> {
        self.wait_for_flush()?;
        let mut sealer = self.form.sealer(changes.lengths()).map_err(WriteFailure::Unsealed)?;
        let mut batch = self.database.batch().durability(Some(self.sync));
        for (key, value) in &changes.records {
            match value {
                Some(value) => {
                    let sealed = sealer.seal(key, value).map_err(WriteFailure::Unsealed)?;
                    batch.insert(self.keyspaces.of(key), key.as_slice(), sealed);
                }
                None => batch.remove(self.keyspaces.of(key), key.as_slice()),
            }
        }
        for (revision, value) in &changes.entries {
            let key = revision.to_be_bytes();
            match value {
                Some(value) => {
                    let sealed = sealer.seal(&key, value).map_err(WriteFailure::Unsealed)?;
                    batch.insert(&self.keyspaces.entries, key, sealed);
                }
                None => batch.remove(&self.keyspaces.entries, key),
            }
        }
        batch.commit().map_err(WriteFailure::new)
    }

    /// Syncs what was written and left for later.
    pub fn sync(&self) -> Result<(), WriteFailure> {
        self.database.persist(PersistMode::SyncData).map_err(WriteFailure::new)
    }

    /// Where the engine would wait without end for a worker that has died of a full disk, this notices.
    fn wait_for_flush(&self) -> Result<(), WriteFailure> {
        let is_behind = |keyspace: &Keyspace| {
            keyspace.tree.sealed_memtable_count() >= MAX_FULL_BUFFERS
                || keyspace.tree.l0_run_count() >= MAX_YOUNG_TABLES
        };
        while self.keyspaces.all().into_iter().any(is_behind) {
            self.database.persist(PersistMode::Buffer).map_err(|_| WriteFailure::Refused)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub fn get(&self, key: &[u8]) -> Found {
        self.opened(key, self.keyspaces.of(key).get(key))
    }

    /// The entry with this revision, as it is stored.
    pub fn entry(&self, revision: u64) -> Found {
        let key = revision.to_be_bytes();
        self.opened(&key, self.keyspaces.entries.get(key))
    }

    /// What was found under `key`.
    pub fn opened(&self, key: &[u8], found: fjall::Result<Option<UserValue>>) -> Found {
        found.map_err(read_error)?.map(|stored| self.form.open(key, &stored)).transpose()
    }

    /// Keys of `prefix` after `after`, with their values, of one moment.
    pub fn scan(&self, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<KeyValue>, StoreError> {
        self.view().scan(prefix, after).take(limit).collect()
    }
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.entries.is_empty()
    }

    /// Of every value that is written.
    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.records.values().chain(self.entries.values()).flatten().map(Vec::len)
    }
}

impl WriteFailure {
    fn new(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Poisoned => Self::Refused,
            error => Self::Write(error),
        }
    }

    /// Where nothing is done about it but to tell.
    pub fn into_error(self, dir: &Path) -> StoreError {
        match self {
            Self::Write(error) => engine_error("write", dir, error),
            Self::Unsealed(error) => StoreError::io("seal values for", dir, error),
            Self::Refused => StoreError::Unavailable,
        }
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

pub(super) fn read_error(error: fjall::Error) -> StoreError {
    StoreError::Engine { action: "read", source: Arc::new(error) }
}

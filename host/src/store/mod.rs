//! The embedded store of one host: what must survive a crash, in one place, changed by atomic commits.
//!
//! Invariant: a commit is answered only after its fsync, unless `durability: interval` was asked for, and nobody reads
//! what has not been answered for yet.
//!
//! ```text
//! commit, submit ─► queue (bounded) ─► the one writer: checks, one batch, one fsync ─► answers
//! get, scan ──────────────────────────────────────────────► engine (committed data only)
//! ```
//! Records lie under their [`Namespace`] and key, the log's entries under the revision that the writer gives them: in
//! keyspaces of the engine that are written in one batch (`keyspaces.rs`).
//!
//! Values are sealed between the writer and the engine, if `state.encryption` asks for it: `sealing/`.

mod audit_page;
mod chain;
mod commit;
mod engine;
mod entries;
mod error;
mod group;
mod journal;
mod keyspaces;
mod later_sync;
mod lock;
mod queue;
mod resealing;
mod sealing;
mod shared;
mod unfinished;
mod view;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use uuid::Uuid;

pub use audit_page::{AuditLimit, AuditPage};
pub use chain::{AuditRecord, AuditTrim, Chain, Hash, Link, NewAudit, hex, unhex};
pub use commit::{Check, Commit, Committed, Expect, Namespace, NewEntry, Trim};
pub use entries::{EntryPage, ReadLimit, StoredEntry, Tally};
pub use error::StoreError;
#[cfg(test)]
pub(crate) use sealing::write_key;
pub use sealing::{KeyProblem, KeySource, SealingError, SealingKey, SealingOptions, SealingStatus, Wanted};
pub use shared::{Counts, Health};

use commit::stored_key;
use engine::EngineOptions;
use lock::DirLock;
use queue::Queue;
use shared::Shared;
use writer::Writer;

/// The newest layout of the store's own data that this host understands.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";
const EPOCH_KEY: &[u8] = b"epoch";

/// What may be tuned; the defaults suit a host.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Commits that may wait for the writer; more make `commit` and `submit` wait.
    pub queue_commits: usize,
    /// Bytes of keys and values that may wait for the writer; also the most one commit may carry.
    pub queue_bytes: usize,
    /// Memory for blocks read from disk.
    pub cache_bytes: u64,
    pub durability: Durability,
    pub sealing: SealingOptions,
}

/// When a commit is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After its fsync.
    #[default]
    Commit,
    /// Before it; the fsync follows at most this much later. A power cut takes the commits since the last one, never
    /// one without those after it, and the store goes on in a new epoch: their revisions are given again, to others.
    /// The end of the process takes none.
    Interval(Duration),
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            queue_commits: 10_000,
            queue_bytes: 64 << 20,
            cache_bytes: 32 << 20,
            durability: Durability::Commit,
            sealing: SealingOptions::default(),
        }
    }
}

impl StoreOptions {
    /// For those who only look into a store: it keeps the form that it has.
    pub fn as_it_is(mut self) -> Self {
        self.sealing.wanted = Wanted::AsItIs;
        self
    }

    fn sync_interval(&self) -> Option<Duration> {
        match self.durability {
            Durability::Commit => None,
            Durability::Interval(interval) => Some(interval),
        }
    }
}

/// A key without its namespace, and its value.
pub type KeyValue = (Vec<u8>, Vec<u8>);

/// Cheap to clone; the last clone to go stops the writer, after it has answered everything that waits.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    epoch: Uuid,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the store in `dir`, the host's data folder, and makes both if they are missing.
    ///
    /// Fails if another host holds the folder, if a newer host has written the store, or if it is sealed under a key
    /// that the options do not have. A store that is to have the other form is copied first, which takes its time.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let engine = EngineOptions::new(options.cache_bytes);
        let engine = if options.sync_interval().is_some() { engine.with_later_sync() } else { engine };
        Self::open_with(dir, &options, engine)
    }

    /// Whether a host has kept a store in `dir`.
    pub fn exists(dir: &Path) -> bool {
        sealing::is_there(dir)
    }

    /// Whether a host has the store in `dir` open now.
    pub fn is_open(dir: &Path) -> bool {
        DirLock::is_held(dir)
    }

    fn open_with(dir: &Path, options: &StoreOptions, engine: EngineOptions) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|error| StoreError::io("make the data folder", dir, error))?;
        let lock = DirLock::acquire(dir)?;
        let may_have_lost = later_sync::may_have_lost(dir);
        let form = sealing::settle(dir, &options.sealing, engine)?;
        let path = dir.join(form.folder());
        let shared = Arc::new(Shared::open(dir.to_path_buf(), form, engine, lock)?);
        let queue = Arc::new(Queue::new(options.queue_commits, options.queue_bytes));
        let writer = Writer::new(Arc::clone(&shared), Arc::clone(&queue), options.sync_interval());
        let writer = writer.spawn(dir)?;
        let mut handle = Handle { shared, queue, epoch: Uuid::nil(), writer: Some(writer) };
        handle.epoch = handle.check_format(&path)?;
        if may_have_lost {
            handle.epoch = handle.begin_epoch()?;
            handle.shared.with_engine(|engine| engine.mark_sync(dir))?;
        }
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Commits, and returns when that is on disk. Waits, so it is not for a thread that runs async tasks.
    pub fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.handle.commit(commit)
    }

    /// Commits, and calls `answer` when that is on disk or refused; waits only while the queue is full.
    ///
    /// `answer` runs on the writer's thread, which commits for everybody: it must be short and must not wait.
    /// Answers come in the order of the revisions.
    pub fn submit(
        &self,
        commit: Commit,
        answer: impl FnOnce(Result<Committed, StoreError>) + Send + 'static,
    ) {
        self.handle.queue.push(commit, Box::new(answer));
    }

    /// The same, but refused with [`StoreError::Busy`] while the queue is full: for a thread that must not wait.
    pub fn try_submit(
        &self,
        commit: Commit,
        answer: impl FnOnce(Result<Committed, StoreError>) + Send + 'static,
    ) {
        self.handle.queue.try_push(commit, Box::new(answer));
    }

    /// The committed value of `key`.
    pub fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.handle.shared.get(&stored_key(namespace, key))
    }

    /// At most `limit` keys that start with `prefix` and come after `after`, in order, with their values.
    ///
    /// All of one call are of one moment; the next page is asked for with the last key as `after`.
    pub fn scan(
        &self,
        namespace: Namespace,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>, StoreError> {
        self.handle.shared.scan(namespace, prefix, after, limit)
    }

    /// Made with the store, and made anew when commits that were answered for may be gone: revisions are compared only
    /// inside one epoch.
    pub fn epoch(&self) -> Uuid {
        self.handle.epoch
    }

    /// What the operating system refused to those who keep something here.
    pub fn cannot(&self, action: &'static str, error: std::io::Error) -> StoreError {
        StoreError::io(action, &self.handle.shared.dir, error)
    }

    /// What lies here is not what its reader can read.
    pub fn damaged(&self, what: &'static str) -> StoreError {
        entries::damaged(&self.handle.shared.dir, what)
    }

    /// Whether values are sealed on the disk.
    pub fn is_sealed(&self) -> bool {
        self.handle.shared.form.keyring().is_some()
    }

    /// How values are sealed on the disk; `None` if they are not.
    pub fn sealing(&self) -> Option<SealingStatus> {
        self.handle.shared.form.keyring().map(sealing::Keyring::status)
    }

    /// How many values there are on the disk, as far as the engine knows without counting.
    pub fn about_n_values(&self) -> Result<u64, StoreError> {
        self.handle.shared.with_engine(|engine| Ok(engine.about_n_values()))
    }

    /// Seals with a new data key from now on, and what the older ones have sealed bit by bit; gives the key's number.
    pub fn rotate_key(&self) -> Result<u32, StoreError> {
        let keyring = self.handle.shared.form.keyring().ok_or(SealingError::NotSealed)?;
        let data_key = keyring.rotate()?;
        // The writer may be asleep.
        self.submit(Commit::default(), |_| {});
        Ok(data_key)
    }

    /// Whether the caller is an answer: then the writer waits for it.
    pub fn is_answering(&self) -> bool {
        self.handle.queue.is_writer()
    }

    /// Whether commits are being taken, and if not, why.
    pub fn health(&self) -> Health {
        self.handle.shared.health()
    }

    /// What the writer has done since the store was opened.
    pub fn counts(&self) -> Counts {
        self.handle.shared.counts()
    }
}

impl Handle {
    fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.queue.push(
            commit,
            Box::new(move |result| {
                let _ = answer.send(result);
            }),
        );
        answered.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Refuses the store of a newer host, and marks a new store with its format and epoch.
    fn check_format(&self, path: &Path) -> Result<Uuid, StoreError> {
        let meta = |key| self.shared.get(&stored_key(Namespace::Meta, key));
        let damaged = |what| StoreError::Damaged { path: path.to_path_buf(), what };
        let Some(format) = meta(FORMAT_KEY)? else {
            return self.mark_new();
        };
        let format = format.try_into().map_err(|_| damaged("its format number is not four bytes"))?;
        match u32::from_be_bytes(format) {
            found if found > FORMAT => {
                Err(StoreError::NewerFormat { path: path.to_path_buf(), found, supported: FORMAT })
            }
            _ => {
                let epoch = meta(EPOCH_KEY)?.ok_or_else(|| damaged("its epoch is missing"))?;
                Uuid::from_slice(&epoch).map_err(|_| damaged("its epoch is not a uuid"))
            }
        }
    }

    /// What was answered for and is gone may have been seen: its revisions must not be taken for those to come.
    fn begin_epoch(&self) -> Result<Uuid, StoreError> {
        let epoch = Uuid::new_v4();
        self.commit(Commit::default().put(Namespace::Meta, EPOCH_KEY, epoch.into_bytes()))?;
        tracing::warn!(%epoch, "the system ended before everything was synced: the log goes on in a new epoch");
        Ok(epoch)
    }

    fn mark_new(&self) -> Result<Uuid, StoreError> {
        let epoch = Uuid::new_v4();
        self.commit(Commit::default().put(Namespace::Meta, FORMAT_KEY, FORMAT.to_be_bytes()).put(
            Namespace::Meta,
            EPOCH_KEY,
            epoch.into_bytes(),
        ))?;
        Ok(epoch)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
        let Some(writer) = self.writer.take() else { return };
        // An answer may hold the last clone; the writer cannot wait for itself.
        if writer.thread().id() != std::thread::current().id() {
            let _ = writer.join();
        }
    }
}

/// What was made, renamed or taken away in the folder is so after a power cut, too.
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

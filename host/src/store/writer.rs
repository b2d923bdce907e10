//! The one writer: takes everything that waits, decides commit by commit, writes one batch, syncs once, answers.
//!
//! Invariant: a commit answered with an error other than [`StoreError::Failed`] has left nothing behind, even if
//! parts of its batch reached the journal before the disk was full.

use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use super::KeyValue;
use super::commit::{Check, Commit, Namespace, stored_key};
use super::engine::{self, Changes, Engine, EngineOptions, WriteFailure};
use super::error::StoreError;
use super::lock::DirLock;
use super::queue::{Answer, Job, Queue};

/// What must fit on the disk before a store that found it full is opened again.
const PROBE_BYTES: usize = 4 << 20;

/// Whether commits are being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// Commits are refused with [`StoreError::DiskFull`]; each one tries anew.
    DiskFull,
    /// The engine has stopped, mostly because its own upkeep found the disk full; each commit tries to start it.
    Recovering,
    /// Commits are refused with [`StoreError::Failed`] until the host is restarted. Reads go on.
    Failed,
}

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub n_commits: u64,
    pub n_conflicts: u64,
    /// Groups written: one fsync each.
    pub n_groups: u64,
}

/// What readers and the writer see. The engine is missing only while it is being opened again, or cannot be.
pub(super) struct Shared {
    dir: PathBuf,
    options: EngineOptions,
    engine: RwLock<Option<Engine>>,
    health: Mutex<Health>,
    n_commits: AtomicU64,
    n_conflicts: AtomicU64,
    n_groups: AtomicU64,
    _lock: DirLock,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// What keys held before a group that failed: written back first when the engine is opened again, because
    /// whether the journal kept that group is not known.
    undo: Changes,
}

/// A group after its checks: what it changes, and what to tell whom.
struct Decided {
    changes: Changes,
    accepted: Vec<Answer>,
    refused: Vec<(Answer, StoreError)>,
}

impl Shared {
    pub fn open(dir: PathBuf, options: EngineOptions, lock: DirLock) -> Result<Self, StoreError> {
        let engine = RwLock::new(Some(Engine::open(&dir, options)?));
        let [n_commits, n_conflicts, n_groups] = Default::default();
        let health = Mutex::new(Health::Ok);
        Ok(Self { dir, options, engine, health, n_commits, n_conflicts, n_groups, _lock: lock })
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with_engine(|engine| engine.get(key))
    }

    pub fn scan(
        &self,
        namespace: Namespace,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<KeyValue>, StoreError> {
        let prefix = stored_key(namespace, prefix);
        let after = after.map_or_else(Vec::new, |after| stored_key(namespace, after));
        let mut found = self.with_engine(|engine| engine.scan(&prefix, &after, limit))?;
        for (key, _) in &mut found {
            key.remove(0);
        }
        Ok(found)
    }

    pub fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn counts(&self) -> Counts {
        Counts {
            n_commits: self.n_commits.load(Relaxed),
            n_conflicts: self.n_conflicts.load(Relaxed),
            n_groups: self.n_groups.load(Relaxed),
        }
    }

    fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn with_engine<T>(&self, read: impl FnOnce(&Engine) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        read(engine.as_ref().ok_or(StoreError::Unavailable)?)
    }
}

impl Writer {
    pub fn new(shared: Arc<Shared>, queue: Arc<Queue>) -> Self {
        Self { shared, queue, undo: Changes::new() }
    }

    pub fn spawn(self, dir: &Path) -> Result<JoinHandle<()>, StoreError> {
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || self.run())
            .map_err(|error| StoreError::io("start the writer of", dir, error))
    }

    fn run(mut self) {
        while let Some(group) = self.queue.take_group() {
            self.commit_group(group);
        }
        if !self.undo.is_empty() {
            // Closing the engine writes what it still holds of a refused group, if there is space by now.
            let _ = self.reopen();
        }
    }

    fn commit_group(&mut self, group: Vec<Job>) {
        if let Err(error) = self.ensure_open() {
            return group.into_iter().for_each(|job| tell(job.answer, Err(error.clone())));
        }
        let decided = self.decide(group);
        let written = match decided.changes.is_empty() {
            true => Ok(()),
            false => self.write(&decided.changes),
        };
        self.count(&decided, written.is_ok());
        for answer in decided.accepted {
            tell(answer, written.clone());
        }
        for (answer, error) in decided.refused {
            tell(answer, Err(error));
        }
    }

    /// In order of arrival: each commit sees what those before it in the group will have changed.
    fn decide(&self, group: Vec<Job>) -> Decided {
        let (mut changes, mut accepted, mut refused) = (Changes::new(), Vec::new(), Vec::new());
        for Job { commit, answer, .. } in group {
            match commit.checks.iter().try_for_each(|check| self.check(check, &changes)) {
                Ok(()) => {
                    stage(commit, &mut changes);
                    accepted.push(answer);
                }
                Err(error) => refused.push((answer, error)),
            }
        }
        Decided { changes, accepted, refused }
    }

    fn check(&self, check: &Check, staged: &Changes) -> Result<(), StoreError> {
        let key = stored_key(check.namespace, &check.key);
        let holds = match staged.get(&key) {
            Some(value) => check.expect.holds(value.as_deref()),
            None => check.expect.holds(self.shared.get(&key)?.as_deref()),
        };
        match holds {
            true => Ok(()),
            false => Err(StoreError::Conflict { namespace: check.namespace, key: check.key.clone() }),
        }
    }

    /// Checks must be able to read, even if the last attempt to open the engine again has failed.
    fn ensure_open(&mut self) -> Result<(), StoreError> {
        match self.shared.with_engine(|_| Ok(())) {
            Ok(()) => Ok(()),
            Err(_) => self.reopen().inspect_err(|error| self.degrade(error)),
        }
    }

    /// There is a second try only after the engine has been opened again: the first one may have met an old failure.
    fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if self.shared.health() == Health::Failed {
            return Err(StoreError::Failed);
        }
        if self.try_write(changes)?.is_none() {
            self.reopen().inspect_err(|error| self.degrade(error))?;
            if self.try_write(changes)?.is_none() {
                self.degrade(&StoreError::Unavailable);
                return Err(StoreError::Unavailable);
            }
        }
        self.shared.set_health(Health::Ok);
        Ok(())
    }

    /// `None`: the engine takes no writes since an earlier failure, so nothing of this one was written.
    fn try_write(&mut self, changes: &Changes) -> Result<Option<()>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let guard = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
        let Some(engine) = guard.as_ref() else { return Ok(None) };
        match engine.write(changes) {
            Ok(()) => Ok(Some(())),
            Err(WriteFailure::Refused) => Ok(None),
            Err(WriteFailure::Write(error)) if engine::is_full(&error) => {
                self.remember_old_values(engine, changes)?;
                let error = StoreError::DiskFull { path: self.shared.dir.clone() };
                self.degrade(&error);
                Err(error)
            }
            // After a failed fsync the kernel may show pages that are not on the disk. Only a human can say more.
            Err(WriteFailure::Write(error)) => {
                tracing::error!(%error, "the store cannot write; restart the host when the disk is sound");
                Err(self.fail())
            }
        }
    }

    /// The oldest value wins: what a key held before the first group that failed.
    fn remember_old_values(&mut self, engine: &Engine, changes: &Changes) -> Result<(), StoreError> {
        for key in changes.keys() {
            if !self.undo.contains_key(key) {
                self.undo.insert(key.clone(), engine.get(key)?);
            }
        }
        Ok(())
    }

    /// Readers keep the old engine until there is space to open it anew.
    fn reopen(&mut self) -> Result<(), StoreError> {
        probe_space(&self.shared.dir)?;
        let mut slot = self.shared.engine.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
        let engine = Engine::open(&self.shared.dir, self.shared.options)?;
        if !self.undo.is_empty() && engine.write(&self.undo).is_err() {
            return Err(StoreError::DiskFull { path: self.shared.dir.clone() });
        }
        self.undo.clear();
        *slot = Some(engine);
        tracing::info!("the store was opened again");
        Ok(())
    }

    fn degrade(&self, error: &StoreError) {
        if self.shared.health() == Health::Ok {
            tracing::error!(%error, "the store takes no commits");
        }
        self.shared.set_health(match error {
            StoreError::DiskFull { .. } => Health::DiskFull,
            _ => Health::Recovering,
        });
    }

    fn fail(&self) -> StoreError {
        self.shared.set_health(Health::Failed);
        StoreError::Failed
    }

    fn count(&self, decided: &Decided, is_written: bool) {
        let n_conflicts = decided.refused.len() as u64;
        self.shared.n_conflicts.fetch_add(n_conflicts, Relaxed);
        if is_written {
            self.shared.n_commits.fetch_add(decided.accepted.len() as u64, Relaxed);
            self.shared.n_groups.fetch_add(u64::from(!decided.changes.is_empty()), Relaxed);
        }
    }
}

fn stage(commit: Commit, changes: &mut Changes) {
    for (namespace, key) in commit.deletes {
        changes.insert(stored_key(namespace, &key), None);
    }
    for (namespace, key, value) in commit.puts {
        changes.insert(stored_key(namespace, &key), Some(value));
    }
}

/// A panic in somebody's answer must not end the writer of all.
fn tell(answer: Answer, result: Result<(), StoreError>) {
    if catch_unwind(AssertUnwindSafe(|| answer(result))).is_err() {
        tracing::error!("the answer to a commit panicked");
    }
}

/// Opening replays and truncates; on a disk that is still full it could fail halfway.
fn probe_space(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("space-probe");
    let probe = || {
        let mut file = File::create(&path)?;
        file.write_all(&vec![1; PROBE_BYTES])?;
        file.sync_all()
    };
    let probed = probe();
    let removed = fs::remove_file(&path);
    probed.and(removed).map_err(|error| StoreError::io("write to", dir, error))
}

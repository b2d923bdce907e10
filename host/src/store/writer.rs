//! The one writer: takes everything that waits, decides commit by commit, writes one batch, syncs once, answers.
//!
//! Invariant: a commit answered with an error other than [`StoreError::Failed`] has left nothing behind, even if
//! parts of its batch reached the journal before the disk was full.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::commit::Committed;
use super::engine::{self, Changes, Engine, WriteFailure};
use super::error::StoreError;
use super::group::{Group, Heads};
use super::queue::{Answer, Job, Queue, Taken};
use super::resealing::Pass;
use super::shared::{Counts, Health, Shared};

/// What must fit on the disk before a store that found it full is opened again.
const PROBE_BYTES: usize = 4 << 20;

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// How far the values of older data keys are sealed anew.
    pub resealing: Option<Pass>,
    /// How long a sync may be left for later; `None` if every group is synced before it is answered.
    sync_interval: Option<Duration>,
    /// Since when something has been written and not synced.
    unsynced_since: Option<Instant>,
    /// What keys held before a group that failed: written back first when the engine is opened again, because
    /// whether the journal kept that group is not known. The engine takes no writes from then until it is.
    undo: Changes,
}

/// A writer that panics, which is a defect of the host, takes nothing any more: nobody may wait for it.
struct RefuseAfterPanic {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

impl Drop for RefuseAfterPanic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.shared.set_health(Health::Failed);
        for job in self.queue.close_and_empty() {
            tell(job.answer, Err(StoreError::Failed));
        }
        tracing::error!("the store's writer panicked; restart the host");
    }
}

/// A group after its checks: what it changes, and what to tell whom.
struct Decided {
    changes: Changes,
    heads: Heads,
    accepted: Vec<(Answer, Committed)>,
    refused: Vec<(Answer, StoreError)>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, queue: Arc<Queue>, sync_interval: Option<Duration>) -> Self {
        let undo = Changes::default();
        Self { shared, queue, resealing: None, sync_interval, unsynced_since: None, undo }
    }

    pub fn spawn(self, dir: &Path) -> Result<JoinHandle<()>, StoreError> {
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let _refusing =
                    RefuseAfterPanic { shared: Arc::clone(&self.shared), queue: Arc::clone(&self.queue) };
                self.run();
            })
            .map_err(|error| StoreError::io("start the writer of", dir, error))
    }

    fn run(mut self) {
        loop {
            match self.queue.take_group(self.due()) {
                Taken::Group(group) => self.commit_group(group),
                Taken::TimeIsUp => {}
                Taken::Closed => break,
            }
            if self.sync_due().is_some_and(|due| due <= Instant::now()) {
                self.sync();
            }
            self.reseal();
        }
        self.sync();
        self.say_synced();
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
            false => self.write(&decided.changes).inspect(|()| self.shared.set_heads(decided.heads)),
        };
        self.count(&decided, written.is_ok());
        for (answer, committed) in decided.accepted {
            tell(answer, written.clone().map(|()| committed));
        }
        for (answer, error) in decided.refused {
            tell(answer, Err(error));
        }
    }

    /// In order of arrival: each commit sees what those before it in the group will have changed.
    fn decide(&self, jobs: Vec<Job>) -> Decided {
        let mut group = Group::new(&self.shared);
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        for Job { commit, answer, .. } in jobs {
            match group.stage(commit) {
                Ok(committed) => accepted.push((answer, committed)),
                Err(error) => refused.push((answer, error)),
            }
        }
        let (changes, heads) = group.finish();
        Decided { changes, heads, accepted, refused }
    }

    /// Checks must be able to read, even if the last attempt to open the engine again has failed.
    fn ensure_open(&mut self) -> Result<(), StoreError> {
        match self.shared.with_engine(|_| Ok(())) {
            Ok(()) => Ok(()),
            Err(_) if self.shared.health() == Health::Failed => Err(StoreError::Failed),
            Err(_) => self.reopen().inspect_err(|error| self.degrade(error)),
        }
    }

    /// There is a second try only after the engine has been opened again: the first one may have met an old failure.
    pub fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
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
        if self.sync_interval.is_some() {
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    /// When there is something to do even if nobody commits.
    fn due(&self) -> Option<Instant> {
        self.sync_due().into_iter().chain(self.resealing_due()).min()
    }

    fn sync_due(&self) -> Option<Instant> {
        Some(self.unsynced_since? + self.sync_interval?)
    }

    /// What was answered without waiting for the disk reaches it. If not, nobody knows what of it the disk holds.
    fn sync(&mut self) {
        if self.unsynced_since.take().is_none() {
            return;
        }
        let synced = self.shared.engine().as_ref().map(Engine::sync);
        match synced {
            Some(Err(WriteFailure::Write(error))) => {
                tracing::error!(%error, "the store cannot sync; restart the host when the disk is sound");
                self.fail();
            }
            // An engine that has stopped was closed or is opened again by the next commit, and both sync its journal.
            Some(Err(WriteFailure::Refused | WriteFailure::Unsealed(_))) | None => {}
            Some(Ok(())) => self.shared.count(Counts { n_syncs: 1, ..Counts::default() }),
        }
    }

    /// At an orderly end nothing is left to be lost. If that cannot be said, the next start takes it for lost.
    fn say_synced(&self) {
        if self.sync_interval.is_none() || self.shared.health() != Health::Ok {
            return;
        }
        if let Some(engine) = self.shared.engine().as_ref()
            && let Err(error) = engine.forget_later_sync(&self.shared.dir)
        {
            tracing::warn!(%error, "it cannot be marked that everything is synced");
        }
    }

    /// `None`: the engine takes no writes since an earlier failure, so nothing of this one was written.
    fn try_write(&mut self, changes: &Changes) -> Result<Option<()>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let guard = shared.engine();
        let Some(engine) = guard.as_ref() else { return Ok(None) };
        match engine.write(changes) {
            Ok(()) => Ok(Some(())),
            Err(WriteFailure::Refused) => Ok(None),
            // There is nothing to undo. Once it can be sealed again the engine goes on, and is not opened anew: old
            // values that are kept from here would go over commits that were answered.
            Err(WriteFailure::Unsealed(error)) => {
                let error = StoreError::io("seal values for", &self.shared.dir, error);
                self.degrade(&error);
                Err(error)
            }
            Err(WriteFailure::Write(error)) if engine::is_full(&error) => {
                self.remember_old_values(engine, changes)?;
                let error = StoreError::DiskFull { path: self.shared.dir.clone() };
                self.degrade(&error);
                Err(error)
            }
            Err(WriteFailure::Write(error)) => Err(self.fail_of(&error)),
        }
    }

    /// The oldest value wins: what a key held before the first group that failed.
    fn remember_old_values(&mut self, engine: &Engine, changes: &Changes) -> Result<(), StoreError> {
        for key in changes.records.keys() {
            if !self.undo.records.contains_key(key) {
                self.undo.records.insert(key.clone(), engine.get(key)?);
            }
        }
        for revision in changes.entries.keys() {
            if !self.undo.entries.contains_key(revision) {
                self.undo.entries.insert(*revision, engine.entry(*revision)?);
            }
        }
        Ok(())
    }

    /// Readers keep the old engine until there is space to open it anew.
    fn reopen(&mut self) -> Result<(), StoreError> {
        probe_space(&self.shared.dir)?;
        let mut slot = self.shared.engine_mut();
        drop(slot.take());
        let engine = Engine::open(&self.shared.dir, self.shared.form.clone(), self.shared.options)?;
        if !self.undo.is_empty() {
            // What was refused may be in this engine, so it is shown to nobody before that is undone.
            engine.write(&self.undo).map_err(|failure| self.not_undone(failure))?;
        }
        self.undo = Changes::default();
        *slot = Some(engine);
        tracing::info!("the store was opened again");
        Ok(())
    }

    fn not_undone(&self, failure: WriteFailure) -> StoreError {
        match failure {
            WriteFailure::Write(error) if !engine::is_full(&error) => self.fail_of(&error),
            failure => failure.into_error(&self.shared.dir),
        }
    }

    fn degrade(&self, error: &StoreError) {
        if matches!(error, StoreError::Failed) {
            return;
        }
        if self.shared.health() == Health::Ok {
            tracing::error!(%error, "the store takes no commits");
        }
        self.shared.set_health(match error {
            StoreError::DiskFull { .. } => Health::DiskFull,
            _ => Health::Recovering,
        });
    }

    /// After a failed fsync the kernel may show pages that are not on the disk. Only a human can say more.
    fn fail_of(&self, error: &dyn fmt::Display) -> StoreError {
        tracing::error!(%error, "the store cannot write; restart the host when the disk is sound");
        self.fail()
    }

    fn fail(&self) -> StoreError {
        self.shared.set_health(Health::Failed);
        StoreError::Failed
    }

    fn count(&self, decided: &Decided, is_written: bool) {
        let n_conflicts = decided.refused.len() as u64;
        let n_commits = if is_written { decided.accepted.len() as u64 } else { 0 };
        let n_groups = u64::from(is_written && !decided.changes.is_empty());
        let n_syncs = if self.sync_interval.is_none() { n_groups } else { 0 };
        self.shared.count(Counts { n_commits, n_conflicts, n_groups, n_syncs });
    }
}

/// A panic in somebody's answer must not end the writer of all.
fn tell(answer: Answer, result: Result<Committed, StoreError>) {
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

//! What readers and the writer share: the engine, whether it takes commits, and what was done.
//!
//! Invariant: only the writer replaces the engine, changes the health and the heads, and counts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::KeyValue;
use super::chain::{Chain, load_chain};
use super::commit::{Namespace, stored_key};
use super::engine::{Engine, EngineOptions};
use super::entries::{Tally, load_tally};
use super::error::StoreError;
use super::group::Heads;
use super::lock::DirLock;
use super::sealing::Form;

/// Whether commits are being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// Commits are refused with [`StoreError::DiskFull`]; each one tries anew.
    DiskFull,
    /// The engine has stopped, mostly because its own upkeep found the disk full, or a sealed store's key file cannot be
    /// written; each commit tries anew.
    Recovering,
    /// Commits are refused with [`StoreError::Failed`] until the host is restarted. Reads go on, unless the disk has failed
    /// while the engine was being opened again.
    Failed,
}

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub n_commits: u64,
    pub n_conflicts: u64,
    /// Groups written: one fsync each, unless it is left for later.
    pub n_groups: u64,
    /// Times the disk was synced.
    pub n_syncs: u64,
}

/// What readers and the writer see. The engine is missing only while it is being opened again, or cannot be.
pub(super) struct Shared {
    pub dir: PathBuf,
    pub options: EngineOptions,
    pub form: Form,
    engine: RwLock<Option<Engine>>,
    health: Mutex<Health>,
    heads: Mutex<Heads>,
    n_commits: AtomicU64,
    n_conflicts: AtomicU64,
    n_groups: AtomicU64,
    n_syncs: AtomicU64,
    _lock: DirLock,
}

impl Shared {
    pub fn open(dir: PathBuf, form: Form, options: EngineOptions, lock: DirLock) -> Result<Self, StoreError> {
        let engine = Engine::open(&dir, form.clone(), options)?;
        let view = engine.view();
        let heads = Heads { tally: load_tally(&view, &dir)?, chain: load_chain(&view, &dir)? };
        drop(view);
        let heads = Mutex::new(heads);
        let engine = RwLock::new(Some(engine));
        let [n_commits, n_conflicts, n_groups, n_syncs] = Default::default();
        let health = Mutex::new(Health::Ok);
        Ok(Self {
            dir,
            options,
            form,
            engine,
            health,
            heads,
            n_commits,
            n_conflicts,
            n_groups,
            n_syncs,
            _lock: lock,
        })
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
            n_syncs: self.n_syncs.load(Relaxed),
        }
    }

    pub fn count(&self, done: Counts) {
        self.n_commits.fetch_add(done.n_commits, Relaxed);
        self.n_conflicts.fetch_add(done.n_conflicts, Relaxed);
        self.n_groups.fetch_add(done.n_groups, Relaxed);
        self.n_syncs.fetch_add(done.n_syncs, Relaxed);
    }

    pub fn tally(&self) -> Tally {
        self.heads().tally
    }

    pub fn chain(&self) -> Chain {
        self.heads().chain
    }

    pub fn heads(&self) -> Heads {
        *self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_heads(&self, heads: Heads) {
        *self.heads.lock().unwrap_or_else(PoisonError::into_inner) = heads;
    }

    pub fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Refused while the engine is missing.
    pub fn with_engine<T>(
        &self,
        read: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let engine = self.engine();
        read(engine.as_ref().ok_or(StoreError::Unavailable)?)
    }

    pub fn engine(&self) -> RwLockReadGuard<'_, Option<Engine>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the engine from its readers, who wait until the caller has put one back or given up.
    pub fn engine_mut(&self) -> RwLockWriteGuard<'_, Option<Engine>> {
        self.engine.write().unwrap_or_else(PoisonError::into_inner)
    }
}

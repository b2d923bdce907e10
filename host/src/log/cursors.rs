//! How far each sink has come, as it lies in the store.
//!
//! Invariant: what is told from here is durable, so history that a sink would read after a crash is not given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{Commit, Namespace, Store, StoreError};

/// One sink's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub pipeline: String,
    pub sink: String,
    /// It has taken everything up to here.
    pub revision: u64,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Cursors {
    store: Store,
    saved: Arc<Mutex<BTreeMap<Vec<u8>, u64>>>,
}

impl Cursors {
    pub(super) fn open(store: Store) -> Result<Self, StoreError> {
        let mut saved = BTreeMap::new();
        for (key, value) in store.scan(Namespace::Cursors, b"", None, usize::MAX)? {
            if let Ok(revision) = value.try_into() {
                saved.insert(key, u64::from_be_bytes(revision));
            }
        }
        Ok(Self { store, saved: Arc::new(Mutex::new(saved)) })
    }

    /// Where this sink stood when it was last saved; `None` for a sink that never was.
    pub fn load(&self, pipeline: &str, sink: &str) -> Option<u64> {
        self.saved().get(&stored_key(pipeline, sink)).copied()
    }

    /// Saves without waiting. If it fails, the next save makes up for it: a crash before that re-delivers a little more.
    pub fn save(&self, pipeline: &str, sink: &str, revision: u64) {
        let (key, saved) = (stored_key(pipeline, sink), Arc::clone(&self.saved));
        let commit = Commit::default().put(Namespace::Cursors, key.clone(), revision.to_be_bytes());
        self.store.submit(commit, move |result| match result {
            Ok(_) => {
                lock(&saved).insert(key, revision);
            }
            Err(error) => tracing::debug!(%error, "a cursor was not saved"),
        });
    }

    /// Forgets a sink that is no more, so that nothing is kept for it.
    pub fn forget(&self, pipeline: &str, sink: &str) -> Result<(), StoreError> {
        let key = stored_key(pipeline, sink);
        self.store.commit(Commit::default().delete(Namespace::Cursors, key.clone()))?;
        self.saved().remove(&key);
        Ok(())
    }

    /// All of them, by pipeline and sink.
    pub fn list(&self) -> Vec<Cursor> {
        let cursor = |(key, revision): (&Vec<u8>, &u64)| {
            let key = String::from_utf8_lossy(key);
            let (pipeline, sink) = key.split_once('\0')?;
            Some(Cursor { pipeline: pipeline.to_owned(), sink: sink.to_owned(), revision: *revision })
        };
        self.saved().iter().filter_map(cursor).collect()
    }

    /// Where the sink stands that has come least far.
    pub fn slowest(&self) -> Option<u64> {
        self.saved().values().min().copied()
    }

    fn saved(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, u64>> {
        lock(&self.saved)
    }
}

fn lock(saved: &Mutex<BTreeMap<Vec<u8>, u64>>) -> MutexGuard<'_, BTreeMap<Vec<u8>, u64>> {
    saved.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stored_key(pipeline: &str, sink: &str) -> Vec<u8> {
    [pipeline.as_bytes(), b"\0", sink.as_bytes()].concat()
}

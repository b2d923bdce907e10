//! How far each sink has come in the log, and how much of that is on disk.
//!
//! Saved lazily: with the next batch's commit, or alone when there is none. A crash re-delivers what was acked since.

use crate::pipeline::Pipeline;
use crate::store::{Commit, Namespace, Store, StoreError};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long an ack may be known in memory only.
const SAVE_AFTER: Duration = Duration::from_secs(1);

/// The cursors of one pipeline's sinks.
#[derive(Debug)]
pub struct Cursors(Vec<Mutex<Cursor>>);

#[derive(Debug)]
struct Cursor {
    key: Vec<u8>,
    /// Whether a run before this one has saved it.
    is_known: bool,
    acked: u64,
    saved: u64,
    saved_at: Instant,
}

/// Cursors that are in a commit, by sink.
pub type Saving = Vec<(usize, u64)>;

impl Cursors {
    pub fn load(store: &Store, pipeline: &Pipeline) -> Result<Self, StoreError> {
        let load = |name: &str| -> Result<Mutex<Cursor>, StoreError> {
            let key = [pipeline.name.as_bytes(), b"\0", name.as_bytes()].concat();
            let stored = store.get(Namespace::Cursors, &key)?;
            let acked = stored.as_ref().and_then(|bytes| bytes.as_slice().try_into().ok());
            let acked = acked.map_or(0, u64::from_be_bytes);
            let is_known = stored.is_some();
            Ok(Mutex::new(Cursor { key, is_known, acked, saved: acked, saved_at: Instant::now() }))
        };
        pipeline.sinks.iter().map(|sink| load(&sink.step.name)).collect::<Result<_, _>>().map(Self)
    }

    fn lock(&self, sink: usize) -> MutexGuard<'_, Cursor> {
        self.0[sink].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to where a sink has written.
    pub fn acked(&self, sink: usize) -> u64 {
        self.lock(sink).acked
    }

    /// Whether the sink has a place from before.
    pub fn is_known(&self, sink: usize) -> bool {
        self.lock(sink).is_known
    }

    /// A sink has written everything up to `revision`.
    pub fn ack(&self, sink: usize, revision: u64) {
        let mut cursor = self.lock(sink);
        cursor.acked = cursor.acked.max(revision);
    }

    /// Adds every cursor that should be saved to a commit.
    pub fn add_due(&self, commit: &mut Commit) -> Saving {
        let due = (0..self.0.len()).filter(|sink| self.is_due(*sink)).collect::<Vec<_>>();
        due.into_iter().map(|sink| (sink, self.add(sink, commit))).collect()
    }

    /// Adds one cursor to a commit, if it has moved.
    pub fn add_moved(&self, sink: usize, commit: &mut Commit) -> Saving {
        let has_moved = {
            let cursor = self.lock(sink);
            cursor.acked > cursor.saved
        };
        if has_moved { vec![(sink, self.add(sink, commit))] } else { Vec::new() }
    }

    /// Whether a sink's cursor has moved and was not saved for a while.
    pub fn is_due(&self, sink: usize) -> bool {
        let cursor = self.lock(sink);
        cursor.acked > cursor.saved && cursor.saved_at.elapsed() >= SAVE_AFTER
    }

    fn add(&self, sink: usize, commit: &mut Commit) -> u64 {
        let cursor = self.lock(sink);
        commit.puts.push((Namespace::Cursors, cursor.key.clone(), cursor.acked.to_be_bytes().to_vec()));
        cursor.acked
    }

    /// They are on disk.
    pub fn saved(&self, saving: &Saving) {
        for (sink, revision) in saving {
            let mut cursor = self.lock(*sink);
            cursor.saved = cursor.saved.max(*revision);
            cursor.saved_at = Instant::now();
        }
    }
}

//! The log: every committed change and notice in one order, each with its revision, to be read from any place on.
//!
//! Invariant: whoever reads page after page, each from where the last one ended, sees every entry once and in order, or
//! is told of a gap and sees the newest entry of every key that changed in it.
//!
//! ```text
//! submit, commit ─► store ─► (answered) ─► ring of the newest entries ─► read
//!                                  store, for whoever is behind ─┘
//!                                  compaction ◄── age, size, slowest cursor
//! ```
//! Only this room appends entries, and only it knows what is in one. Revisions are the store's.

mod compaction;
mod cursors;
mod entry;
mod keys;
mod read;
mod ring;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lockstep_plugin_api::{Bytes, Record};

use crate::config::HostSettings;
use crate::store::{Commit, Store, StoreError};

pub use compaction::Retention;
pub use cursors::{Cursor, Cursors};
pub use entry::HOST_HEADERS;
pub use keys::{At, Before, KeyHistory};
pub use read::{Gap, Page};

use ring::Ring;

/// What may be tuned.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    pub retention: Retention,
    /// How often history is looked through.
    pub cleanup_interval: Duration,
    /// Memory for the newest entries.
    pub ring_bytes: usize,
    /// The clock by which entries grow old, in microseconds since 1970.
    pub now_us: fn() -> i64,
}

/// What the log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    pub head: u64,
    pub compacted: u64,
    pub n_entries: u64,
    pub n_bytes: u64,
    /// Keys that have an entry, and those of them whose newest one is a deletion.
    pub n_keys: u64,
    pub n_deleted_keys: u64,
    /// In memory.
    pub n_recent: u64,
    pub recent_bytes: u64,
}

/// Cheap to clone; the last clone to go ends the compaction.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    compaction: Option<JoinHandle<()>>,
}

struct Shared {
    store: Store,
    epoch: String,
    retention: Retention,
    now_us: fn() -> i64,
    ring: Mutex<Ring>,
    appended: Condvar,
    cursors: Cursors,
    compaction: compaction::Signal,
}

impl LogOptions {
    pub fn new(settings: &HostSettings) -> Self {
        let (state, sync) = (&settings.state, &settings.sync_settings);
        let retention = Retention {
            records: state.history.records,
            bytes: state.history.bytes,
            age: Duration::from_secs(sync.max_event_age_hours.saturating_mul(3600)),
            max_bytes: state.max_bytes,
        };
        Self { retention, cleanup_interval: sync.cleanup_interval, ring_bytes: 4 << 20, now_us }
    }
}

fn now_us() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}

impl Log {
    /// The log of this store. There must be one only: it takes what it appends for all there is.
    pub fn open(store: Store, options: LogOptions) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            epoch: store.epoch().to_string(),
            retention: options.retention,
            now_us: options.now_us,
            ring: Mutex::new(Ring::new(store.tally().head, options.ring_bytes)),
            appended: Condvar::new(),
            cursors: Cursors::open(store.clone())?,
            compaction: compaction::Signal::default(),
            store,
        });
        let compaction = compaction::spawn(Arc::clone(&shared), options.cleanup_interval);
        let compaction = compaction.map_err(|error| shared.store.cannot("start the compaction of", error))?;
        Ok(Self { handle: Arc::new(Handle { shared, compaction: Some(compaction) }) })
    }

    /// Which log it is; revisions are compared only inside one epoch.
    pub fn epoch(&self) -> &str {
        &self.shared().epoch
    }

    /// The newest committed revision; 0 in a new log.
    pub fn head(&self) -> u64 {
        self.shared().ring().head()
    }

    /// History is complete only after this revision.
    pub fn compacted(&self) -> u64 {
        self.shared().store.tally().compacted
    }

    /// How far each sink has come.
    pub fn cursors(&self) -> &Cursors {
        &self.shared().cursors
    }

    /// What the log holds.
    pub fn counts(&self) -> LogCounts {
        let tally = self.shared().store.tally();
        let ring = self.shared().ring();
        LogCounts {
            head: ring.head(),
            compacted: tally.compacted,
            n_entries: tally.n_entries,
            n_bytes: tally.n_bytes,
            n_keys: tally.n_keys,
            n_deleted_keys: tally.n_deleted_keys,
            n_recent: ring.n_records(),
            recent_bytes: ring.n_bytes() as u64,
        }
    }

    /// Commits, with one entry per record; returns the first entry's revision, 0 without entries, when that is on disk.
    pub fn commit(&self, commit: Commit, entries: Vec<Record>) -> Result<u64, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.submit(commit, entries, move |result| {
            let _ = answer.send(result);
        });
        answered.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// As [`Log::commit`], and calls `answer` when that is on disk or refused; waits only while too much waits already.
    ///
    /// `answer` runs on the store's writer thread, in the order of the revisions: it must be short and must not wait.
    /// By then the entries can be read. Headers that start with `lockstep.` are left out of them.
    pub fn submit(
        &self,
        mut commit: Commit,
        entries: Vec<Record>,
        answer: impl FnOnce(Result<u64, StoreError>) + Send + 'static,
    ) {
        let shared = Arc::clone(self.shared());
        let committed_at_us = (shared.now_us)();
        let entries = entries.into_iter().map(|record| entry::encode(record, committed_at_us));
        commit.entries = match entries.collect() {
            Ok(entries) => entries,
            Err(refused) => return answer(Err(refused)),
        };
        let values: Vec<_> = commit.entries.iter().map(|entry| entry.value.clone()).collect();
        self.shared().store.submit(commit, move |result| {
            let first = result.map(|committed| committed.first_revision);
            if let Ok(first) = first
                && !values.is_empty()
            {
                shared.append(first, values);
            }
            // Who has the answer may let go of the log and open it again at once.
            drop(shared);
            answer(first);
        });
    }

    /// Waits until there is something after revision `after`, at most this long; whether there is.
    pub fn wait(&self, after: u64, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut ring = self.shared().ring();
        while ring.head() <= after {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.shared().appended.wait_timeout(ring, left);
            ring = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Gives up what may go now, without waiting for the interval.
    pub fn compact(&self) -> Result<(), StoreError> {
        compaction::run(self.shared())
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Shared {
    /// On the writer's thread, in the order of the revisions.
    fn append(&self, first: u64, entries: Vec<Bytes>) {
        self.ring().push(first, entries);
        self.appended.notify_all();
        if self.retention.is_exceeded(&self.store.tally()) {
            self.compaction.ask();
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self) -> StoreError {
        self.store.damaged("an entry of its log cannot be read")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.compaction.end();
        let Some(compaction) = self.compaction.take() else { return };
        // An answer may hold the last clone; the compaction may be waiting for that very answer.
        if !self.shared.store.is_answering() {
            let _ = compaction.join();
        }
    }
}

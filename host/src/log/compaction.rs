//! History that is too old, too long or too large is given up, from its old end.
//!
//! Invariant: of what was passed there remains, per key, its newest entry at that moment, so that whoever reads the log
//! from any revision on ends with the right value of every key. An entry goes when the one that replaced it is passed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Shared;
use super::entry::Head;
use crate::store::{Commit, ReadLimit, StoreError, Tally, Trim};

/// What one commit gives up at most, so that it does not hold up the others.
const CHUNK: ReadLimit = ReadLimit { through: u64::MAX, records: 512, bytes: 1 << 20 };

/// Runs that are asked for by size come at most this often: one that is held up by a cursor has nothing to do.
const PAUSE: Duration = Duration::from_secs(1);

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Entries of history.
    pub records: u64,
    /// Bytes of history.
    pub bytes: u64,
    pub age: Duration,
    /// Bytes of the log beyond which the slowest cursor holds nothing back.
    pub max_bytes: u64,
}

/// Between the log and its compaction's thread.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<Asked>,
    asked: Condvar,
    /// Two runs at once would count the bytes of one piece twice.
    running: Mutex<()>,
}

#[derive(Default)]
struct Asked {
    to_run: bool,
    to_end: bool,
}

pub(super) fn spawn(shared: Arc<Shared>, interval: Duration) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("log-compaction".to_owned()).spawn(move || {
        while shared.compaction.wait(interval) {
            match run(&shared) {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "history is not given up for now")
                }
                Err(error) => tracing::warn!(%error, "history cannot be given up"),
            }
        }
    })
}

/// Gives up what may go now.
pub(super) fn run(shared: &Shared) -> Result<(), StoreError> {
    let _alone = shared.compaction.running.lock().unwrap_or_else(PoisonError::into_inner);
    let before = shared.store.tally();
    while !shared.compaction.is_ending()
        && let Some(trim) = next_trim(shared)?
    {
        shared.store.commit(Commit { trim: Some(trim), ..Commit::default() })?;
    }
    let after = shared.store.tally();
    if after.passed > before.passed {
        tracing::debug!(
            passed = after.passed,
            compacted = after.compacted,
            entries = after.n_entries,
            "history was given up"
        );
    }
    Ok(())
}

/// The next piece, if there is one.
fn next_trim(shared: &Shared) -> Result<Option<Trim>, StoreError> {
    let tally = shared.store.tally();
    let bounds = Bounds::new(shared, tally);
    let mut trim = Trim { passed: tally.passed, ..Trim::default() };
    for entry in shared.store.entries(tally.passed, CHUNK)?.entries {
        let head = Head::read(entry.value()).ok_or_else(|| shared.damaged())?;
        if !bounds.lets_go(entry.revision, &head, &trim) {
            break;
        }
        trim.passed = entry.revision;
        trim.passed_bytes += entry.n_bytes();
        if head.is_notice {
            trim.revisions.push(entry.revision);
            trim.bytes += entry.n_bytes();
        } else if entry.previous > 0 {
            trim.revisions.push(entry.previous);
            trim.bytes += u64::from(entry.previous_bytes);
        }
    }
    Ok((trim.passed > tally.passed).then_some(trim))
}

/// What decides whether an entry's time has come.
struct Bounds {
    retention: Retention,
    tally: Tally,
    /// Committed before this is too old.
    oldest_us: i64,
    /// The slowest sink has taken everything up to here.
    taken: u64,
}

impl Bounds {
    fn new(shared: &Shared, tally: Tally) -> Self {
        let retention = shared.retention;
        let age_us = i64::try_from(retention.age.as_micros()).unwrap_or(i64::MAX);
        let oldest_us = (shared.now_us)().saturating_sub(age_us);
        Self { retention, tally, oldest_us, taken: shared.cursors.slowest().unwrap_or(u64::MAX) }
    }

    /// Whether this entry, the oldest of history after `trim`, is passed.
    fn lets_go(&self, revision: u64, head: &Head, trim: &Trim) -> bool {
        // Entries may have been committed since the tally was taken.
        let is_too_large = self.tally.n_bytes.saturating_sub(trim.bytes) > self.retention.max_bytes;
        let is_due = head.committed_at_us < self.oldest_us
            || self.tally.head.saturating_sub(trim.passed) > self.retention.records
            || self.tally.history_bytes.saturating_sub(trim.passed_bytes) > self.retention.bytes;
        is_too_large || (is_due && revision <= self.taken)
    }
}

impl Retention {
    /// Whether compaction has work before its time: an eighth more than is kept, so that it is worth a run.
    pub(super) fn is_exceeded(&self, tally: &Tally) -> bool {
        let exceeds = |found: u64, kept: u64| found > kept.saturating_add(kept / 8);
        exceeds(tally.history_records(), self.records)
            || exceeds(tally.history_bytes, self.bytes)
            || tally.n_bytes > self.max_bytes
    }
}

impl Signal {
    /// Asks for a run, unless one is asked for.
    pub fn ask(&self) {
        if !std::mem::replace(&mut self.lock().to_run, true) {
            self.asked.notify_all();
        }
    }

    pub fn end(&self) {
        self.lock().to_end = true;
        self.asked.notify_all();
    }

    fn is_ending(&self) -> bool {
        self.lock().to_end
    }

    /// Waits for the next run; false at the end.
    fn wait(&self, interval: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            let waited = start.elapsed();
            if state.to_end || waited >= interval || (state.to_run && waited >= PAUSE) {
                state.to_run = false;
                return !state.to_end;
            }
            let left = if state.to_run { PAUSE.min(interval) } else { interval } - waited;
            state = self.asked.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The oldest entries go: when there are too many, too many bytes of them, or when they are too old.
//!
//! Invariant: only the oldest go, and the last of them leaves its number and hash as the anchor, from which the rest can be
//! verified.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::store::{AuditLimit, AuditPage, AuditTrim, Chain, Commit, Store, StoreError};

/// What one commit gives up at most, so that it does not hold up the others.
const CHUNK: AuditLimit = AuditLimit { records: 2000, bytes: 8 << 20 };

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub entries: u64,
    pub bytes: u64,
    pub age: Duration,
}

/// Ends with its thread when it is dropped.
pub(super) struct Retention {
    work: Arc<Work>,
    ask: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Work {
    store: Store,
    limits: Limits,
    now_us: fn() -> i64,
    is_ending: AtomicBool,
    /// Two runs at once would count the bytes of one piece twice.
    running: Mutex<()>,
}

impl Retention {
    pub fn start(
        store: Store,
        limits: Limits,
        interval: Duration,
        now_us: fn() -> i64,
    ) -> Result<Self, StoreError> {
        let (is_ending, running) = (AtomicBool::new(false), Mutex::new(()));
        let work = Arc::new(Work { store, limits, now_us, is_ending, running });
        let (ask, asked) = sync_channel(1);
        let thread = Builder::new().name("audit-retention".to_owned()).spawn({
            let work = Arc::clone(&work);
            move || work.serve(&asked, interval)
        });
        let thread =
            thread.map_err(|error| work.store.cannot("start the retention of the audit of", error))?;
        Ok(Self { work, ask: Some(ask), thread: Some(thread) })
    }

    /// Asks for a run before its time if there is an eighth more than is kept, so that it is worth one.
    pub fn ask_if_exceeded(&self, chain: &Chain) {
        let exceeds = |found: u64, kept: u64| found > kept.saturating_add(kept / 8);
        let limits = &self.work.limits;
        if exceeds(chain.n_entries(), limits.entries) || exceeds(chain.n_bytes, limits.bytes) {
            // Full: it has been asked.
            let _ = self.ask.as_ref().map(|ask| ask.try_send(()));
        }
    }

    pub fn run(&self) -> Result<(), StoreError> {
        self.work.run()
    }
}

impl Work {
    fn serve(&self, asked: &Receiver<()>, interval: Duration) {
        while !matches!(asked.recv_timeout(interval), Err(RecvTimeoutError::Disconnected)) {
            match self.run() {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "the audit is not shortened for now");
                }
                Err(error) => tracing::warn!(%error, "the audit cannot be shortened"),
            }
        }
    }

    fn run(&self) -> Result<(), StoreError> {
        let _alone = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_ending.load(Ordering::Relaxed)
            && let Some(trim) = self.next_trim()?
        {
            self.store.commit(Commit { audit_trim: Some(trim), ..Commit::default() })?;
        }
        Ok(())
    }

    /// The next piece, if there is one.
    fn next_trim(&self) -> Result<Option<AuditTrim>, StoreError> {
        let age_us = i64::try_from(self.limits.age.as_micros()).unwrap_or(i64::MAX);
        let oldest_us = (self.now_us)().saturating_sub(age_us);
        let page = self.oldest()?;
        let (mut through, mut n_bytes) = (None, 0);
        let head = page.chain.head.number;
        // What cannot be read goes with the next one that can. What somebody has put behind the head is none of the
        // chain's, and for `verify` to tell.
        let of_chain = page.records.into_iter().take_while(|(number, _)| *number <= head);
        for record in of_chain.filter_map(|(_, record)| record) {
            let n_kept = head + 1 - record.number;
            let is_due = n_kept > self.limits.entries
                || page.chain.n_bytes.saturating_sub(n_bytes) > self.limits.bytes
                || record.at_us < oldest_us;
            if !is_due {
                break;
            }
            n_bytes += record.n_bytes();
            through = Some(record.link());
        }
        Ok(through.map(|through| AuditTrim { through, n_bytes }))
    }

    /// The first entries of which one can be read, if there is one.
    fn oldest(&self) -> Result<AuditPage, StoreError> {
        let mut after = self.store.audit_chain().anchor.number;
        loop {
            let page = self.store.audit_page(after, CHUNK)?;
            if page.is_last || page.records.iter().any(|(_, record)| record.is_some()) {
                return Ok(page);
            }
            after = page.records.last().map_or(u64::MAX, |(number, _)| *number);
        }
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.work.is_ending.store(true, Ordering::Relaxed);
        self.ask = None;
        let Some(thread) = self.thread.take() else { return };
        // An answer may hold the last clone; the retention may be waiting for that very answer.
        if !self.work.store.is_answering() {
            let _ = thread.join();
        }
    }
}

//! What is on its way: one [`Flight`] per polled batch, and the bound on all of them together.
//!
//! Invariant: a flight is finished exactly once, when the chain and every sink that was given a part of it have let go.

use super::{committer::Progress, dead_letter::Claim, through_log::Reply};
use crate::audit::Operator;
use lockstep_plugin_api::{Bytes, Error, Json};
use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

/// Where a batch came from, which is who has to hear of its end.
#[derive(Debug)]
pub enum Origin {
    /// A source of this pipeline, by its index, and the batch's place in the source's order.
    Source { source: usize, seq: u64 },
    /// A dead letter that is tried again.
    DeadLetter { claim: Claim },
    /// The host's own source: an operator, if one made the change.
    Admin { operator: Option<Operator>, reply: Reply },
    /// The log, on the way to one sink; its authors have been answered.
    Log { through: u64 },
}

/// A polled batch on its way to every sink.
#[derive(Debug)]
pub struct Flight {
    pub origin: Origin,
    /// The ids its records were given; ids of records that were not there are unused.
    pub ids: Range<u64>,
    /// The last position of the batch in each lane it has records of.
    pub positions: Vec<(u32, Bytes)>,
    pub n_bytes: u64,
    pub polled_at: Instant,
    /// How many still hold it.
    holders: AtomicUsize,
    /// Records that did not make it, and why. Empty for nearly every batch, so the lock is hardly ever taken.
    refused: Mutex<Vec<(u64, Verdict)>>,
    /// Records that were committed to the log.
    applied: Mutex<Vec<Applied>>,
    /// Whether the dead letter that this is has been stored again.
    letter_taken: AtomicBool,
    progress: Sender<Progress>,
}

/// What became of a record that was not written everywhere.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It can never succeed.
    Rejected(Error),
    /// It failed and may be tried again by its author.
    Failed(Error),
    /// It lies in the dead letter queue (again, for a dead letter): taken care of.
    Stored,
}

/// What became of a record that is in the log.
#[derive(Debug, Clone)]
pub struct Applied {
    pub id: u64,
    pub revision: u64,
    pub details: Option<Json>,
    /// Its author had sent it before: it was committed then.
    pub is_repeat: bool,
}

impl Flight {
    /// A flight held once, by whoever made it.
    pub fn new(origin: Origin, ids: Range<u64>, n_bytes: u64, progress: Sender<Progress>) -> Self {
        Self {
            origin,
            ids,
            positions: Vec::new(),
            n_bytes,
            polled_at: Instant::now(),
            holders: AtomicUsize::new(1),
            refused: Mutex::default(),
            applied: Mutex::default(),
            letter_taken: AtomicBool::new(false),
            progress,
        }
    }

    pub fn n_records(&self) -> usize {
        (self.ids.end - self.ids.start) as usize
    }

    /// One more holder for each of `n` sinks. Called by a holder.
    pub fn hold(&self, n: usize) {
        self.holders.fetch_add(n, Ordering::Relaxed);
    }

    /// One holder lets go; the last one sends the flight to be finished.
    pub fn release(self: &Arc<Self>) {
        // AcqRel: what every holder wrote into `refused` happens before the flight is finished.
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Fails only when the run is over and nobody listens; the source hears `failed` then.
            let _ = self.progress.send(Progress::Finished(self.clone()));
        }
    }

    /// Says what became of one record; the first word about a record counts.
    pub fn refuse(&self, id: u64, verdict: Verdict) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if !refused.iter().any(|(known, _)| *known == id) {
            refused.push((id, verdict));
        }
    }

    /// Says which records are in the log.
    pub fn apply(&self, applied: impl IntoIterator<Item = Applied>) {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).extend(applied);
    }

    /// Whether what it has in the log was there before it came.
    pub fn is_repeat(&self) -> bool {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        !applied.is_empty() && applied.iter().all(|one| one.is_repeat)
    }

    /// Every record that is in the log.
    pub fn applied(&self) -> Vec<Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True for the first that asks: it stores the dead letter that this flight is under its old key.
    pub fn take_letter(&self) -> bool {
        !self.letter_taken.swap(true, Ordering::Relaxed)
    }

    /// Every record that was not written everywhere.
    pub fn refused(&self) -> HashMap<u64, Verdict> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The bound on what a pipeline has in flight, in records and bytes.
#[derive(Debug)]
pub struct InFlight {
    max_records: usize,
    max_bytes: u64,
    used: Mutex<Used>,
    released: Condvar,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub records: usize,
    pub bytes: u64,
}

impl InFlight {
    pub fn new(max_records: usize, max_bytes: u64) -> Self {
        Self { max_records, max_bytes, used: Mutex::default(), released: Condvar::new() }
    }

    /// How much room there is, waiting at most `wait` for some; `None` if there is none.
    pub fn room(&self, wait: Duration) -> Option<Used> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |used: &mut Used| used.records >= self.max_records || used.bytes >= self.max_bytes;
        let (mut used, _) =
            self.released.wait_timeout_while(used, wait, is_full).unwrap_or_else(PoisonError::into_inner);
        (!is_full(&mut used))
            .then(|| Used { records: self.max_records - used.records, bytes: self.max_bytes - used.bytes })
    }

    /// Counts a batch in. The batch that reaches a bound may go beyond it by its own size.
    pub fn add(&self, records: usize, bytes: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.records += records;
        used.bytes += bytes;
    }

    /// Counts a batch out.
    pub fn release(&self, records: usize, bytes: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.records -= records;
        used.bytes -= bytes;
        drop(used);
        self.released.notify_all();
    }

    pub fn used(&self) -> Used {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_last_holder_finishes_a_flight_once() {
        #[expect(clippy::disallowed_methods, reason = "as the runtime makes it")]
        let (progress, news) = mpsc::channel();
        let flight = Arc::new(Flight::new(Origin::Source { source: 0, seq: 0 }, 1..3, 10, progress));
        flight.hold(2);
        flight.refuse(1, Verdict::Stored);
        flight.refuse(1, Verdict::Rejected(Error::fatal("later")));
        flight.release();
        flight.release();
        assert!(news.try_recv().is_err(), "the chain still holds it");
        flight.release();
        let Ok(Progress::Finished(finished)) = news.try_recv() else { panic!("not finished") };
        assert!(matches!(finished.refused()[&1], Verdict::Stored), "the first word counts");
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn there_is_room_until_a_bound_is_reached() {
        let in_flight = InFlight::new(10, 100);
        in_flight.add(4, 100);
        assert_eq!(in_flight.room(Duration::ZERO), None, "bytes are full");
        in_flight.release(4, 100);
        assert_eq!(in_flight.room(Duration::ZERO), Some(Used { records: 10, bytes: 100 }));
    }
}

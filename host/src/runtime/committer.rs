//! The end of every flight: its authors hear of it, its positions are stored, its source may forget it.
//!
//! Invariant: a position is stored only when everything polled before it in its source has been taken care of. One
//! thread per run does this; whatever finishes while it waits for the disk is stored together next time.

use super::{
    flight::{Applied, Flight, Origin, Verdict},
    positions::PositionKeys,
    run::{Ended, Run},
    through_log::{self, Became},
    watchdog::{Call, Watched},
};
use crate::registry::Replies;
use crate::store::Commit;
use lockstep_plugin_api::{
    Bytes, Error, ErrorKind,
    source::{Outcome, OutcomeResult},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::Receiver},
    time::{Duration, Instant},
};
use tracing::{error, info, warn};

/// How long to wait before a store that refuses is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What the committer hears.
#[derive(Debug)]
pub enum Progress {
    /// A source is open: this is how to reply to it.
    Opened { source: usize, replies: Replies, watched: Arc<Watched> },
    /// Everybody has let go of a batch.
    Finished(Arc<Flight>),
    /// Through the log: everything that finished before this was in one commit.
    Told,
    /// The run is over: whatever is not finished is given up, and its authors are told.
    Close,
}

/// The flights that are not settled yet; sources wait here for theirs.
///
/// A source adds a flight before any of its records can finish. That wakes nobody: the committer looks here when
/// something has finished, and with small batches waking it twice per batch would cost more than all else.
#[derive(Debug)]
pub struct Unsettled {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug)]
struct Waiting {
    /// By source, in its order.
    flights: Vec<VecDeque<Polled>>,
    is_closed: bool,
}

#[derive(Debug)]
struct Polled {
    flight: Arc<Flight>,
    is_finished: bool,
}

impl Unsettled {
    pub fn new(n_sources: usize) -> Self {
        let flights = (0..n_sources).map(|_| VecDeque::new()).collect();
        Self { waiting: Mutex::new(Waiting { flights, is_closed: false }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a flight of a source; fails once the committer has given up what was left.
    pub fn add(&self, source: usize, flight: Arc<Flight>) -> Result<(), Ended> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(Ended);
        }
        waiting.flights[source].push_back(Polled { flight, is_finished: false });
        Ok(())
    }

    fn mark(&self, source: usize, seq: u64) {
        let flights = &mut self.lock().flights[source];
        let Some(Origin::Source { seq: first, .. }) = flights.front().map(|first| &first.flight.origin)
        else {
            return;
        };
        let place = (seq - first) as usize;
        if let Some(polled) = flights.get_mut(place) {
            polled.is_finished = true;
        }
    }

    /// The flights before which nothing of the source is unfinished. They stay until they are removed.
    fn finished(&self, source: usize) -> Vec<Arc<Flight>> {
        let waiting = self.lock();
        let finished = waiting.flights[source].iter().take_while(|polled| polled.is_finished);
        finished.map(|polled| polled.flight.clone()).collect()
    }

    /// Removes the first `n` flights of a source: they are settled.
    fn remove(&self, source: usize, n: usize) {
        self.lock().flights[source].drain(..n);
        self.changed.notify_all();
    }

    /// Takes every flight out and takes none in any more.
    fn close(&self) -> Vec<VecDeque<Polled>> {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        let rest = waiting.flights.iter_mut().map(std::mem::take).collect();
        drop(waiting);
        self.changed.notify_all();
        rest
    }

    /// Whether every flight of the source before this one is settled.
    pub fn is_settled_before(&self, source: usize, seq: u64) -> bool {
        match self.lock().flights[source].front().map(|first| &first.flight.origin) {
            Some(Origin::Source { seq: first, .. }) => *first >= seq,
            _ => true,
        }
    }

    /// Waits until every flight of the source is settled; false if that takes longer than `limit`.
    pub fn wait(&self, source: usize, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut waiting = self.lock();
        while !waiting.flights[source].is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The state of the committer's thread.
pub struct Committer<'a> {
    run: &'a Run,
    unsettled: &'a Unsettled,
    sources: Vec<SourceEnd<'a>>,
}

/// One source, seen from the end of its flights.
struct SourceEnd<'a> {
    index: usize,
    step: &'a crate::pipeline::Step,
    keys: PositionKeys,
    replies: Option<(Replies, Arc<Watched>)>,
}

impl<'a> Committer<'a> {
    pub fn new(run: &'a Run, unsettled: &'a Unsettled) -> Self {
        let end = |(index, source): (usize, &'a crate::pipeline::SourceStep)| SourceEnd {
            index,
            step: &source.step,
            keys: PositionKeys::new(&run.pipeline.name, &source.step.name),
            replies: None,
        };
        Self { run, unsettled, sources: run.pipeline.sources.iter().enumerate().map(end).collect() }
    }

    /// Runs until the run is over. Whatever has queued up is taken together, so that one fsync serves all of it.
    pub fn run(mut self, progress: &Receiver<Progress>) {
        while let Ok(first) = progress.recv() {
            let (mut is_closing, mut n_told) = (false, 0);
            let mut finished = Vec::new();
            for news in std::iter::once(first).chain(progress.try_iter()) {
                match news {
                    Progress::Opened { source, replies, watched } => {
                        self.sources[source].replies = Some((replies, watched));
                    }
                    Progress::Finished(flight) => finished.push(flight),
                    Progress::Told => n_told += 1,
                    Progress::Close => is_closing = true,
                }
            }
            self.finished(&finished);
            if let Some(through) = self.run.through_log() {
                (0..n_told).for_each(|_| through.authors_told());
            }
            self.commit();
            if is_closing {
                return self.give_up_rest();
            }
        }
    }

    /// Tells the authors, in the order in which their records finished, and marks what may be committed.
    fn finished(&mut self, finished: &[Arc<Flight>]) {
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); self.sources.len()];
        let mut delivered = Vec::new();
        for flight in finished {
            match &flight.origin {
                Origin::Source { source, seq } => {
                    let end = &self.sources[*source];
                    if end.step.component.answers() {
                        outcomes[*source].extend(outcomes_of(flight));
                    }
                    self.unsettled.mark(*source, *seq);
                }
                Origin::Admin { reply, .. } => {
                    let is_repeat = flight.is_repeat();
                    let became = |Outcome { result, .. }| Became { result, is_repeat };
                    outcomes_of(flight).into_iter().for_each(|outcome| reply.answer(became(outcome)));
                    self.run.in_flight.release(flight.n_records(), flight.n_bytes);
                    self.run.metrics.admin_acked(flight.n_records());
                }
                Origin::DeadLetter { claim } if flight.refused().is_empty() => {
                    delivered.push(claim.key().clone())
                }
                // It failed again and was stored anew under its key.
                Origin::DeadLetter { .. } => {}
                // The sink's own thread hears of these.
                Origin::Log { .. } => {}
            }
        }
        self.delivered(&delivered);
        for (end, outcomes) in self.sources.iter().zip(outcomes) {
            end.tell(self.run, outcomes);
        }
    }

    /// Dead letters that came through are ones no more.
    fn delivered(&self, keys: &[Vec<u8>]) {
        if keys.is_empty() {
            return;
        }
        match self.run.dead_letters.remove(keys) {
            Ok(()) => info!(records = keys.len(), "dead letters delivered"),
            Err(error) => warn!(%error, "a delivered dead letter could not be removed and may come twice"),
        }
    }

    /// Stores the highest position per lane up to which everything is finished, and settles those flights.
    fn commit(&mut self) {
        let run = self.run;
        let mut commit = Commit::default();
        let mut settled = Vec::new();
        for end in &self.sources {
            let flights = self.unsettled.finished(end.index);
            let mut lanes = BTreeMap::new();
            for flight in &flights {
                lanes.extend(flight.positions.iter().cloned());
            }
            // Through the log they were committed together with the entries.
            for (lane, position) in lanes.iter().filter(|_| run.through_log().is_none()) {
                commit = end.keys.put(commit, *lane, position);
            }
            settled.push((end.index, flights, lanes));
        }
        if !commit.puts.is_empty() && !self.store(commit) {
            return;
        }
        for (source, flights, lanes) in settled {
            let end = &self.sources[source];
            end.committed(run, &lanes);
            if !flights.is_empty() {
                let n_records = flights.iter().map(|flight| flight.n_records()).sum();
                run.in_flight.release(n_records, flights.iter().map(|flight| flight.n_bytes).sum());
                run.metrics.step(end.step.index).records_out.add(n_records as u64);
                self.unsettled.remove(source, flights.len());
            }
        }
    }

    /// Stores until it succeeds: a full disk holds the pipeline. False if the run ended first; what was polled since
    /// the last position is then read again.
    fn store(&self, commit: Commit) -> bool {
        let mut is_told = false;
        loop {
            if self.run.is_abandoned() {
                return false;
            }
            match self.run.store.commit(commit.clone()) {
                Ok(_) => {
                    if is_told {
                        info!("the store takes positions again");
                    }
                    return true;
                }
                Err(refused) => {
                    if !std::mem::replace(&mut is_told, true) {
                        error!(error = %refused, "the store takes no positions, waiting");
                    }
                    if self.run.pause(STORE_RETRY).is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// The run is over: authors of unfinished records may try again, and nothing unfinished has a position.
    fn give_up_rest(&self) {
        let mut n_records = 0;
        let reason = match self.run.through_log() {
            Some(_) => through_log::NOT_KNOWN,
            None => "the pipeline ended before the change was written",
        };
        let error = Error::rejected("unavailable", reason);
        for (end, flights) in self.sources.iter().zip(self.unsettled.close()) {
            let outcomes = flights
                .iter()
                .filter(|polled| !polled.is_finished)
                .flat_map(|polled| polled.flight.ids.clone())
                .map(|id| Outcome { id, result: OutcomeResult::Failed(error.clone()) });
            if end.step.component.answers() {
                end.tell(self.run, outcomes.collect());
            }
            for Polled { flight, .. } in &flights {
                n_records += flight.n_records();
                self.run.in_flight.release(flight.n_records(), flight.n_bytes);
            }
        }
        if n_records > 0 {
            warn!(records = n_records, "left in flight; a source that can replay reads them again");
        }
    }
}

impl SourceEnd<'_> {
    fn tell(&self, run: &Run, outcomes: Vec<Outcome>) {
        let Some((replies, watched)) = self.replies.as_ref().filter(|_| !outcomes.is_empty()) else { return };
        if let Ok(Err(error)) = watched.call(Call::Outcomes, || replies.outcomes(outcomes)) {
            self.refused(run, Call::Outcomes, &error);
        }
    }

    /// A source that cannot be told anything any more fails; anything less is reported, for the store has the truth.
    fn refused(&self, run: &Run, call: Call, error: &Error) {
        if matches!(error.kind(), ErrorKind::PANIC | ErrorKind::FATAL) {
            run.fail(self.step, call.name(), error, false);
        } else {
            warn!(
                component = self.step.name,
                call = call.name(),
                error = error.message(),
                "a reply was refused"
            );
        }
    }

    fn committed(&self, run: &Run, lanes: &BTreeMap<u32, Bytes>) {
        for (lane, position) in lanes {
            run.status.set_position(self.step.index, *lane, position);
            let Some((replies, watched)) = &self.replies else { continue };
            if let Ok(Err(error)) = watched.call(Call::Commit, || replies.commit(*lane, position)) {
                self.refused(run, Call::Commit, &error);
            }
        }
    }
}

fn outcomes_of(flight: &Flight) -> Vec<Outcome> {
    let mut refused = flight.refused();
    let mut applied: HashMap<u64, Applied> = flight.applied().into_iter().map(|one| (one.id, one)).collect();
    let outcome = |id| {
        let result = match refused.remove(&id) {
            None if let Some(Applied { revision, details, .. }) = applied.remove(&id) => {
                OutcomeResult::Applied { revision, details }
            }
            None | Some(Verdict::Stored) => OutcomeResult::Written,
            Some(Verdict::Rejected(error)) => OutcomeResult::Rejected(error),
            Some(Verdict::Failed(error)) => OutcomeResult::Failed(error),
        };
        Outcome { id, result }
    };
    flight.ids.clone().map(outcome).collect()
}

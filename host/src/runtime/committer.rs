//! The end of every flight: its authors hear of it, its positions are stored, its source may forget it.
//!
//! Invariant: a position is stored only when everything polled before it in its source has been taken care of. One
//! thread per run does this; whatever finishes while it waits for the disk is stored together next time.

use super::{
    flight::{Flight, Origin, Verdict},
    positions::PositionKeys,
    run::Run,
    watchdog::{Call, Watched},
};
use crate::registry::Replies;
use crate::store::Commit;
use lockstep_plugin_api::{
    Bytes, Error,
    source::{Outcome, OutcomeResult},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc::Receiver},
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
    /// A batch was polled; told before any of its records can finish.
    Started(Arc<Flight>),
    /// Everybody has let go of a batch.
    Finished(Arc<Flight>),
    /// The run is over: whatever is not finished is given up, and its authors are told.
    Close,
}

/// How many flights of each source are not settled yet; sources wait here for theirs.
#[derive(Debug, Default)]
pub struct Unsettled {
    counts: Mutex<Vec<usize>>,
    changed: Condvar,
}

impl Unsettled {
    pub fn new(n_sources: usize) -> Self {
        Self { counts: Mutex::new(vec![0; n_sources]), changed: Condvar::new() }
    }

    pub fn add(&self, source: usize) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)[source] += 1;
    }

    fn remove(&self, source: usize) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)[source] -= 1;
        self.changed.notify_all();
    }

    /// Waits until every flight of the source is settled; false if that takes longer than `limit`.
    pub fn wait(&self, source: usize, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        while counts[source] > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            counts = self.changed.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
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
    /// Polled and not yet settled, in the source's order; `true` once finished.
    flights: VecDeque<(Arc<Flight>, bool)>,
}

impl<'a> Committer<'a> {
    pub fn new(run: &'a Run, unsettled: &'a Unsettled) -> Self {
        let end = |(index, source): (usize, &'a crate::pipeline::SourceStep)| SourceEnd {
            index,
            step: &source.step,
            keys: PositionKeys::new(&run.pipeline.name, &source.step.name),
            replies: None,
            flights: VecDeque::new(),
        };
        Self { run, unsettled, sources: run.pipeline.sources.iter().enumerate().map(end).collect() }
    }

    /// Runs until the run is over. Whatever has queued up is taken together, so that one fsync serves all of it.
    pub fn run(mut self, progress: &Receiver<Progress>) {
        while let Ok(first) = progress.recv() {
            let mut is_closing = false;
            let mut finished = Vec::new();
            for news in std::iter::once(first).chain(progress.try_iter()) {
                match news {
                    Progress::Opened { source, replies, watched } => {
                        self.sources[source].replies = Some((replies, watched));
                    }
                    Progress::Started(flight) => self.started(flight),
                    Progress::Finished(flight) => finished.push(flight),
                    Progress::Close => is_closing = true,
                }
            }
            self.finished(&finished);
            self.commit();
            if is_closing {
                return self.give_up_rest();
            }
        }
    }

    fn started(&mut self, flight: Arc<Flight>) {
        if let Origin::Source { source, .. } = flight.origin {
            self.sources[source].flights.push_back((flight, false));
        }
    }

    /// Tells the authors, in the order in which their records finished, and marks what may be committed.
    fn finished(&mut self, finished: &[Arc<Flight>]) {
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); self.sources.len()];
        for flight in finished {
            match &flight.origin {
                Origin::Source { source, seq } => {
                    let end = &mut self.sources[*source];
                    if end.step.component.answers() {
                        outcomes[*source].extend(outcomes_of(flight));
                    }
                    end.mark(*seq);
                }
                Origin::DeadLetter { key } => self.delivered(flight, key),
            }
        }
        for (end, outcomes) in self.sources.iter().zip(outcomes) {
            end.tell(outcomes);
        }
    }

    /// A dead letter came through: it is one no more. One that failed again was stored anew under its key.
    fn delivered(&self, flight: &Flight, key: &[u8]) {
        if !flight.refused().is_empty() {
            return;
        }
        match self.run.dead_letters.remove(&[key.to_vec()]) {
            Ok(()) => info!(record = flight.ids.start, "dead letter delivered"),
            Err(error) => warn!(%error, "a delivered dead letter could not be removed and may come twice"),
        }
    }

    /// Stores the highest position per lane up to which everything is finished, and settles those flights.
    fn commit(&mut self) {
        let run = self.run;
        let mut commit = Commit::default();
        let mut settled = Vec::new();
        for end in &mut self.sources {
            let flights = end.take_finished();
            let mut lanes = BTreeMap::new();
            for flight in &flights {
                lanes.extend(flight.positions.iter().cloned());
            }
            for (lane, position) in &lanes {
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
            for flight in &flights {
                run.in_flight.release(flight.n_records(), flight.n_bytes);
                run.metrics.step(end.step.index).records_out.add(flight.n_records() as u64);
                self.unsettled.remove(source);
            }
        }
    }

    /// Stores until it succeeds: a full disk holds the pipeline. False if the run ended first; what was polled since
    /// the last position is then read again.
    fn store(&self, commit: Commit) -> bool {
        let mut is_told = false;
        loop {
            match self.run.store.commit(commit.clone()) {
                Ok(()) => {
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
    fn give_up_rest(&mut self) {
        let mut n_records = 0;
        for end in &mut self.sources {
            let flights = std::mem::take(&mut end.flights);
            let error = Error::rejected("unavailable", "the pipeline ended before the change was written");
            let outcomes = flights
                .iter()
                .flat_map(|(flight, _)| flight.ids.clone())
                .map(|id| Outcome { id, result: OutcomeResult::Failed(error.clone()) });
            if end.step.component.answers() {
                end.tell(outcomes.collect());
            }
            for (flight, _) in &flights {
                n_records += flight.n_records();
                self.run.in_flight.release(flight.n_records(), flight.n_bytes);
                self.unsettled.remove(end.index);
            }
        }
        if n_records > 0 {
            warn!(records = n_records, "left in flight; a source that can replay reads them again");
        }
    }
}

impl SourceEnd<'_> {
    fn mark(&mut self, seq: u64) {
        let Some((first, _)) = self.flights.front() else { return };
        let Origin::Source { seq: first, .. } = first.origin else { return };
        if let Some((_, is_finished)) = self.flights.get_mut((seq - first) as usize) {
            *is_finished = true;
        }
    }

    fn take_finished(&mut self) -> Vec<Arc<Flight>> {
        let n_finished = self.flights.iter().take_while(|(_, is_finished)| *is_finished).count();
        self.flights.drain(..n_finished).map(|(flight, _)| flight).collect()
    }

    fn tell(&self, outcomes: Vec<Outcome>) {
        let Some((replies, watched)) = self.replies.as_ref().filter(|_| !outcomes.is_empty()) else { return };
        if let Ok(Err(error)) = watched.call(Call::Outcomes, || replies.outcomes(outcomes)) {
            warn!(component = self.step.name, error = error.message(), "the source could not take outcomes");
        }
    }

    fn committed(&self, run: &Run, lanes: &BTreeMap<u32, Bytes>) {
        for (lane, position) in lanes {
            run.status.set_position(self.step.index, *lane, position);
            let Some((replies, watched)) = &self.replies else { continue };
            if let Ok(Err(error)) = watched.call(Call::Commit, || replies.commit(*lane, position)) {
                warn!(
                    component = self.step.name,
                    lane,
                    error = error.message(),
                    "the source could not commit"
                );
            }
        }
    }
}

fn outcomes_of(flight: &Flight) -> Vec<Outcome> {
    let mut refused = flight.refused();
    let outcome = |id| {
        let result = match refused.remove(&id) {
            None | Some(Verdict::Stored) => OutcomeResult::Written,
            Some(Verdict::Rejected(error)) => OutcomeResult::Rejected(error),
            Some(Verdict::Failed(error)) => OutcomeResult::Failed(error),
        };
        Outcome { id, result }
    };
    flight.ids.clone().map(outcome).collect()
}

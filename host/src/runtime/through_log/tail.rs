//! A sink's input from the log: pages from its own place on, and the place that moves when they are written.
//!
//! Invariant: the cursor stands before everything that the sink has not taken care of. A sink that is away or slow is a
//! cursor that stands still: nobody waits for it, and nothing waits in memory beyond what it has in flight.

use super::{
    super::{
        committer::Progress,
        feed,
        flight::{Flight, InFlight, Origin},
        route::{Delivery, part_of},
        run::{Ended, Phase, Run},
        threads::SinkQueue,
    },
    BATCH_BYTES, STORE_RETRY, ThroughLog,
};
use crate::log::{Gap, Page};
use crate::pipeline::SinkStep;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How long a draining sink goes on reading: what is left is in the log, and comes after the next start.
const DRAIN_READ: Duration = Duration::from_secs(2);

/// What a sink is to do next.
pub enum Next {
    Delivery(Delivery),
    Nothing,
    /// Nothing more will come.
    End,
}

/// The log from a sink's place on, and dead letters that enter at the sink again.
pub struct Tail<'a> {
    run: &'a Arc<Run>,
    through: &'a ThroughLog,
    sink: usize,
    step: &'a SinkStep,
    again: SinkQueue,
    /// Nobody is left who could commit or retry anything.
    is_input_over: bool,
    read_through: u64,
    /// What the sink was given, oldest first.
    given: VecDeque<Given>,
    finished: Receiver<Progress>,
    finish: Sender<Progress>,
    in_flight: InFlight,
    is_in_gap: bool,
    draining_since: Option<Instant>,
}

/// A page that the sink works on.
struct Given {
    through: u64,
    n_records: usize,
    n_bytes: u64,
    is_finished: bool,
}

impl<'a> Tail<'a> {
    pub fn new(run: &'a Arc<Run>, through: &'a ThroughLog, sink: usize, again: SinkQueue) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "holds one message per flight, and flights are bounded"
        )]
        let (finish, finished) = mpsc::channel();
        let limits = &run.pipeline.delivery.in_flight;
        Self {
            run,
            through,
            sink,
            step: &run.pipeline.sinks[sink],
            again,
            is_input_over: false,
            read_through: through.cursors.acked(sink),
            given: VecDeque::new(),
            finished,
            finish,
            in_flight: InFlight::new(limits.records, limits.bytes),
            is_in_gap: false,
            draining_since: None,
        }
    }

    /// What comes next, waiting at most `wait` for it.
    pub fn next(&mut self, wait: Duration) -> Result<Next, Ended> {
        self.settle();
        // Elsewhere than on this thread: in a replay.
        if self.through.failures.has(self.sink) {
            return Err(Ended);
        }
        let again = feed::lock(&self.again).try_recv();
        match again {
            Ok(delivery) => return Ok(Next::Delivery(delivery)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => self.is_input_over = true,
        }
        if self.has_drained_enough() {
            return Ok(Next::End);
        }
        if self.in_flight.room(Duration::ZERO).is_none() {
            return Ok(Next::Nothing);
        }
        let log = &self.through.host.log;
        if log.head() <= self.read_through && !log.wait(self.read_through, wait) {
            self.through.cursors.rest(self.sink);
            return Ok(if self.is_input_over { Next::End } else { Next::Nothing });
        }
        self.read()
    }

    /// Reads a page and gives the sink its part of it.
    fn read(&mut self) -> Result<Next, Ended> {
        let Some(room) = self.in_flight.room(Duration::ZERO) else { return Ok(Next::Nothing) };
        let max_records = self.run.pipeline.delivery.batch.records.min(room.records);
        let read =
            self.through.host.log.read(self.read_through, max_records, BATCH_BYTES.min(room.bytes.max(1)));
        let page = match read {
            Ok(page) => page,
            Err(error) => {
                warn!(component = self.step.step.name, %error, "the log cannot be read, waiting");
                self.run.pause(STORE_RETRY)?;
                return Ok(Next::Nothing);
            }
        };
        // Authors hear of their changes before anybody is shown them.
        self.through.answered.wait(self.run, page.through)?;
        self.note_gap(page.gap);
        let first = self.read_through + 1;
        self.read_through = page.through;
        self.give(first, page)
    }

    fn give(&mut self, first: u64, page: Page) -> Result<Next, Ended> {
        let (batch, undecided) = part_of(&self.run.pipeline.sinks, self.sink, &page.batch);
        let batch = self.run.endpoints.owed(self.step.step.index, batch);
        let n_bytes = batch.iter().map(|record| record.size() as u64).sum();
        let n_records = batch.len();
        let origin = Origin::Log { through: page.through };
        let flight = Flight::new(origin, first..page.through + 1, n_bytes, self.finish.clone());
        let flight = Arc::new(flight);
        self.in_flight.add(n_records, n_bytes);
        self.given.push_back(Given { through: page.through, n_records, n_bytes, is_finished: false });
        self.run.give_up(&self.step.step, &flight, undecided)?;
        if batch.is_empty() {
            flight.release();
            return Ok(Next::Nothing);
        }
        Ok(Next::Delivery(Delivery { flight, batch, from: 0 }))
    }

    /// Moves the cursor past everything that is taken care of.
    fn settle(&mut self) {
        for news in self.finished.try_iter() {
            let Progress::Finished(flight) = news else { continue };
            let Origin::Log { through } = flight.origin else { continue };
            let place = self.given.partition_point(|given| given.through < through);
            if let Some(given) = self.given.get_mut(place) {
                given.is_finished = true;
            }
        }
        while let Some(given) = self.given.pop_front_if(|given| given.is_finished) {
            self.in_flight.release(given.n_records, given.n_bytes);
            self.through.cursors.ack(self.sink, given.through);
        }
    }

    /// History did not reach back to the sink's place: said once for each time it fell out.
    fn note_gap(&mut self, gap: Option<Gap>) {
        let was_in_gap = std::mem::replace(&mut self.is_in_gap, gap.is_some());
        let Some(gap) = gap.filter(|_| !was_in_gap) else { return };
        let (component, after, compacted) = (&self.step.step.name, gap.after, gap.compacted);
        if self.through.cursors.is_new(self.sink) {
            info!(component, compacted, "a new sink begins with the current state of every key");
            return;
        }
        warn!(
            component,
            after, compacted, "sink fell out of history, the current state of every key follows"
        );
        self.run.metrics.fell_out(self.step.step.index);
        self.run.status.set_gap(self.step.step.index, gap);
    }

    /// Whether a drain has waited long enough for this sink to read what is left.
    fn has_drained_enough(&mut self) -> bool {
        if self.run.phase() < Phase::Draining {
            return false;
        }
        self.draining_since.get_or_insert_with(Instant::now).elapsed() > DRAIN_READ
    }

    /// Whether to leave the rest to the next start: the log keeps it.
    pub fn may_leave(&self) -> bool {
        self.run.phase() >= Phase::Draining
    }
}

impl Drop for Tail<'_> {
    fn drop(&mut self) {
        self.settle();
        self.through.cursors.save(self.sink);
    }
}

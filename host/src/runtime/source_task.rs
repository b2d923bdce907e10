//! A source's thread: polls while there is room, stamps what came, and sends it on its way.
//!
//! With a single source this thread runs the pipeline's chain itself; with several, one chain thread does.

use super::{
    breaker::Breaker,
    catch_up::CatchUp,
    chain::{Chain, Instance},
    committer::{Progress, Unsettled},
    failed::FailedRecord,
    flight::{Flight, Origin, Used},
    positions::PositionKeys,
    route::Route,
    run::{Ended, Phase, Run},
    through_log,
    watchdog::{Call, GivenUp, Watched},
};
use crate::log::HOST_HEADERS;
use crate::pipeline::SourceStep;
use crate::registry::Source;
use lockstep_plugin_api::{Bytes, Error, ErrorKind, Position, Record, abi::Records, time};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    time::{Duration, Instant},
};
use tracing::info;

/// How long a poll or a wait for room may take before the thread looks whether it should end.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// How large a record is taken to be before any was seen.
const FIRST_RECORD_BYTES: u64 = 1 << 20;

/// How long the authors of an aborted run's records may take to be told.
const LAST_OUTCOMES: Duration = Duration::from_secs(1);

/// A batch on its way into a chain.
#[derive(Debug)]
pub struct ChainInput {
    pub flight: Arc<Flight>,
    pub records: Records,
    /// The transform to begin with; past the end is what comes after the chain.
    pub from: usize,
}

/// What comes after a source's own chain.
pub enum Way {
    /// This thread runs the pipeline's chain; dead letters that enter it again come from outside.
    Here { route: Route, again: Receiver<ChainInput> },
    /// Another thread does.
    There(SyncSender<ChainInput>),
}

/// What a source's thread is started with.
pub struct SourceSeat {
    pub index: usize,
    pub way: Way,
    /// Dead letters that enter the source's own chain again.
    pub again: Receiver<ChainInput>,
    pub progress: Sender<Progress>,
    pub unsettled: Arc<Unsettled>,
}

/// Runs the source until it ends, the run drains, or something fails.
pub fn run(run: &Arc<Run>, seat: SourceSeat) -> Result<(), Ended> {
    let step = &run.pipeline.sources[seat.index];
    let (index, unsettled) = (seat.index, seat.unsettled.clone());
    let mut open = open(run, step, &seat)?;
    let result = poll_all(run, step, &mut open, seat);
    run.input_ended();
    // The source stays until the last of its records has an outcome, so that its authors can be told. A run that is
    // aborted tells them at once.
    while !unsettled.wait(index, POLL_WAIT) && run.go_on().is_ok() {}
    unsettled.wait(index, LAST_OUTCOMES);
    result
}

struct OpenSource {
    source: Option<Source>,
    watched: Arc<Watched>,
    /// The place it reads, where that matters.
    endpoint: Option<Bytes>,
    catch_up: CatchUp,
}

impl Drop for OpenSource {
    fn drop(&mut self) {
        let source = self.source.take();
        let _ = self.watched.call(Call::Drop, || drop(source));
    }
}

fn open(run: &Arc<Run>, step: &SourceStep, seat: &SourceSeat) -> Result<OpenSource, Ended> {
    let watched = run.watch(&step.step);
    let keys = PositionKeys::new(&run.pipeline.name, &step.step.name);
    let positions = keys
        .load(&run.store)
        .map_err(|error| run.fail(&step.step, Call::New.name(), &Error::failed(error), false))?;
    for position in &positions {
        run.status.set_position(step.step.index, position.lane(), position.bytes());
    }
    let parts = run.parts(&step.step, positions, true);
    let catch_up = CatchUp::new(&parts);
    let new = || {
        let opened = step.step.component.open_source(&step.step.config, parts.clone());
        run.status.set_catching_up(step.step.index, catch_up.is_under_way());
        opened
    };
    let source = run.open(&step.step, &watched, Instance::First, new)?;
    let replies = source.replies();
    let told = Progress::Opened { source: seat.index, replies, watched: run.watch_replies(&step.step) };
    seat.progress.send(told).map_err(|_| Ended)?;
    let endpoint = run.endpoints.of(step.step.index);
    Ok(OpenSource { source: Some(source), watched, endpoint, catch_up })
}

fn poll_all(run: &Arc<Run>, step: &SourceStep, open: &mut OpenSource, seat: SourceSeat) -> Result<(), Ended> {
    let own = Chain::open(run, &step.chain)?;
    let next = match seat.way {
        Way::Here { route, again } => {
            Next::Here { chain: Chain::open(run, &run.pipeline.transforms)?, route, again }
        }
        Way::There(queue) => Next::There(queue),
    };
    run.wait_open()?;
    let mut task = SourceTask {
        run,
        step,
        index: seat.index,
        open,
        own,
        next,
        again: seat.again,
        progress: seat.progress,
        unsettled: seat.unsettled,
        seq: 0,
        record_bytes: FIRST_RECORD_BYTES,
        breaker: Breaker::default(),
    };
    task.poll_until_the_end()
}

enum Next<'a> {
    Here { chain: Chain<'a>, route: Route, again: Receiver<ChainInput> },
    There(SyncSender<ChainInput>),
}

struct SourceTask<'a> {
    run: &'a Arc<Run>,
    step: &'a SourceStep,
    index: usize,
    open: &'a mut OpenSource,
    own: Chain<'a>,
    next: Next<'a>,
    again: Receiver<ChainInput>,
    progress: Sender<Progress>,
    unsettled: Arc<Unsettled>,
    seq: u64,
    /// About how large a record is: the largest of late, slowly forgotten. Keeps one poll from going far beyond the
    /// bound on bytes in flight.
    record_bytes: u64,
    breaker: Breaker,
}

enum Polled {
    Records { first_id: u64, records: Records },
    Nothing,
    End,
}

impl SourceTask<'_> {
    fn poll_until_the_end(&mut self) -> Result<(), Ended> {
        while self.run.phase() == Phase::Running {
            self.take_again()?;
            let Some(mut room) = self.run.in_flight.room(POLL_WAIT) else { continue };
            if self.run.through_log().is_some() {
                // What is polled together is committed together.
                room.bytes = room.bytes.min(through_log::BATCH_BYTES);
            }
            match self.poll(room)? {
                Polled::Records { first_id, records } => self.send(first_id, records)?,
                Polled::Nothing => {}
                Polled::End => {
                    self.run
                        .status
                        .set_component(self.step.step.index, super::status::ComponentState::Finished);
                    return Ok(());
                }
            }
            let unsettled = &self.unsettled;
            if self.open.catch_up.look(self.seq, |seq| unsettled.is_settled_before(self.index, seq)) {
                info!(component = self.step.step.name, "source has caught up");
                self.run.status.set_catching_up(self.step.step.index, false);
            }
        }
        self.run.go_on()
    }

    /// Polls once, and again while the batch may wait for more.
    fn poll(&mut self, room: Used) -> Result<Polled, Ended> {
        let by_bytes = (room.bytes / self.record_bytes.max(1)).max(1) as usize;
        let max = self.run.pipeline.delivery.batch.records.min(room.records).min(by_bytes);
        let first_id = self.run.take_ids(max as u64);
        let mut records = match self.poll_once(first_id, Used { records: max, ..room }, POLL_WAIT)? {
            Ok(records) if records.is_empty() => return Ok(Polled::Nothing),
            Ok(records) => records,
            Err(end) => return Ok(end),
        };
        let linger = self.run.pipeline.delivery.batch.linger;
        if records.len() == max || linger.is_zero() {
            return Ok(Polled::Records { first_id, records });
        }
        let until = Instant::now() + linger;
        while records.len() < max {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.run.phase() != Phase::Running {
                break;
            }
            let next_id = first_id + records.len() as u64;
            let room = Used { records: max - records.len(), ..room };
            match self.poll_once(next_id, room, left.min(POLL_WAIT))? {
                Ok(more) => records.extend(more),
                // What came before the end is sent; the next poll meets the end again.
                Err(_) => break,
            }
        }
        Ok(Polled::Records { first_id, records })
    }

    fn poll_once(
        &mut self,
        first_id: u64,
        room: Used,
        wait: Duration,
    ) -> Result<Result<Records, Polled>, Ended> {
        let step = &self.step.step;
        let OpenSource { source, watched, .. } = &mut *self.open;
        let source = source.as_mut().expect("taken only when the thread ends");
        match watched.call(Call::Poll, || source.poll(first_id, room.records, room.bytes, wait)) {
            Err(GivenUp) => Err(Ended),
            Ok(Ok(records)) => {
                self.run.answered(step, &mut self.breaker);
                check(&records, first_id, room.records)
                    .map_err(|lie| self.run.fail(step, Call::Poll.name(), &Error::fatal(lie), false))?;
                Ok(Ok(records))
            }
            Ok(Err(error)) if error.kind() == ErrorKind::END_OF_INPUT => Ok(Err(Polled::End)),
            Ok(Err(error)) if error.kind().is_about_endpoint() => {
                let wait = self.run.tripped(step, Call::Poll, &error, &mut self.breaker);
                self.run.pause(wait)?;
                Ok(Err(Polled::Nothing))
            }
            Ok(Err(error)) => Err(self.run.fail(step, Call::Poll.name(), &error, false)),
        }
    }

    /// Sends a polled batch through the source's own chain and on.
    fn send(&mut self, first_id: u64, mut records: Records) -> Result<(), Ended> {
        if !self.step.step.component.answers() {
            records.iter_mut().for_each(strip_host_headers);
        }
        if let Some(endpoint) = &self.open.endpoint {
            through_log::stamp(endpoint, &mut records);
        }
        let Summary { n_records, n_bytes, largest, positions } = summary(&records);
        let metrics = self.run.metrics.step(self.step.step.index);
        metrics.records_in.add(n_records as u64);
        metrics.bytes_read.iter().for_each(|bytes| bytes.add(n_bytes));
        if let Some(made_at) = records.first().map(Record::timestamp_us).filter(|made_at| *made_at != 0) {
            metrics.age.observe(Duration::from_micros((time::now_us() - made_at).max(0) as u64));
        }
        self.record_bytes = largest.max(self.record_bytes * 7 / 8);
        let origin = Origin::Source { source: self.index, seq: self.seq };
        self.seq += 1;
        let ids = first_id..first_id + n_records as u64;
        let mut flight = Flight::new(origin, ids, n_bytes, self.progress.clone());
        flight.positions = positions;
        let flight = Arc::new(flight);
        self.run.in_flight.add(n_records, n_bytes);
        self.unsettled.add(self.index, flight.clone())?;
        let records = self.set_aside_unreadable(&flight, records)?;
        self.pass(ChainInput { flight, records, from: 0 })
    }

    /// What the source could not read goes where failed records go.
    fn set_aside_unreadable(&self, flight: &Flight, records: Records) -> Result<Records, Ended> {
        if records.iter().all(|record| record.error().is_none()) {
            return Ok(records);
        }
        let (unreadable, records): (Vec<Record>, Vec<Record>) =
            records.into_iter().partition(|record| record.error().is_some());
        let failed = |record: Record| {
            let error = record.error().cloned().unwrap_or_else(Error::end_of_input);
            FailedRecord::new(record, error)
        };
        self.run.metrics.step(self.step.step.index).failed.add(unreadable.len() as u64);
        self.run.give_up(&self.step.step, flight, unreadable.into_iter().map(failed).collect())?;
        Ok(records.into_iter().collect())
    }

    /// Through the source's own chain from some place on, then to what comes after it.
    fn pass(&mut self, input: ChainInput) -> Result<(), Ended> {
        let ChainInput { flight, records, from } = input;
        let records = if self.own.is_empty() { records } else { self.own.apply(&flight, records, from)? };
        let input = ChainInput { flight, records, from: 0 };
        match &mut self.next {
            Next::Here { chain, route, .. } => through(self.run, chain, route, input),
            Next::There(queue) => self.run.hand_over(queue, input),
        }
    }

    /// Dead letters that are tried again enter between two batches.
    fn take_again(&mut self) -> Result<(), Ended> {
        while let Ok(input) = self.again.try_recv() {
            self.pass(input)?;
        }
        if let Next::Here { chain, route, again } = &mut self.next {
            while let Ok(input) = again.try_recv() {
                through(self.run, chain, route, input)?;
            }
        }
        Ok(())
    }
}

/// Through the pipeline's chain and to the sinks.
fn through(run: &Run, chain: &mut Chain<'_>, route: &Route, input: ChainInput) -> Result<(), Ended> {
    let records = chain.apply(&input.flight, input.records, input.from)?;
    route.send(run, &input.flight, records)
}

/// The chain's thread, where a pipeline has several sources.
pub fn run_chain(
    run: &Arc<Run>,
    queue: &Receiver<ChainInput>,
    again: &Receiver<ChainInput>,
    route: &Route,
) -> Result<(), Ended> {
    let mut chain = Chain::open(run, &run.pipeline.transforms)?;
    run.wait_open()?;
    loop {
        run.go_on()?;
        while let Ok(input) = again.try_recv() {
            through(run, &mut chain, route, input)?;
        }
        match queue.recv_timeout(POLL_WAIT) {
            Ok(input) => through(run, &mut chain, route, input)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Takes away what only a source may say that talks to its authors: a header of that name which some broker carried, such
/// as the session that holds a lock, would be anybody's word.
fn strip_host_headers(record: &mut Record) {
    let foreign: Vec<String> = record
        .headers()
        .filter(|(name, _)| name.starts_with(HOST_HEADERS))
        .map(|(name, _)| name.to_owned())
        .collect();
    foreign.iter().for_each(|name| record.remove_header(name));
}

/// Whether a poll kept to what it was asked: a sentence if not.
fn check(records: &Records, first_id: u64, max: usize) -> Result<(), String> {
    if records.len() > max {
        return Err(format!("`poll` gave {} records and was asked for at most {max}", records.len()));
    }
    if let Some(record) =
        (first_id..).zip(records).find(|(id, record)| record.id() != *id).map(|(_, record)| record)
    {
        return Err(format!("`poll` gave a record the id {}, which it was not given", record.id()));
    }
    let too_long = |position: &Position| position.bytes().len() > Position::MAX_BYTES;
    if records.iter().filter_map(Record::position).any(too_long) {
        return Err(format!("`poll` gave a position of more than {} bytes", Position::MAX_BYTES));
    }
    Ok(())
}

struct Summary {
    n_records: usize,
    n_bytes: u64,
    /// The size of the largest record.
    largest: u64,
    /// The last position in each lane.
    positions: Vec<(u32, Bytes)>,
}

fn summary(records: &Records) -> Summary {
    let (mut n_bytes, mut largest) = (0, 0);
    let mut positions: Vec<(u32, Bytes)> = Vec::new();
    for record in records {
        let size = record.size() as u64;
        n_bytes += size;
        largest = largest.max(size);
        let Some(position) = record.position() else { continue };
        match positions.iter_mut().find(|(lane, _)| *lane == position.lane()) {
            Some((_, bytes)) => *bytes = position.bytes().clone(),
            None => positions.push((position.lane(), position.bytes().clone())),
        }
    }
    Summary { n_records: records.len(), n_bytes, largest, positions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_host_are_taken_away_and_others_stay() {
        let mut record = Record::new("x");
        for name in ["trace", "lockstep.session", "lockstep.other", "lockstepped"] {
            record.set_header(name, "1");
        }
        strip_host_headers(&mut record);
        let left: Vec<_> = record.headers().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(left, ["trace", "lockstepped"]);
    }
}

//! A sink's thread: puts batches, learns what became of them, and lets their flights go.
//!
//! Invariant: a flight is let go only when each of its records here is written, or told, stored or skipped. While
//! failed records wait for another attempt nothing new is put, so they are passed by at most what was in flight.

use super::{
    breaker::Breaker,
    chain::{Chain, Instance},
    failed::FailedRecord,
    flight::Flight,
    route::Delivery,
    run::{Ended, Run},
    threads::SinkQueue,
    through_log::{Next, Tail},
    watchdog::{Call, GivenUp, Watched},
};
use crate::pipeline::{SinkStep, Step};
use crate::registry::Sink;
use lockstep_plugin_api::{Batch, Error, ErrorKind, Record, abi::Records, backoff::Backoff, sink::Acked};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// How many batches a sink may have in flight; the bound on records and bytes is the pipeline's.
const MAX_PUTS: usize = 64;

/// How long an idle thread waits before it looks whether it should end.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// How long to wait for acks before looking for new batches again.
const ACK_WAIT: Duration = Duration::from_millis(1);

/// Where a sink's batches come from.
enum Feed<'a> {
    /// The chain, and dead letters that enter again.
    Queue(SinkQueue),
    /// The log, from the sink's own place on.
    Log(Tail<'a>),
}

impl Feed<'_> {
    /// What comes next, waiting at most `wait` for it.
    fn next(&mut self, wait: Duration) -> Result<Next, Ended> {
        match self {
            Self::Log(tail) => tail.next(wait),
            Self::Queue(queue) => Ok(match lock(queue).recv_timeout(wait) {
                Ok(delivery) => Next::Delivery(delivery),
                Err(RecvTimeoutError::Timeout) => Next::Nothing,
                Err(RecvTimeoutError::Disconnected) => Next::End,
            }),
        }
    }

    /// Whether what is not written yet may wait for the next start.
    fn may_leave(&self) -> bool {
        matches!(self, Self::Log(tail) if tail.may_leave())
    }
}

/// Only one thread of a sink takes from its queue: another one has ended, or hangs in a call.
pub fn lock(queue: &SinkQueue) -> MutexGuard<'_, Receiver<Delivery>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the sink until nothing more comes and everything is written, or something fails.
pub fn run(run: &Arc<Run>, index: usize, queue: SinkQueue) -> Result<(), Ended> {
    let step = &run.pipeline.sinks[index];
    let watched = run.watch(&step.step);
    let parts = run.parts(&step.step, Vec::new(), false);
    let new = || step.step.component.open_sink(&step.step.config, parts.clone());
    let sink = run.open(&step.step, &watched, Instance::First, new)?;
    let mut task = SinkTask {
        run,
        step,
        watched,
        sink: Some(sink),
        chain: None,
        feed: match run.through_log() {
            Some(through) => Feed::Log(Tail::new(run, through, index, queue)),
            None => Feed::Queue(queue),
        },
        unacked: VecDeque::new(),
        failed: VecDeque::new(),
        next_seq: 1,
        flushed_seq: 0,
        breaker: Breaker::default(),
    };
    task.chain = Some(Chain::open(run, &step.chain)?);
    run.wait_open()?;
    task.write_all()
}

struct SinkTask<'a> {
    run: &'a Arc<Run>,
    step: &'a SinkStep,
    watched: Arc<Watched>,
    sink: Option<Sink>,
    chain: Option<Chain<'a>>,
    feed: Feed<'a>,
    /// Put and not yet acked, oldest first.
    unacked: VecDeque<Put>,
    /// Failed and not yet tried again, oldest first.
    failed: VecDeque<Retry>,
    next_seq: u64,
    /// The batch up to which the sink was asked to finish by itself.
    flushed_seq: u64,
    breaker: Breaker,
}

struct Put {
    seq: u64,
    flight: Arc<Flight>,
    batch: Batch,
    attempts: u32,
    backoff: Option<Backoff>,
}

struct Retry {
    due: Instant,
    put: Put,
}

impl SinkTask<'_> {
    fn write_all(&mut self) -> Result<(), Ended> {
        loop {
            self.run.go_on()?;
            if !self.failed.is_empty() {
                self.retry_or_wait()?;
            } else if self.unacked.len() >= MAX_PUTS {
                self.wait_for_acks()?;
            } else {
                let wait = if self.unacked.is_empty() { IDLE_WAIT } else { Duration::ZERO };
                match self.feed.next(wait)? {
                    Next::Delivery(delivery) => self.take(delivery)?,
                    Next::Nothing if self.unacked.is_empty() => {}
                    Next::Nothing => self.wait_for_acks()?,
                    Next::End => return self.finish(),
                }
            }
        }
    }

    /// Waits for acks. If nothing more is read, what was put may be the last that is put before them: a sink that waits
    /// for a full buffer is told not to. Its queue is closed only later, when the sources have heard of every record.
    fn wait_for_acks(&mut self) -> Result<(), Ended> {
        if self.flushed_seq + 1 < self.next_seq && self.run.is_input_over() {
            self.flushed_seq = self.next_seq - 1;
            self.flush()?;
        }
        self.ack(ACK_WAIT)
    }

    /// The queue is closed: writes out what is left.
    fn finish(&mut self) -> Result<(), Ended> {
        self.flush()?;
        while !self.unacked.is_empty() || !self.failed.is_empty() {
            self.run.go_on()?;
            if self.failed.is_empty() { self.wait_for_acks()? } else { self.retry_or_wait()? }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Ended> {
        loop {
            match self.call_flush()? {
                Ok(()) => {
                    self.run.answered(&self.step.step, &mut self.breaker);
                    return Ok(());
                }
                Err(error) => self.recover(Call::Flush, error)?,
            }
        }
    }

    /// Sends a batch through the sink's own chain and puts what is left of it.
    fn take(&mut self, delivery: Delivery) -> Result<(), Ended> {
        let Delivery { flight, batch, from } = delivery;
        let chain = self.chain.as_mut().expect("open while the thread runs");
        let batch = if chain.is_empty() {
            batch
        } else {
            Batch::from(chain.apply(&flight, batch.iter().cloned().collect::<Records>(), from)?)
        };
        if batch.is_empty() {
            flight.release();
            return Ok(());
        }
        self.run.metrics.step(self.step.step.index).records_in.add(batch.len() as u64);
        self.put(Put { seq: 0, flight, batch, attempts: 1, backoff: None })?;
        self.ack(Duration::ZERO)
    }

    fn put(&mut self, put: Put) -> Result<(), Ended> {
        let seq = self.next_seq;
        self.next_seq += 1;
        let batch = put.batch.clone();
        self.unacked.push_back(Put { seq, ..put });
        match self.call_put(seq, batch)? {
            Ok(()) => Ok(()),
            Err(error) => self.recover(Call::Put, error),
        }
    }

    /// Puts once; an endpoint that is away is the caller's business, anything else fails the run.
    fn call_put(&mut self, seq: u64, batch: Batch) -> Result<Result<(), Error>, Ended> {
        let sink = self.sink.as_mut().expect("taken only when the thread ends");
        match self.watched.call(Call::Put, || sink.put(seq, batch)) {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(error)) if error.kind().is_about_endpoint() => Ok(Err(error)),
            Ok(Err(error)) => Err(self.run.fail(&self.step.step, Call::Put.name(), &error, false)),
            Err(GivenUp) => Err(Ended),
        }
    }

    fn call_acked(&mut self, wait: Duration) -> Result<Result<Acked, Error>, Ended> {
        let sink = self.sink.as_mut().expect("taken only when the thread ends");
        match self.watched.call(Call::Acked, || sink.acked(wait)) {
            Ok(Ok(acked)) => Ok(Ok(acked)),
            Ok(Err(error)) if error.kind().is_about_endpoint() => Ok(Err(error)),
            Ok(Err(error)) => Err(self.run.fail(&self.step.step, Call::Acked.name(), &error, false)),
            Err(GivenUp) => Err(Ended),
        }
    }

    fn call_flush(&mut self) -> Result<Result<(), Error>, Ended> {
        // Below the watchdog, so that a sink which takes all the time it is given is not taken for hung.
        let deadline = self.run.call_timeout;
        let sink = self.sink.as_mut().expect("taken only when the thread ends");
        match self.watched.call(Call::Flush, || sink.flush(deadline)) {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(error)) if error.kind().is_about_endpoint() => Ok(Err(error)),
            Ok(Err(error)) => Err(self.run.fail(&self.step.step, Call::Flush.name(), &error, false)),
            Err(GivenUp) => Err(Ended),
        }
    }

    fn ack(&mut self, wait: Duration) -> Result<(), Ended> {
        if self.unacked.is_empty() {
            return Ok(());
        }
        match self.call_acked(wait)? {
            Ok(acked) => self.acked(acked),
            Err(error) => self.recover(Call::Acked, error),
        }
    }

    /// The endpoint is away: waits, then puts again what was not acked, in order, the oldest alone as a probe.
    fn recover(&mut self, call: Call, mut error: Error) -> Result<(), Ended> {
        loop {
            let wait = self.run.tripped(&self.step.step, call, &error, &mut self.breaker);
            if self.feed.may_leave() {
                return Err(Ended);
            }
            self.run.pause(wait)?;
            match self.put_again()? {
                // Nothing to put again shows nothing: the next call will.
                Ok(()) if self.unacked.is_empty() && call == Call::Flush => return Ok(()),
                Ok(()) => {
                    self.run.answered(&self.step.step, &mut self.breaker);
                    return Ok(());
                }
                Err(still_away) => error = still_away,
            }
        }
    }

    fn put_again(&mut self) -> Result<Result<(), Error>, Ended> {
        let Some(oldest) = self.unacked.front() else { return Ok(Ok(())) };
        let probe = oldest.seq;
        if let Err(error) = self.call_put(probe, oldest.batch.clone())? {
            return Ok(Err(error));
        }
        // What is put again has to be flushed again.
        self.flushed_seq = probe - 1;
        // However long the probe takes: only its ack shows that the endpoint is back.
        while self.unacked.front().is_some_and(|put| put.seq == probe) {
            self.run.go_on()?;
            if self.flushed_seq < probe && self.run.is_input_over() {
                self.flushed_seq = probe;
                if let Err(error) = self.call_flush()? {
                    return Ok(Err(error));
                }
            }
            match self.call_acked(ACK_WAIT * 20)? {
                Ok(acked) => self.acked(acked)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        let rest: Vec<_> = self
            .unacked
            .iter()
            .filter(|put| put.seq != probe)
            .map(|put| (put.seq, put.batch.clone()))
            .collect();
        for (seq, batch) in rest {
            if let Err(error) = self.call_put(seq, batch)? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Takes in what the sink says; a sink that says what cannot be is not believed.
    fn acked(&mut self, acked: Acked) -> Result<(), Ended> {
        if acked.through_seq >= self.next_seq {
            let lie =
                format!("`acked` names batch {}, the last one was {}", acked.through_seq, self.next_seq - 1);
            return Err(self.run.fail(&self.step.step, Call::Acked.name(), &Error::fatal(lie), false));
        }
        let mut failed: HashMap<u64, Error> = acked.failed.into_iter().collect();
        while self.unacked.front().is_some_and(|put| put.seq <= acked.through_seq) {
            let put = self.unacked.pop_front().expect("there is a front");
            self.written(put, &mut failed)?;
        }
        if failed.is_empty() {
            return Ok(());
        }
        let lie = format!("`acked` names {} failed records that are in no finished batch", failed.len());
        Err(self.run.fail(&self.step.step, Call::Acked.name(), &Error::fatal(lie), false))
    }

    /// A batch is finished: its failed records are tried again or given up, the rest is done.
    fn written(&mut self, put: Put, failed: &mut HashMap<u64, Error>) -> Result<(), Ended> {
        let step = &self.step.step;
        let metrics = self.run.metrics.step(step.index);
        metrics.age.observe(put.flight.polled_at.elapsed());
        if failed.is_empty() || !put.batch.iter().any(|record| failed.contains_key(&record.id())) {
            metrics.records_out.add(put.batch.len() as u64);
            self.run.answered(step, &mut self.breaker);
            put.flight.release();
            return Ok(());
        }
        let with_error = |record: &Record| Some((record.clone(), failed.get(&record.id())?.clone()));
        let lost: Vec<(Record, Error)> = put.batch.iter().filter_map(with_error).collect();
        lost.iter().for_each(|(record, _)| drop(failed.remove(&record.id())));
        metrics.records_out.add((put.batch.len() - lost.len()) as u64);
        metrics.failed.add(lost.len() as u64);
        self.sort_out(put, lost)
    }

    /// What failed because of the endpoint comes again when that is back, what failed by itself as often as `on_error`
    /// says; the rest is given up.
    fn sort_out(&mut self, put: Put, lost: Vec<(Record, Error)>) -> Result<(), Ended> {
        let step = &self.step.step;
        let is_last = put.attempts > step.on_error.retry.attempts;
        let (mut away, mut again, mut given_up) = (Vec::new(), Vec::new(), Vec::new());
        let mut endpoint = None;
        for (record, error) in lost {
            match error.kind() {
                kind if kind.is_about_endpoint() => {
                    away.push(record);
                    endpoint = Some(error);
                }
                ErrorKind::FAILED if !is_last => again.push(record),
                kind if kind.is_about_records() => {
                    let attempts = put.attempts;
                    given_up.push(FailedRecord { attempts, ..FailedRecord::new(record, error) });
                }
                _ => return Err(self.run.fail(step, Call::Acked.name(), &error, false)),
            }
        }
        self.run.give_up(step, &put.flight, given_up)?;
        if let Some(error) = endpoint {
            // One more part of the batch is on its way, beside what is tried again for its own sake.
            put.flight.hold(1);
            let due = Instant::now() + self.run.tripped(step, Call::Acked, &error, &mut self.breaker);
            let (flight, batch, attempts) = (put.flight.clone(), Batch::new(away), put.attempts);
            self.failed.push_back(Retry { due, put: Put { seq: 0, flight, batch, attempts, backoff: None } });
        }
        if again.is_empty() {
            put.flight.release();
        } else {
            self.failed.push_back(retry_of(step, put, again));
        }
        Ok(())
    }

    /// Tries the oldest failed records again once they are due and nothing else is in flight.
    fn retry_or_wait(&mut self) -> Result<(), Ended> {
        if !self.unacked.is_empty() {
            return self.wait_for_acks();
        }
        let Some(retry) = self.failed.pop_front() else { return Ok(()) };
        self.run.pause(retry.due.saturating_duration_since(Instant::now()))?;
        self.run.metrics.step(self.step.step.index).retried.add(retry.put.batch.len() as u64);
        self.put(retry.put)?;
        self.ack(Duration::ZERO)
    }
}

fn retry_of(step: &Step, put: Put, records: Vec<Record>) -> Retry {
    let retry = &step.on_error.retry;
    let mut backoff = put.backoff.unwrap_or_else(|| Backoff::new(retry.backoff, retry.max));
    let due = Instant::now() + backoff.next_wait();
    let batch = Batch::new(records);
    Retry { due, put: Put { batch, attempts: put.attempts + 1, backoff: Some(backoff), ..put } }
}

impl Drop for SinkTask<'_> {
    fn drop(&mut self) {
        let sink = self.sink.take();
        let _ = self.watched.call(Call::Drop, || drop(sink));
    }
}

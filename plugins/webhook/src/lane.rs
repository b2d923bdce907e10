//! Everything on its way to one receiver.
//!
//! Invariant: of one key a message is sent only when the receiver has taken or refused every earlier one; with one strand,
//! of all keys.

use crate::{
    answer::{Answer, Later},
    client::Client,
    message::Message,
    metrics::Metrics,
    pause::Pause,
    receiver::Receiver,
};
use lockstep_plugin_api::{
    prelude::*,
    tally::{Away, Tally, Ticket},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tracing::{debug, info};

/// What one lane shares with the others of its sink.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) tally: Tally,
    pub(crate) metrics: Metrics,
    /// For how long a message is tried that is answered with a server error.
    pub(crate) retry_for: Option<Duration>,
}

/// A message, and for which record it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) ticket: Ticket,
    pub(crate) message: Message,
}

/// One receiver's messages, in as many strands as may be under way at once.
pub(crate) struct Lane {
    index: usize,
    receiver: Receiver,
    shared: Arc<Shared>,
    pause: Pause,
    strands: Vec<Strand>,
}

/// Messages that are sent one after the other.
#[derive(Debug, Default)]
struct Strand {
    state: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Strand {
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    fn look<T>(&self, look: impl FnOnce(&mut Waiting) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next message; `None` when the strand is closed. Cancel-safe: what is there stays there.
    async fn next(&self) -> Option<Job> {
        loop {
            match self.look(|waiting| (waiting.is_closed, waiting.jobs.pop_front())) {
                (true, _) => return None,
                (false, Some(job)) => return Some(job),
                (false, None) => self.changed.notified().await,
            }
        }
    }

    /// Waits until the strand is closed.
    async fn closed(&self) {
        while !self.look(|waiting| waiting.is_closed) {
            self.changed.notified().await;
        }
    }
}

impl Lane {
    pub(crate) fn new(index: usize, receiver: Receiver, n_strands: usize, shared: Arc<Shared>) -> Self {
        let strands = (0..n_strands).map(|_| Strand::default()).collect();
        Self { index, receiver, shared, pause: Pause::default(), strands }
    }

    /// Puts a message behind those of its key.
    pub(crate) fn push(&self, job: Job) {
        let strand = (job.message.key % self.strands.len() as u64) as usize;
        self.strands[strand].change(|waiting| waiting.jobs.push_back(job));
    }

    /// Nothing more comes, and what waits is not sent any more.
    pub(crate) fn close(&self) {
        self.strands.iter().for_each(|strand| strand.change(|waiting| waiting.is_closed = true));
    }

    /// Sends the messages of one strand until it is closed. A request that is under way is not cut off.
    pub(crate) async fn run(self: Arc<Self>, strand: usize) {
        while let Some(job) = self.strands[strand].next().await {
            self.deliver(strand, job).await;
        }
    }

    /// Sends a message until the receiver has taken or refused it, or the strand is closed.
    async fn deliver(&self, strand: usize, job: Job) {
        let mut failing_since = None;
        loop {
            tokio::select! {
                biased;
                () = self.strands[strand].closed() => return,
                () = self.pause.over() => {}
            }
            let outcome = match self.post(&job.message).await {
                Answer::Taken => Ok(()),
                Answer::Refused(error) => Err(error),
                Answer::Later(later) => match self.given_up(&later, &mut failing_since) {
                    Some(error) => Err(error),
                    None => {
                        self.away(&later);
                        continue;
                    }
                },
            };
            let metrics = &self.shared.metrics;
            if outcome.is_ok() { &metrics.delivered } else { &metrics.refused }.add(1);
            self.there();
            match outcome {
                Ok(()) => self.shared.tally.done([job.ticket]),
                Err(error) => self.shared.tally.failed(job.ticket, error),
            }
            return;
        }
    }

    async fn post(&self, message: &Message) -> Answer {
        let started = Instant::now();
        let answer = self.shared.client.post(&self.receiver, message).await;
        self.shared.metrics.request.observe(started.elapsed());
        answer
    }

    /// A message that the receiver has answered with server errors for too long may be the cause of them.
    fn given_up(&self, later: &Later, failing_since: &mut Option<Instant>) -> Option<Error> {
        if !later.is_server_error {
            *failing_since = None;
            return None;
        }
        let since = *failing_since.get_or_insert_with(Instant::now);
        let longest = self.shared.retry_for.filter(|longest| since.elapsed() >= *longest)?;
        Some(Error::rejected("refused", format!("{} for {longest:?}", later.why)))
    }

    fn away(&self, later: &Later) {
        self.shared.metrics.retried.add(1);
        let until = self.pause.begin(later);
        debug!(receiver = self.receiver.shown(), why = later.why, "a message is sent again later");
        let until = later.asked.map(|_| until.into_std());
        if self.shared.tally.lost(self.index, Away { why: later.why.clone(), until }).is_some() {
            self.shared.metrics.away.add(1);
        }
        if self.receiver.is_tls() && !later.is_server_error {
            self.shared.client.renew();
        }
    }

    fn there(&self) {
        self.pause.end();
        if self.shared.tally.back(self.index).is_some() {
            self.shared.metrics.away.add(-1);
            info!(receiver = self.receiver.shown(), "the receiver takes messages again");
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.shared.tally.back(self.index).is_some() {
            self.shared.metrics.away.add(-1);
        }
    }
}

//! One connection of the sink: writes what is queued for it, in order, one group after the other.
//!
//! Invariant: of one key nothing is sent before what came earlier is written or given up. A group is sent only when the
//! one before it is answered, and when the connection is lost it is sent again before anything else.

use super::{
    commands::Commands,
    exchange::Fate,
    job::Job,
    queue::Queue,
    reception::{Received, Receptions},
    renewal::Outcome,
};
use crate::{
    cell::Seen,
    connection::{Away, Link, Server},
    meeting::{Meeting, Met},
    metrics::SinkMetrics,
    names::Names,
};
use lockstep_plugin_api::{Error, backoff::Backoff, tally::Tally};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tracing::{debug, error, info, warn};

/// How much is sent before the answers are waited for.
const GROUP_JOBS: usize = 256;
const GROUP_BYTES: usize = 4 << 20;

const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// How many cells all connections together remember.
const SEEN_CELLS: usize = 131_072;

/// What all connections of a sink share.
pub(crate) struct Shared {
    pub(crate) server: Server,
    pub(crate) pool_size: usize,
    /// How the connections are called at the server.
    pub(crate) client_name: String,
    pub(crate) names: Names,
    /// How this host is called.
    pub(crate) node: String,
    /// The stream of records that are written as they are.
    pub(crate) raw_stream: Option<String>,
    pub(crate) commands: Commands,
    pub(crate) needs_script: bool,
    pub(crate) tally: Tally,
    pub(crate) metrics: SinkMetrics,
    pub(crate) meeting: Meeting,
}

/// The state of one connection's task.
pub(crate) struct Lane {
    index: usize,
    pub(super) shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// To be written next, before what is queued.
    ready: VecDeque<Job>,
    link: Option<Link>,
    backoff: Backoff,
    pub(super) seen: Seen,
    receptions: Receptions,
    /// The revisions that cells show by a renewal: what is older needs no cell.
    pub(super) renewed: Seen<u64>,
}

impl Lane {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, queue: Arc<Queue>, receptions: Receptions) -> Self {
        let (seen, renewed) =
            (Seen::new(SEEN_CELLS / shared.pool_size), Seen::new(SEEN_CELLS / shared.pool_size));
        Self {
            index,
            shared,
            queue,
            ready: VecDeque::new(),
            link: None,
            backoff: Backoff::new(RECONNECT_MIN, RECONNECT_MAX),
            seen,
            renewed,
            receptions,
        }
    }

    /// Runs until the queue is closed.
    pub(crate) async fn run(mut self) {
        while !self.queue.is_closed() {
            if self.link.is_none() && !self.connect().await {
                continue;
            }
            if self.ready.is_empty() {
                tokio::select! {
                    () = self.queue.wait() => {}
                    Some(received) = self.receptions.next() => self.received(received),
                }
            }
            let room = GROUP_JOBS.saturating_sub(self.ready.len());
            self.ready.extend(self.queue.take(room));
            self.write().await;
        }
        if self.link.is_some() {
            self.shared.metrics.connections.add(-1);
        }
    }

    /// Connects once; false if that failed, after a pause.
    async fn connect(&mut self) -> bool {
        let connecting = async {
            let mut link = self.shared.server.connect(&self.shared.client_name).await?;
            if self.shared.needs_script {
                self.shared.commands.load(&mut link).await?;
            }
            Ok(link)
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = self.queue.closed() => return false,
        };
        match connected {
            Ok(link) => {
                self.link = Some(link);
                self.shared.metrics.connections.add(1);
                if self.shared.tally.back(self.index) == Some(0) {
                    info!("connected to Redis again");
                }
                true
            }
            Err(away) => {
                self.lost(away).await;
                false
            }
        }
    }

    /// The connection is of no use any more: tells so and pauses. What was sent may still arrive, so the connection goes.
    async fn lost(&mut self, away: Away) {
        if self.link.take().is_some() {
            self.shared.metrics.connections.add(-1);
        }
        if self.shared.tally.lost(self.index, away.to_tell()) == Some(1) {
            warn!(error = %away, "lost Redis, reconnecting");
        }
        tokio::select! {
            () = tokio::time::sleep(self.backoff.next_wait()) => {}
            () = self.queue.closed() => {}
        }
    }

    /// Writes one group.
    async fn write(&mut self) {
        let mut group = Vec::new();
        let mut n_bytes = 0;
        let mut has_renewals = false;
        // What comes behind a renewal has to know what became of it.
        let fits = |job: &Job, n_bytes: usize, has_renewals: bool| {
            (n_bytes == 0 || n_bytes + job.size() <= GROUP_BYTES) && (job.renewal.is_some() || !has_renewals)
        };
        while let Some(job) = self.ready.pop_front_if(|job| fits(job, n_bytes, has_renewals)) {
            n_bytes += job.size();
            has_renewals |= job.renewal.is_some();
            group.push(job);
        }
        if group.is_empty() {
            return;
        }
        let Some(mut link) = self.link.take() else { return give_back(&mut self.ready, group) };
        let fates = match self.send(&mut link, &group).await {
            Ok(fates) => {
                self.backoff.reset();
                fates
            }
            Err(away) => {
                give_back(&mut self.ready, group);
                self.link = Some(link);
                return self.lost(away).await;
            }
        };
        self.link = Some(link);
        if let Err(away) = self.settle(group, fates) {
            self.lost(away).await;
        }
    }

    /// Acks what is done, keeps what is not. Everything is kept if a cell has to be received and its source has ended.
    fn settle(&mut self, group: Vec<Job>, fates: Vec<Fate>) -> Result<(), Away> {
        let (mut done, mut again, mut ended) = (Vec::new(), Vec::new(), None);
        for (mut job, fate) in group.into_iter().zip(fates) {
            match fate {
                Fate::Done => {
                    done.extend(job.tickets);
                    job.renewal.into_iter().for_each(|renewal| renewal.tell(Outcome::Shown));
                }
                Fate::Again | Fate::ToTell => again.push(job),
                Fate::Replace(cell) => {
                    job.renewal.iter_mut().for_each(|renewal| renewal.expected = Some(cell));
                    again.push(job);
                }
                Fate::NotYet => job.renewal.into_iter().for_each(|renewal| renewal.tell(Outcome::NotYet)),
                Fate::Failed(error) => self.failed(job, error),
                Fate::Receive { cell, is_foreign, .. } => {
                    if let Err((job, away)) = self.receive(job, cell, is_foreign) {
                        again.push(job);
                        ended = Some(away);
                    }
                }
            }
        }
        self.shared.metrics.written.add(done.len() as u64);
        if !done.is_empty() {
            self.shared.tally.done(done);
        }
        give_back(&mut self.ready, again);
        ended.map_or(Ok(()), Err)
    }

    fn failed(&self, job: Job, error: Error) {
        if let Some(renewal) = job.renewal {
            return renewal.tell(Outcome::Refused(error));
        }
        error!(code = error.code().unwrap_or("failed"), "Failed to write record to Redis: {error}");
        job.tickets.iter().for_each(|ticket| self.shared.tally.failed(*ticket, error.clone()));
    }

    /// Hands a cell to the source of this place; the job waits until the host has committed it.
    fn receive(&mut self, job: Job, cell: Vec<u8>, is_foreign: bool) -> Result<(), (Job, Away)> {
        let ended =
            || Away("a cell of the cache waits for the source of this place, which has ended".to_owned());
        let job = match self.receptions.join(job) {
            Ok(()) => return Ok(()),
            Err(job) => job,
        };
        let Met::Source(inbox) = self.shared.meeting.source() else { return Err((job, ended())) };
        debug!("a cell of the cache shows what is not known here, receiving it");
        self.shared.metrics.received.add(1);
        self.receptions.begin(job, cell, is_foreign, &inbox).map_err(|job| (job, ended()))
    }

    /// The host has committed what a cell showed, or will not any more.
    fn received(&mut self, received: Received) {
        match received {
            Received::Known { tickets } => self.shared.tally.done(tickets),
            Received::Rewrite { job, cell } => {
                self.seen.set(job.key, cell);
                self.ready.push_front(*job);
            }
            Received::Lost { jobs } => give_back(&mut self.ready, jobs),
        }
    }
}

/// Puts jobs in front, in their order.
fn give_back(ready: &mut VecDeque<Job>, jobs: Vec<Job>) {
    jobs.into_iter().rev().for_each(|job| ready.push_front(job));
}

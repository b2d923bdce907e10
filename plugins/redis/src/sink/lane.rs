//! One connection of the sink: writes what is queued for it, in order, one group after the other.
//!
//! Invariant: of one key nothing is sent before what came earlier is written or given up. A group is sent only when the
//! one before it is answered, and when the connection is lost it is sent again before anything else.

use super::{
    commands::{Answer, Commands, Places},
    job::{CellWrite, ChangeWrite, Job, Write},
    queue::Queue,
    reception::{Received, Receptions},
    tally::Tally,
};
use crate::{
    cell::{Digest, Finding, Seen},
    connection::{Away, Link, Placed, Server},
    meeting::{Meeting, Met},
    metrics::SinkMetrics,
    names::Names,
};
use lockstep_plugin_api::{Error, backoff::Backoff};
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
    /// The stream of records that are written as they are.
    pub(crate) raw_stream: Option<String>,
    pub(crate) commands: Commands,
    pub(crate) tally: Tally,
    pub(crate) metrics: SinkMetrics,
    pub(crate) meeting: Meeting,
}

/// The state of one connection's task.
pub(crate) struct Lane {
    index: usize,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// To be written next, before what is queued.
    ready: VecDeque<Job>,
    link: Option<Link>,
    backoff: Backoff,
    seen: Seen,
    receptions: Receptions,
}

/// What became of a job that was sent.
enum Fate {
    Done,
    /// The cell is written, entry and message are not.
    ToTell,
    Again,
    Failed(Error),
    /// The cell shows what has to be received first.
    Receive {
        cell: Vec<u8>,
        is_foreign: bool,
    },
}

impl Lane {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, queue: Arc<Queue>, receptions: Receptions) -> Self {
        let seen = Seen::new(SEEN_CELLS / shared.pool_size);
        Self {
            index,
            shared,
            queue,
            ready: VecDeque::new(),
            link: None,
            backoff: Backoff::new(RECONNECT_MIN, RECONNECT_MAX),
            seen,
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
            if self.shared.raw_stream.is_none() {
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
                self.backoff.reset();
                self.shared.metrics.connections.add(1);
                if self.shared.tally.is_back(self.index) {
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
        if self.shared.tally.is_away(self.index, away.clone()) {
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
        while let Some(job) =
            self.ready.pop_front_if(|job| n_bytes == 0 || n_bytes + job.size() <= GROUP_BYTES)
        {
            n_bytes += job.size();
            group.push(job);
        }
        if group.is_empty() {
            return;
        }
        let Some(mut link) = self.link.take() else { return give_back(&mut self.ready, group) };
        let fates = match self.send(&mut link, &group).await {
            Ok(fates) => fates,
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

    async fn send(&mut self, link: &mut Link, group: &[Job]) -> Result<Vec<Fate>, Away> {
        let places: Vec<Option<Places>> = group.iter().map(|job| self.places(job)).collect();
        let expected: Vec<Option<Digest>> = group.iter().map(|job| self.expect(job)).collect();
        let parts = group.iter().zip(&places).zip(expected);
        let commands =
            parts.map(|((job, places), expected)| self.command(job, places.as_ref(), expected)).collect();
        let answers = link.send(commands).await?;
        let mut needs_script = false;
        let mut fates = Vec::with_capacity(group.len());
        for (job, answer) in group.iter().zip(answers) {
            let fate = match &job.write {
                Write::Raw(_) => answer.map_or_else(|refusal| Fate::Failed(refusal.error()), |_| Fate::Done),
                Write::Change(change) => {
                    let answer = Answer::of(&change.cell, answer);
                    needs_script |= matches!(answer, Answer::NoScript);
                    self.fate(job, change, answer)
                }
            };
            fates.push(fate);
        }
        if needs_script {
            self.shared.commands.load(link).await?;
        }
        tell(&self.shared, link, group, &places, &mut fates).await?;
        Ok(fates)
    }

    fn places(&self, job: &Job) -> Option<Places> {
        match &job.write {
            Write::Change(change) => Some(Places::of(&self.shared.names, change.tenant.as_deref())),
            Write::Raw(_) => None,
        }
    }

    /// What the cell should hold. From here on it is taken to be what the job writes, so that the next one of its key can
    /// go in the same group; if that is wrong, the next one is refused as well.
    fn expect(&mut self, job: &Job) -> Option<Digest> {
        let Write::Change(change) = &job.write else { return None };
        let expected = self.seen.get(job.key);
        if matches!(change.cell, CellWrite::State(_)) {
            self.seen.set(job.key, Digest::of(&change.data));
        }
        expected
    }

    fn command<'a>(&'a self, job: &Job, places: Option<&'a Places>, expected: Option<Digest>) -> Placed<'a> {
        match (&job.write, places) {
            (Write::Change(change), Some(places)) => self.shared.commands.cell(change, places, expected),
            (Write::Raw(fields), _) => {
                let stream = self.shared.raw_stream.as_deref().unwrap_or_default();
                self.shared.commands.raw(stream, fields)
            }
            (Write::Change(_), None) => unreachable!("a change has its places"),
        }
    }

    fn fate(&mut self, job: &Job, change: &ChangeWrite, answer: Answer) -> Fate {
        match (answer, &change.cell) {
            (Answer::Taken, _) => Fate::ToTell,
            (Answer::Refused(refusal), _) => Fate::Failed(refusal.error()),
            (Answer::Holds(cell), CellWrite::State(shown)) => self.meet(job, Finding::of(shown, &cell), cell),
            (Answer::NoScript | Answer::Holds(_), _) => Fate::Again,
        }
    }

    /// The cell holds something else than was expected.
    fn meet(&mut self, job: &Job, finding: Finding, cell: Vec<u8>) -> Fate {
        self.shared.metrics.refused.add(1);
        let has_source = !matches!(self.shared.meeting.source(), Met::Nobody);
        match finding {
            Finding::Same => self.covered(),
            Finding::Newer if !has_source => self.covered(),
            Finding::Newer | Finding::Beside if has_source => Fate::Receive { cell, is_foreign: false },
            Finding::Foreign if has_source => Fate::Receive { cell, is_foreign: true },
            Finding::Older | Finding::Newer | Finding::Beside | Finding::Foreign => {
                self.seen.set(job.key, Digest::of(&cell));
                Fate::Again
            }
        }
    }

    /// Whoever wrote the cell tells of it.
    fn covered(&self) -> Fate {
        self.shared.metrics.covered.add(1);
        Fate::Done
    }

    /// Acks what is done, keeps what is not. Everything is kept if a cell has to be received and its source has ended.
    fn settle(&mut self, group: Vec<Job>, fates: Vec<Fate>) -> Result<(), Away> {
        let (mut done, mut again, mut ended) = (Vec::new(), Vec::new(), None);
        for (job, fate) in group.into_iter().zip(fates) {
            match fate {
                Fate::Done => done.extend(job.tickets),
                Fate::Again | Fate::ToTell => again.push(job),
                Fate::Failed(error) => self.failed(&job, &error),
                Fate::Receive { cell, is_foreign } => {
                    if let Err((job, away)) = self.receive(job, cell, is_foreign) {
                        again.push(job);
                        ended = Some(away);
                    }
                }
            }
        }
        self.shared.metrics.written.add(done.len() as u64);
        if !done.is_empty() {
            self.shared.tally.written(done);
        }
        give_back(&mut self.ready, again);
        ended.map_or(Ok(()), Err)
    }

    fn failed(&self, job: &Job, error: &Error) {
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
            Received::Known { tickets } => self.shared.tally.written(tickets),
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

/// Entries and messages of the cells that were written.
async fn tell(
    shared: &Shared,
    link: &mut Link,
    group: &[Job],
    places: &[Option<Places>],
    fates: &mut [Fate],
) -> Result<(), Away> {
    let mut told = Vec::new();
    let mut commands = Vec::new();
    for (i, (job, places)) in group.iter().zip(places).enumerate() {
        if let (Fate::ToTell, Write::Change(change), Some(places)) = (&fates[i], &job.write, places) {
            told.push(i);
            commands.extend(shared.commands.tell(change, places));
        }
    }
    if commands.is_empty() {
        return Ok(());
    }
    let mut answers = link.send(commands).await?.into_iter();
    for i in told {
        let (added, published) = (answers.next(), answers.next());
        shared.metrics.untold.add(u64::from(matches!(published, Some(Err(_)))));
        fates[i] = match added {
            Some(Err(refusal)) => Fate::Failed(refusal.error()),
            _ => Fate::Done,
        };
    }
    Ok(())
}

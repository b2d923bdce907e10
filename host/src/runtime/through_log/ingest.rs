//! The thread that takes in: everything that has queued up goes through the chain and becomes one commit.
//!
//! Invariant: a record's entry, the state it changed, its position and its name become true together, and nobody is told
//! before. Of a polled batch that takes several commits, the position is in the last one: a crash in between reads the
//! first ones again. If somebody wrote in between what the chain had read, the batch is applied again from the beginning, and
//! whatever was said about it the first time is forgotten.

use super::{
    super::{
        chain::{Chain, Instance},
        committer::Progress,
        dead_letter::{DeadLetterError, Prepared},
        failed::{FailedRecord, WayOut},
        flight::{Applied, Origin},
        positions::PositionKeys,
        run::{Ended, Run},
        source_task::ChainInput,
    },
    ADMIN, BATCH_BYTES, STORE_RETRY, ThroughLog,
    batch::{Attempt, Made, Part},
    scope::OpenScope,
    seen::{self, Name},
};
use crate::audit::Author;
use crate::pipeline::Step;
use crate::store::{Commit, StoreError};
use lockstep_plugin_api::{Error, transform::with_own_revision};
use std::{
    collections::{BTreeMap, HashSet},
    mem,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};
use tracing::{error, info};

/// What the audit calls the source of a dead letter that is tried again.
const DEAD_LETTER: &str = "dead_letter";

/// How long the thread waits before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);

/// How often others may write in between before a batch is applied while nobody else commits.
const CONFLICTS: usize = 3;

/// The most records of one commit.
const BATCH_RECORDS: usize = 4096;

/// Runs the chain until its queue is closed and everything is committed, or something fails.
pub fn ingest(
    run: &Arc<Run>,
    through: &ThroughLog,
    queue: &Receiver<ChainInput>,
    progress: Sender<Progress>,
) -> Result<(), Ended> {
    let chain = Chain::open_held(run, &run.pipeline.transforms, Instance::First)?;
    let committing = run.pipeline.transforms.last().map(|last| &last.step);
    let position_keys =
        |source: &crate::pipeline::SourceStep| PositionKeys::new(&run.pipeline.name, &source.step.name);
    let mut ingest = Ingest {
        run,
        through,
        chain,
        committing: committing.expect("a pipeline through the log ends with a transform that commits"),
        keys: run.pipeline.sources.iter().map(position_keys).collect(),
        progress,
        carried: None,
        is_untold: false,
        forgot_at: Instant::now(),
    };
    run.wait_open()?;
    ingest.take_all(queue)
}

struct Ingest<'a> {
    run: &'a Arc<Run>,
    through: &'a ThroughLog,
    chain: Chain<'a>,
    /// The component that commits: what cannot be an entry fails there.
    committing: &'a Step,
    keys: Vec<PositionKeys>,
    progress: Sender<Progress>,
    /// What has to wait for the next commit.
    carried: Option<Part>,
    /// Something was committed, or is about to be, whose authors hear of it only when the rest of their flight is too.
    is_untold: bool,
    forgot_at: Instant,
}

impl<'a> Ingest<'a> {
    fn take_all(&mut self, queue: &Receiver<ChainInput>) -> Result<(), Ended> {
        loop {
            self.run.go_on()?;
            let first = match self.carried.take() {
                Some(part) => part,
                None => match queue.recv_timeout(LOOK) {
                    Ok(input) => Part::from(input),
                    Err(RecvTimeoutError::Timeout) => {
                        self.forget();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            let batch = self.collect(first, queue)?;
            self.commit(batch)?;
            self.forget();
        }
    }

    /// Forgets old names once in a while: some at a time, for it may never have nothing else to do.
    fn forget(&mut self) {
        if self.forgot_at.elapsed() > self.run.sync.cleanup_interval && self.through.seen.forget_old() {
            self.forgot_at = Instant::now();
        }
    }

    /// Takes what has queued up, as much as one commit may carry.
    fn collect(&mut self, first: Part, queue: &Receiver<ChainInput>) -> Result<Vec<Part>, Ended> {
        let (mut batch, mut names) = (Vec::new(), HashSet::new());
        let (mut n_records, mut n_bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(part) = next.take() {
            n_bytes += part.records.iter().map(|record| record.size() as u64).sum::<u64>();
            let (part, rest) = self.name(part, &mut names)?;
            n_records += part.records.len();
            batch.push(part);
            self.carried = rest;
            if self.carried.is_none() && n_records < BATCH_RECORDS && n_bytes < BATCH_BYTES {
                next = queue.try_recv().ok().map(Part::from);
            }
        }
        Ok(batch)
    }

    /// Takes the records out that were committed before. What follows a name that is in this batch already has to wait
    /// for the outcome of that one.
    fn name(&self, mut part: Part, names: &mut HashSet<Name>) -> Result<(Part, Option<Part>), Ended> {
        let source = match &part.flight.origin {
            Origin::Source { source, .. } => &self.run.pipeline.sources[*source].step.name,
            Origin::Admin { .. } => ADMIN,
            // Whatever it was called, it is not in the log.
            Origin::DeadLetter { .. } | Origin::Log { .. } => return Ok((part, None)),
        };
        let mut records = mem::take(&mut part.records).into_iter();
        while let Some(mut record) = records.next() {
            let id = record.id();
            let name = record.change().ok().and_then(|change| seen::name(source, change));
            let Some(name) = name else {
                part.records.push(record);
                continue;
            };
            if !names.insert(name) {
                let rest = std::iter::once(record).chain(records).collect();
                return Ok(part.split(rest));
            }
            match self.until_read(|| self.through.seen.revision(&name))? {
                Some(revision) => part.repeats.push((id, revision)),
                None => {
                    part.names.push((id, name));
                    part.records.push(record);
                }
            }
        }
        Ok((part, None))
    }

    /// Commits a batch, however often it takes.
    fn commit(&mut self, batch: Vec<Part>) -> Result<(), Ended> {
        let log = &self.through.host.log;
        if !mem::replace(&mut self.is_untold, true) {
            self.through.answered.begin(log.head());
        }
        let (mut trouble, mut n_conflicts) = (Trouble::default(), 0);
        loop {
            self.run.go_on()?;
            let is_alone = n_conflicts >= CONFLICTS;
            let turn = is_alone.then(|| self.through.turns.batch(self.run)).transpose()?;
            let mut attempt = self.attempt(&batch)?;
            let committed = attempt.commit(log);
            drop(turn);
            match committed {
                Ok(first_revision) => {
                    trouble.is_over();
                    return self.committed(batch, attempt, first_revision);
                }
                Err(StoreError::Conflict { .. }) => {
                    n_conflicts += 1;
                    self.run.metrics.reapplied();
                }
                Err(StoreError::TooLarge { .. } | StoreError::NotAnEntry { .. }) => {
                    drop(attempt);
                    return self.commit_in_pieces(batch);
                }
                Err(refused) => {
                    trouble.tell(&refused);
                    self.run.pause(STORE_RETRY)?;
                }
            }
        }
    }

    /// Sends a batch through the chain, inside a scope that takes up what the transforms do.
    fn attempt(&mut self, batch: &[Part]) -> Result<Attempt<'a>, Ended> {
        let scope = OpenScope::begin(self.run.store.clone());
        let mut attempt = Attempt::default();
        for part in batch {
            let out = self.chain.apply(&part.flight, part.records.clone(), part.from)?;
            let held = self.chain.take_held();
            let author = self.author(&part.flight.origin);
            attempt.add(part, out, held, self.committing, (&self.through.host.audit, author));
        }
        let scope = scope.end();
        scope.add_to(&mut attempt.commit);
        attempt.entries.extend(scope.notices);
        self.through.host.audit.add(&mut attempt.commit, scope.audit);
        self.add_positions(batch, &mut attempt.commit);
        self.add_letters(batch, &mut attempt)?;
        Ok(attempt)
    }

    /// Who made the changes of a flight.
    fn author<'o>(&'o self, origin: &'o Origin) -> Author<'o> {
        let (source, operator) = match origin {
            Origin::Source { source, .. } => (self.run.pipeline.sources[*source].step.name.as_str(), None),
            Origin::Admin { operator, .. } => (ADMIN, operator.as_ref()),
            Origin::DeadLetter { .. } | Origin::Log { .. } => (DEAD_LETTER, None),
        };
        Author { source, operator }
    }

    fn add_positions(&self, batch: &[Part], commit: &mut Commit) {
        let mut lanes = BTreeMap::new();
        for part in batch.iter().filter(|part| part.is_last) {
            let Origin::Source { source, .. } = part.flight.origin else { continue };
            lanes.extend(part.flight.positions.iter().map(|(lane, at)| ((source, *lane), at)));
        }
        for ((source, lane), position) in lanes {
            *commit = self.keys[source].put(mem::take(commit), lane, position);
        }
    }

    /// What becomes a dead letter does so with the batch; what stops the pipeline does so before anything is committed.
    fn add_letters(&self, batch: &[Part], attempt: &mut Attempt<'a>) -> Result<(), Ended> {
        for (part, made) in batch.iter().zip(&mut attempt.made) {
            let mut takes_place = true;
            for (step, failed) in &mut made.failed {
                match self.run.way_out(step, &part.flight, failed) {
                    stop @ WayOut::Stop { .. } => {
                        return self.run.settle_failed(step, &part.flight, mem::take(failed), stop);
                    }
                    WayOut::Store(key) => {
                        let prepare =
                            || self.run.prepare_letters(step, &part.flight, failed, key, takes_place);
                        let mut letters = self.until_prepared(step, prepare)?;
                        attempt.commit.puts.extend(letters.take_commit().puts);
                        attempt.letters.push(letters);
                        takes_place = false;
                    }
                    WayOut::Tell | WayOut::Skip => {}
                }
            }
        }
        Ok(())
    }

    /// It is on disk: everybody may be told.
    fn committed(
        &mut self,
        batch: Vec<Part>,
        attempt: Attempt<'a>,
        first_revision: u64,
    ) -> Result<(), Ended> {
        // The authors of a flight are told when all of it is committed.
        self.is_untold = batch.last().is_some_and(|part| !part.is_last);
        attempt.letters.into_iter().for_each(Prepared::stored);
        for (part, made) in batch.into_iter().zip(attempt.made) {
            let Made { failed, entries, event_types, mut told } = made;
            let given_up = failed.iter().flat_map(|(_, failed)| failed);
            event_types.count(self.run.metrics.guide(), &part.flight, given_up);
            let repeats = part.repeats.iter().map(|(id, revision)| Applied {
                id: *id,
                revision: *revision,
                details: None,
                is_repeat: true,
            });
            let applied = entries.into_iter().map(|(id, place)| {
                let revision = first_revision + place as u64;
                let details = told.remove(&id).map(|told| with_own_revision(told, revision));
                Applied { id, revision, details, is_repeat: false }
            });
            part.flight.apply(repeats.chain(applied));
            for (step, failed) in failed {
                let way_out = self.run.way_out(step, &part.flight, &failed);
                self.run.settle_failed(step, &part.flight, failed, way_out)?;
            }
            if part.is_last {
                part.flight.release();
            }
        }
        if self.is_untold {
            return Ok(());
        }
        self.progress.send(Progress::Told).map_err(|_| Ended)
    }

    /// The store takes no commit as large as this, or something in it is no change: half of it, and so on down to the
    /// one record that it is about.
    fn commit_in_pieces(&mut self, mut batch: Vec<Part>) -> Result<(), Ended> {
        if batch.len() > 1 {
            let second = batch.split_off(batch.len() / 2);
            self.commit(batch)?;
            return self.commit(second);
        }
        let Some(mut part) = batch.pop() else { return Ok(()) };
        if part.records.len() > 1 {
            let half = part.records.len() / 2;
            let mut records = mem::take(&mut part.records).into_iter();
            part.records = records.by_ref().take(half).collect();
            let (first, second) = part.split(records.collect());
            self.commit(vec![first])?;
            return self.commit(second.into_iter().collect());
        }
        if part.records.is_empty() {
            let error = Error::fatal("what is left of a batch is more than one commit takes");
            return Err(self.run.fail(self.committing, "commit", &error, true));
        }
        let error = Error::rejected("too_large", "what becomes of the change is more than one commit takes");
        let records = mem::take(&mut part.records).into_iter();
        part.refused.extend(records.map(|record| FailedRecord::new(record, error.clone())));
        part.names.clear();
        self.commit(vec![part])
    }

    /// Reads until it succeeds: a store that is away holds the pipeline.
    fn until_read<T>(&self, mut read: impl FnMut() -> Result<T, StoreError>) -> Result<T, Ended> {
        let mut trouble = Trouble::default();
        loop {
            match read() {
                Ok(found) => {
                    trouble.is_over();
                    return Ok(found);
                }
                Err(refused) => {
                    trouble.tell(&refused);
                    self.run.pause(STORE_RETRY)?;
                }
            }
        }
    }

    fn until_prepared(
        &self,
        step: &Step,
        mut prepare: impl FnMut() -> Result<Prepared, DeadLetterError>,
    ) -> Result<Prepared, Ended> {
        self.until_read(|| match prepare() {
            Ok(prepared) => Ok(Ok(prepared)),
            Err(DeadLetterError::Store(refused)) => Err(refused),
            Err(full @ DeadLetterError::Full { .. }) => Ok(Err(Error::fatal(full))),
        })?
        .map_err(|full| self.run.fail(step, "dead letter", &full, true))
    }
}

/// Says once that the store refuses, and once that it does no more.
#[derive(Default)]
struct Trouble {
    is_told: bool,
}

impl Trouble {
    fn tell(&mut self, refused: &StoreError) {
        if !mem::replace(&mut self.is_told, true) {
            error!(error = %refused, "the store takes no changes, waiting");
        }
    }

    fn is_over(&mut self) {
        if mem::take(&mut self.is_told) {
            info!("the store takes changes again");
        }
    }
}

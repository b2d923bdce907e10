//! A chain of transforms, run by one thread, and the accounting of every record that passes it.
//!
//! Invariant: every id given to a transform comes back passed on, failed or dropped (`accounting.rs`); if not, the
//! transform lies and the run fails.

use super::{
    accounting::{account, merge},
    breaker::Breaker,
    failed::FailedRecord,
    flight::Flight,
    run::{Ended, Run},
    through_log::Offered,
    watchdog::{Call, GivenUp, Watched},
};
use crate::pipeline::{Step, TransformStep, View};
use crate::registry::{Applied, Transform};
use lockstep_plugin_api::{Error, ErrorKind, Json, Record, abi::Records, backoff::Backoff};
use std::{mem, sync::Arc};

/// The open transforms of one chain.
pub struct Chain<'a> {
    run: &'a Arc<Run>,
    links: Vec<Link<'a>>,
    pass: Pass<'a>,
}

/// What one batch needs on its way, and what it leaves behind.
#[derive(Default)]
struct Pass<'a> {
    /// The ids given to a transform; kept so that a batch costs no allocation.
    given: Vec<u64>,
    /// Where a batch may be applied again: what is not true before it is committed.
    held: Option<Held<'a>>,
}

/// What a chain says about the records of a batch that is not committed yet.
#[derive(Default)]
pub struct Held<'a> {
    pub failed: Vec<(&'a Step, Vec<FailedRecord>)>,
    /// What authors are to hear, by id.
    pub told: Vec<(u64, Json)>,
}

/// Which instance of its components a chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// The one that the pipeline waits for.
    First,
    /// One more beside it, for replays.
    Second,
}

struct Link<'a> {
    step: &'a TransformStep,
    watched: Arc<Watched>,
    transform: Option<Transform>,
    breaker: Breaker,
    /// The operations that others may call while the transform is open.
    offered: Option<Offered>,
}

impl<'a> Chain<'a> {
    /// Opens every transform of the chain.
    pub fn open(run: &'a Arc<Run>, steps: &'a [TransformStep]) -> Result<Self, Ended> {
        Self::open_as(run, steps, Instance::First)
    }

    /// A chain whose failures wait for [`Chain::take_held`].
    pub fn open_held(
        run: &'a Arc<Run>,
        steps: &'a [TransformStep],
        instance: Instance,
    ) -> Result<Self, Ended> {
        let mut chain = Self::open_as(run, steps, instance)?;
        chain.pass.held = Some(Held::default());
        Ok(chain)
    }

    fn open_as(run: &'a Arc<Run>, steps: &'a [TransformStep], instance: Instance) -> Result<Self, Ended> {
        let links = steps.iter().map(|step| Link::open(run, step, instance));
        Ok(Self { run, links: links.collect::<Result<_, Ended>>()?, pass: Pass::default() })
    }

    /// What the batches since the last call left behind.
    pub fn take_held(&mut self) -> Held<'a> {
        self.pass.held.as_mut().map(mem::take).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Runs a batch through the transforms from place `from` on, and gives what is left of it, in order.
    pub fn apply(&mut self, flight: &Flight, mut records: Records, from: usize) -> Result<Records, Ended> {
        for link in &mut self.links[from..] {
            if records.is_empty() {
                break;
            }
            records = link.apply_where(self.run, flight, records, &mut self.pass)?;
        }
        Ok(records)
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        for link in &mut self.links {
            let transform = link.transform.take();
            // Nobody starts a call any more when the transform goes.
            link.offered = None;
            let _ = link.watched.call(Call::Drop, || drop(transform));
        }
    }
}

impl<'a> Pass<'a> {
    /// Takes care of failed records, now or when the batch is committed.
    fn give_up(
        &mut self,
        run: &Run,
        step: &'a Step,
        flight: &Flight,
        failed: Vec<FailedRecord>,
    ) -> Result<(), Ended> {
        match &mut self.held {
            None => run.give_up(step, flight, failed),
            Some(_) if failed.is_empty() => Ok(()),
            Some(held) => {
                held.failed.push((step, failed));
                Ok(())
            }
        }
    }
}

impl<'a> Link<'a> {
    fn open(run: &'a Arc<Run>, step: &'a TransformStep, instance: Instance) -> Result<Self, Ended> {
        let watched = run.watch(&step.step);
        let parts = run.parts(&step.step, Vec::new(), false);
        let new = || step.step.component.open_transform(&step.step.config, parts.clone());
        let transform = run.open(&step.step, &watched, instance, new)?;
        let mut link =
            Self { step, watched, transform: Some(transform), breaker: Breaker::default(), offered: None };
        if instance == Instance::First && run.through_log().is_some() {
            link.offer_operations(run)?;
        }
        Ok(link)
    }

    /// Lets others call what the transform offers, until the chain goes.
    fn offer_operations(&mut self, run: &Run) -> Result<(), Ended> {
        let (step, transform) = (&self.step.step, self.transform.as_mut().expect("just opened"));
        let offered = match self.watched.call(Call::New, || transform.operations()) {
            Ok(Ok(offered)) => offered,
            Ok(Err(error)) => return Err(run.fail(step, "operations", &error, false)),
            Err(GivenUp) => return Err(Ended),
        };
        self.offered = run.offer(step, offered)?;
        Ok(())
    }

    /// Applies the transform to the records its condition takes; the others pass by and keep their place, as notices do
    /// where the transform is not made for them.
    fn apply_where(
        &mut self,
        run: &Run,
        flight: &Flight,
        records: Records,
        pass: &mut Pass<'a>,
    ) -> Result<Records, Ended> {
        let is_for_changes = run.pipeline.through_log && !self.step.step.component.notices();
        let has_others = is_for_changes && records.iter().any(Record::is_notice);
        if self.step.when.is_none() && !has_others {
            return self.apply_all(run, flight, records, pass);
        }
        let (mut taken, mut passing, mut failed) = (Records::new(), Records::new(), Vec::new());
        let takes = |record: &Record| match &self.step.when {
            _ if is_for_changes && record.is_notice() => Ok(false),
            Some(condition) => condition.matches(&View::new(record)),
            None => Ok(true),
        };
        for record in records {
            match takes(&record) {
                Ok(true) => taken.push(record),
                Ok(false) => passing.push(record),
                Err(reason) => failed.push(undecided(record, &reason)),
            }
        }
        pass.give_up(run, &self.step.step, flight, failed)?;
        let applied = if taken.is_empty() { taken } else { self.apply_all(run, flight, taken, pass)? };
        Ok(merge(applied, passing))
    }

    /// Applies the transform until nothing is left to apply: endpoints that are away are waited for, failed records
    /// are tried again.
    fn apply_all(
        &mut self,
        run: &Run,
        flight: &Flight,
        records: Records,
        pass: &mut Pass<'a>,
    ) -> Result<Records, Ended> {
        let (step, metrics) = (&self.step.step, run.metrics.step(self.step.step.index));
        metrics.records_in.add(records.len() as u64);
        let mut failed = Vec::new();
        let mut out = self.apply_once(run, records, pass, &mut failed)?;
        let mut backoff = Backoff::new(step.on_error.retry.backoff, step.on_error.retry.max);
        for attempt in 1..=step.on_error.retry.attempts {
            let (again, given_up) = mem::take(&mut failed)
                .into_iter()
                .partition::<Vec<_>, _>(|failed| failed.error.kind() == ErrorKind::FAILED);
            failed = given_up;
            if again.is_empty() {
                break;
            }
            run.pause(backoff.next_wait())?;
            metrics.retried.add(again.len() as u64);
            let records: Records = again.into_iter().map(|failed| failed.record).collect();
            let mut failed_again = Vec::new();
            let late = self.apply_once(run, records, pass, &mut failed_again)?;
            out = self.join(out, late);
            failed.extend(
                failed_again.into_iter().map(|failed| FailedRecord { attempts: attempt + 1, ..failed }),
            );
        }
        metrics.records_out.add(out.len() as u64);
        pass.give_up(run, step, flight, failed)?;
        Ok(out)
    }

    /// One attempt on every record, in as many calls as the endpoint's absences make of it.
    fn apply_once(
        &mut self,
        run: &Run,
        mut records: Records,
        pass: &mut Pass<'a>,
        failed: &mut Vec<FailedRecord>,
    ) -> Result<Records, Ended> {
        let mut out: Option<Records> = None;
        loop {
            pass.given.clear();
            pass.given.extend(records.iter().map(Record::id));
            let applied = self.call(run, records)?;
            if let Err(lie) = account(&pass.given, &applied) {
                return Err(run.fail(&self.step.step, Call::Apply.name(), &Error::fatal(lie), false));
            }
            let metrics = run.metrics.step(self.step.step.index);
            metrics.dropped.add(applied.dropped.len() as u64);
            metrics.failed.add(applied.failed.len() as u64);
            if let Some(held) = &mut pass.held {
                held.told.extend(applied.told);
            }
            for one in applied.failed {
                let Some(record) = one.record else { continue };
                failed.push(FailedRecord::new(record, one.error));
            }
            let all = match out.take() {
                None => applied.out,
                Some(earlier) => self.join(earlier, applied.out),
            };
            match applied.stopped_by {
                None => {
                    run.answered(&self.step.step, &mut self.breaker);
                    return Ok(all);
                }
                Some(error) => {
                    run.pause(run.tripped(&self.step.step, Call::Apply, &error, &mut self.breaker))?;
                    (out, records) = (Some(all), applied.unapplied);
                }
            }
        }
    }

    /// Two parts of a batch, of which this transform passed `second` on later. Where it commits, the log has the order in
    /// which it made the state, also if a record that was tried again loses its place.
    fn join(&self, mut first: Records, second: Records) -> Records {
        if !self.step.step.component.commits() {
            return merge(first, second);
        }
        first.extend(second);
        first
    }

    fn call(&mut self, run: &Run, records: Records) -> Result<Applied, Ended> {
        let transform = self.transform.as_mut().expect("taken only when the chain is dropped");
        match self.watched.call(Call::Apply, || transform.apply(records)) {
            Ok(Ok(applied)) => Ok(applied),
            Ok(Err(error)) => Err(run.fail(&self.step.step, Call::Apply.name(), &error, false)),
            Err(GivenUp) => Err(Ended),
        }
    }
}

/// A record whose condition could not be decided: it fails there, it does not silently pass or stay away.
pub fn undecided(record: Record, reason: &str) -> FailedRecord {
    let error = Error::rejected("bad_message", format!("`when` cannot be decided for this record: {reason}"));
    FailedRecord { is_undecided: true, ..FailedRecord::new(record, error) }
}

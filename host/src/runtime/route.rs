//! From the end of the chain to the sinks: which sink gets which records of a batch.

use super::{
    chain::undecided,
    failed::FailedRecord,
    flight::Flight,
    run::{Ended, Run},
};
use crate::pipeline::{Gate, SinkStep, View};
use lockstep_plugin_api::{Batch, Record, abi::Records};
use std::sync::{Arc, mpsc::SyncSender};

/// What a sink's thread is given.
#[derive(Debug)]
pub struct Delivery {
    pub flight: Arc<Flight>,
    pub batch: Batch,
    /// Where in the sink's own chain to begin; past its end is the sink itself.
    pub from: usize,
}

/// The way to every sink of a pipeline.
#[derive(Debug, Clone)]
pub struct Route {
    sinks: Vec<SyncSender<Delivery>>,
}

impl Route {
    pub fn new(sinks: Vec<SyncSender<Delivery>>) -> Self {
        Self { sinks }
    }

    /// Gives every sink its part of a batch and lets go of the flight. Waits while a sink's queue is full.
    pub fn send(&self, run: &Run, flight: &Arc<Flight>, records: Records) -> Result<(), Ended> {
        if records.is_empty() {
            flight.release();
            return Ok(());
        }
        let parts = split(run, flight, records)?;
        flight.hold(parts.len());
        for (sink, batch) in parts {
            let delivery = Delivery { flight: flight.clone(), batch, from: 0 };
            run.hand_over(&self.sinks[sink], delivery)?;
        }
        flight.release();
        Ok(())
    }
}

/// Which sinks get something, and what. A sink without a condition shares the whole batch with the others.
fn split(run: &Run, flight: &Flight, records: Records) -> Result<Vec<(usize, Batch)>, Ended> {
    let sinks = &run.pipeline.sinks;
    let whole = Batch::from(records);
    if sinks.iter().all(|sink| sink.when.is_none()) {
        return Ok((0..sinks.len()).map(|sink| (sink, whole.clone())).collect());
    }
    let mut parts: Vec<Part> = sinks.iter().map(|_| Part::default()).collect();
    for record in whole.iter() {
        choose(sinks, record, &mut parts);
    }
    let mut chosen = Vec::new();
    for (sink, part) in parts.into_iter().enumerate() {
        run.give_up(&sinks[sink].step, flight, part.undecided)?;
        match sinks[sink].when {
            None => chosen.push((sink, whole.clone())),
            Some(_) if part.taken.is_empty() => {}
            Some(_) if part.taken.len() == whole.len() => chosen.push((sink, whole.clone())),
            Some(_) => chosen.push((sink, Batch::new(part.taken))),
        }
    }
    Ok(chosen)
}

/// The part of a batch from the log that one sink is given, and what its condition could not decide about.
pub fn part_of(sinks: &[SinkStep], sink: usize, batch: &Batch) -> (Batch, Vec<FailedRecord>) {
    let (step, wants_notices) = (&sinks[sink], sinks[sink].step.component.notices());
    if step.when.is_none() && (wants_notices || !batch.iter().any(Record::is_notice)) {
        return (batch.clone(), Vec::new());
    }
    let mut part = Part::default();
    for record in batch.iter().filter(|record| wants_notices || !record.is_notice()) {
        match takes(sinks, step, record) {
            Ok(true) => part.taken.push(record.clone()),
            Ok(false) => {}
            Err(reason) => part.undecided.push(undecided(record.clone(), &reason)),
        }
    }
    let is_whole = part.taken.len() == batch.len();
    (if is_whole { batch.clone() } else { Batch::new(part.taken) }, part.undecided)
}

/// Whether a sink is to be given a record.
pub fn takes(sinks: &[SinkStep], sink: &SinkStep, record: &Record) -> Result<bool, String> {
    let view = View::new(record);
    match &sink.when {
        None => Ok(true),
        Some(Gate::If(condition)) => condition.matches(&view),
        Some(Gate::Otherwise) => Ok(!sinks.iter().any(|other| match &other.when {
            Some(Gate::If(condition)) => condition.matches(&view) != Ok(false),
            _ => false,
        })),
    }
}

/// What a sink's condition makes of a batch.
#[derive(Default)]
struct Part {
    taken: Vec<Record>,
    undecided: Vec<FailedRecord>,
}

/// Puts a record into the part of every sink whose condition takes it, or cannot be decided.
fn choose(sinks: &[SinkStep], record: &Record, parts: &mut [Part]) {
    let view = View::new(record);
    let mut is_wanted = false;
    for (sink, part) in sinks.iter().zip(parts.iter_mut()) {
        let Some(Gate::If(condition)) = &sink.when else { continue };
        match condition.matches(&view) {
            Ok(false) => continue,
            Ok(true) => part.taken.push(record.clone()),
            Err(reason) => part.undecided.push(undecided(record.clone(), &reason)),
        }
        // One that failed here is not one that nobody wants.
        is_wanted = true;
    }
    let others = sinks.iter().zip(parts).filter(|(sink, _)| matches!(sink.when, Some(Gate::Otherwise)));
    others.filter(|_| !is_wanted).for_each(|(_, part)| part.taken.push(record.clone()));
}

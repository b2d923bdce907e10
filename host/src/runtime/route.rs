//! From the end of the chain to the sinks: which sink gets which records of a batch.

use super::{
    chain::undecided,
    flight::Flight,
    run::{Ended, Run},
};
use crate::condition::Condition;
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
    let mut parts: Vec<Vec<Record>> = vec![Vec::new(); sinks.len()];
    for record in whole.iter() {
        choose(run, flight, record, &mut parts)?;
    }
    let part = |(sink, records): (usize, Vec<Record>)| match sinks[sink].when {
        None => Some((sink, whole.clone())),
        Some(_) if records.is_empty() => None,
        Some(_) if records.len() == whole.len() => Some((sink, whole.clone())),
        Some(_) => Some((sink, Batch::new(records))),
    };
    Ok(parts.into_iter().enumerate().filter_map(part).collect())
}

/// Puts a record into the part of every sink whose condition takes it.
fn choose(run: &Run, flight: &Flight, record: &Record, parts: &mut [Vec<Record>]) -> Result<(), Ended> {
    let sinks = &run.pipeline.sinks;
    let view = View::new(record);
    let mut is_taken = false;
    for (sink, part) in sinks.iter().zip(parts.iter_mut()) {
        let Some(Gate::If(condition)) = &sink.when else { continue };
        match takes(run, flight, sink, condition, &view, record)? {
            Some(true) => {
                is_taken = true;
                part.push(record.clone());
            }
            Some(false) => {}
            // It has failed here, which is not the same as nobody wanting it.
            None => is_taken = true,
        }
    }
    let others = sinks.iter().zip(parts).filter(|(sink, _)| matches!(sink.when, Some(Gate::Otherwise)));
    others.filter(|_| !is_taken).for_each(|(_, part)| part.push(record.clone()));
    Ok(())
}

/// Whether a sink takes a record; `None` if its condition cannot be decided, which is taken care of here.
fn takes(
    run: &Run,
    flight: &Flight,
    sink: &SinkStep,
    condition: &Condition,
    view: &View<'_>,
    record: &Record,
) -> Result<Option<bool>, Ended> {
    match condition.matches(view) {
        Ok(takes) => Ok(Some(takes)),
        Err(reason) => {
            run.give_up(&sink.step, flight, vec![undecided(record.clone(), &reason)])?;
            Ok(None)
        }
    }
}

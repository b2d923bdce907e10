//! A sink with many batches in flight, which says what became of them when it is told to.

use crate::{
    orders::{BETWEEN_LOOKS, Orders, Recording},
    sink::key,
};
use lockstep_plugin_api::prelude::*;
use std::{io, mem, path::PathBuf, time::Duration};

/// When the sink finishes what it was given.
#[config]
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Finishes {
    /// As soon as it is asked.
    #[default]
    AtOnce,
    /// Not before it is flushed.
    WhenFlushed,
}

#[config]
pub struct ProbePipelinedSinkConfig {
    /// The folder of orders.
    dir: PathBuf,
    #[serde(default)]
    finishes: Finishes,
}

pub struct ProbePipelinedSink {
    orders: Orders,
    offered: Recording,
    written: Recording,
    finishes: Finishes,
    /// Put and not yet spoken of.
    put: Vec<(u64, Batch)>,
    /// The last batch that is finished.
    through_seq: u64,
    /// The last batch that a flush finishes.
    flushed_seq: u64,
}

impl PipelinedSink for ProbePipelinedSink {
    type Config = ProbePipelinedSinkConfig;

    fn new(config: ProbePipelinedSinkConfig, context: &Context) -> Result<Self> {
        let ProbePipelinedSinkConfig { dir, finishes } = config;
        let orders = Orders::open(context.resolve(&dir))?;
        orders.reach_endpoint()?;
        let (offered, written) = (orders.record("offered")?, orders.record("written")?);
        Ok(Self { orders, offered, written, finishes, put: Vec::new(), through_seq: 0, flushed_seq: 0 })
    }

    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        self.reach_endpoint()?;
        self.offered.append(batch.iter().map(key))?;
        self.put.push((seq, batch));
        Ok(())
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        self.reach_endpoint()?;
        if self.orders.take("break") {
            return Err(Error::fatal("the probe was told to break"));
        }
        let is_held = self.orders.is_given("hold");
        let finishes = |seq: u64| !is_held && (self.finishes == Finishes::AtOnce || seq <= self.flushed_seq);
        let (finished, rest) = mem::take(&mut self.put).into_iter().partition(|(seq, _)| finishes(*seq));
        self.put = rest;
        if finished.is_empty() {
            std::thread::sleep(wait.min(BETWEEN_LOOKS));
        }
        self.finish(finished)
    }

    fn flush(&mut self, _: Duration) -> Result<()> {
        self.flushed_seq = self.put.last().map_or(self.flushed_seq, |(seq, _)| *seq);
        Ok(())
    }
}

impl ProbePipelinedSink {
    /// What was not finished is put again once the endpoint is back.
    fn reach_endpoint(&mut self) -> Result<()> {
        self.orders.reach_endpoint().inspect_err(|_| self.put.clear())
    }

    fn finish(&mut self, finished: Vec<(u64, Batch)>) -> Result<Acked> {
        let (away, fail) = (self.orders.keys("away"), self.orders.keys("fail"));
        let is_in = |keys: &[String], record: &Record| keys.iter().any(|other| other == key(record));
        let mut failed = Vec::new();
        for (seq, batch) in finished {
            for record in batch.iter() {
                if is_in(&away, record) {
                    failed.push((record.id(), Error::not_connected("the probe cannot reach its shard")));
                } else if is_in(&fail, record) {
                    failed.push((record.id(), Error::failed(io::Error::other("the probe was told to fail"))));
                } else {
                    self.written.append([key(record)].into_iter())?;
                }
            }
            self.through_seq = seq;
        }
        Ok(Acked { through_seq: self.through_seq, failed })
    }
}

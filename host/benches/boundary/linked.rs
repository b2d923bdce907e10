//! The comparison: the same components linked into the executable, as somebody would write it who needs no plugins.

use crate::components::{Generator, GeneratorConfig, Null};
use lockstep_plugin_api::{Batch, Record};
use std::hint::black_box;

/// What the pieces of the chain look like in a program without plugins. Called through `dyn`, because such a program
/// puts its chain together from a configuration too.
pub trait Source: Send {
    fn poll(&mut self, max: usize) -> Vec<Record>;
}
pub trait Transform: Send {
    fn apply(&mut self, records: Vec<Record>) -> Vec<Record>;
}
pub trait Sink: Send {
    fn write(&mut self, batch: &[Record]);
}

struct Noop;

impl Source for Generator {
    fn poll(&mut self, max: usize) -> Vec<Record> {
        self.take(max)
    }
}

impl Transform for Noop {
    fn apply(&mut self, records: Vec<Record>) -> Vec<Record> {
        let mut out = Vec::with_capacity(records.len());
        records.into_iter().for_each(|record| out.push(record));
        out
    }
}

impl Sink for Null {
    fn write(&mut self, batch: &[Record]) {
        self.look(batch);
    }
}

pub struct Linked {
    pub source: Box<dyn Source>,
    pub transforms: Vec<Box<dyn Transform>>,
    pub sink: Box<dyn Sink>,
}

impl Linked {
    pub fn new(n_records: u64) -> Self {
        let transform = |_| Box::new(Noop) as Box<dyn Transform>;
        black_box(Self {
            source: Box::new(Generator::with(&GeneratorConfig { records: n_records })),
            transforms: (0..crate::N_TRANSFORMS).map(transform).collect(),
            sink: Box::new(Null),
        })
    }

    /// One batch through the chain on the calling thread.
    pub fn round(&mut self, max: usize) {
        let records = self.source.poll(max);
        let records = self.transforms.iter_mut().fold(records, |records, transform| transform.apply(records));
        self.sink.write(&Batch::new(records));
    }
}

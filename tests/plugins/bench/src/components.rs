//! The components themselves. The boundary benchmark also links this file, so both sides run the same code.

use lockstep_plugin_api::prelude::*;
use std::{hint::black_box, time::Duration};

const KEY_BYTES: usize = 24;
const RECORD_BYTES: usize = 200;

#[config]
pub struct GeneratorConfig {
    /// Where to stop.
    pub records: u64,
}

/// Gives records of 200 bytes, key and value, cut out of one buffer per batch.
pub struct Generator {
    left: u64,
}

impl Generator {
    pub fn with(config: &GeneratorConfig) -> Self {
        Self { left: config.records }
    }

    /// At most `max` more records; none at the end.
    pub fn take(&mut self, max: usize) -> Vec<Record> {
        let n = self.left.min(max as u64) as usize;
        self.left -= n as u64;
        let buffer = Bytes::from(vec![b'x'; n * RECORD_BYTES]);
        let record = |start: usize| {
            let (key, end) = (start + KEY_BYTES, start + RECORD_BYTES);
            Record::new(buffer.slice(key..end)).with_key(buffer.slice(start..key))
        };
        (0..n).map(|i| record(i * RECORD_BYTES)).collect()
    }
}

impl Source for Generator {
    type Config = GeneratorConfig;

    fn new(config: GeneratorConfig, _: &Context) -> Result<Self> {
        Ok(Self::with(&config))
    }

    fn poll(&mut self, max: usize, _: Duration) -> Result<Vec<Record>> {
        match self.take(max) {
            records if records.is_empty() => Err(Error::end_of_input()),
            records => Ok(records),
        }
    }
}

#[config]
pub struct NoopConfig {}

/// Passes every record on.
pub struct Noop;

impl Transform for Noop {
    type Config = NoopConfig;

    fn new(_: NoopConfig, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn apply(&mut self, record: Record, out: &mut Output) -> Result<()> {
        out.push(record);
        Ok(())
    }
}

#[config]
pub struct NullConfig {}

/// Looks at every record's value and keeps nothing.
pub struct Null;

impl Null {
    /// The look at one batch.
    pub fn look(&mut self, batch: &[Record]) {
        let n_bytes: usize = batch.iter().filter_map(Record::raw_value).map(|value| value.len()).sum();
        black_box(n_bytes);
    }
}

impl Sink for Null {
    type Config = NullConfig;

    fn new(_: NullConfig, _: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn write(&mut self, batch: &[Record], _: &mut Failures) -> Result<()> {
        self.look(batch);
        Ok(())
    }
}

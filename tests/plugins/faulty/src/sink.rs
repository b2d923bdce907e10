//! Sinks that go wrong in `new`, `put`, `acked` or `Drop`; what they take they write down.

use crate::fault::{At, Fault, How};
use lockstep_plugin_api::prelude::*;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

#[config]
pub struct FaultySinkConfig {
    fault: Fault,
    /// The file that keys are written to, one per line.
    written: PathBuf,
}

pub struct FaultySink {
    fault: Fault,
    written: File,
}

impl FaultySink {
    fn open(config: FaultySinkConfig) -> Result<Self> {
        config.fault.happen(At::New, [])?;
        let written = OpenOptions::new().create(true).append(true).open(&config.written)?;
        Ok(Self { fault: config.fault, written })
    }

    fn take<'a>(&mut self, records: impl Iterator<Item = &'a Record>) -> Result<()> {
        let text: String = records.map(|record| format!("{}\n", key(record))).collect();
        Ok(self.written.write_all(text.as_bytes())?)
    }
}

impl Sink for FaultySink {
    type Config = FaultySinkConfig;

    fn new(config: FaultySinkConfig, _: &Context) -> Result<Self> {
        Self::open(config)
    }

    fn write(&mut self, batch: &[Record], _: &mut Failures) -> Result<()> {
        self.fault.happen(At::Put, batch.iter().map(key))?;
        self.take(batch.iter())
    }
}

impl Drop for FaultySink {
    fn drop(&mut self) {
        self.fault.happen(At::Drop, []).expect("nothing is said in `Drop`");
    }
}

/// The same sink, told batch by batch how far it has come.
pub struct FaultyPipelinedSink {
    sink: FaultySink,
    news: Acked,
    /// The keys that were put and not yet spoken of in `acked`.
    put: Vec<(u64, String)>,
    /// Whether it has stopped finishing batches.
    is_mute: bool,
}

impl PipelinedSink for FaultyPipelinedSink {
    type Config = FaultySinkConfig;

    fn new(config: FaultySinkConfig, _: &Context) -> Result<Self> {
        let sink = FaultySink::open(config)?;
        Ok(Self { sink, news: Acked::default(), put: Vec::new(), is_mute: false })
    }

    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        let fault = self.sink.fault.clone();
        let is_refused = |record: &&Record| {
            fault.how == How::Nack && fault.at == At::Acked && fault.is_due(At::Acked, [key(record)])
        };
        let (refused, taken): (Vec<&Record>, Vec<&Record>) = batch.iter().partition(is_refused);
        let refusal = || Error::failed(io::Error::other("the fixture fails in Acked"));
        self.news.failed.extend(refused.iter().map(|record| (record.id(), refusal())));
        self.put.extend(taken.iter().map(|record| (record.id(), key(record).to_owned())));
        self.sink.take(taken.into_iter())?;
        self.news.through_seq = seq;
        Ok(())
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        if self.put.is_empty() {
            std::thread::sleep(wait.min(Duration::from_millis(2)));
        }
        let put = std::mem::take(&mut self.put);
        let keys = || put.iter().map(|(_, key)| key.as_str());
        let news =
            Acked { through_seq: self.news.through_seq, failed: std::mem::take(&mut self.news.failed) };
        let fault = &self.sink.fault;
        if self.is_mute {
            return Ok(Acked::default());
        }
        if fault.how == How::Nack || fault.at != At::Acked || !fault.is_due(At::Acked, keys()) {
            return Ok(news);
        }
        match fault.how {
            How::Panic => panic!("the fixture panics in Acked"),
            How::Hang => crate::fault::hang(),
            How::UnknownIds => {
                let unknown = (u64::MAX - 1, Error::failed(io::Error::other("about a record nobody gave")));
                Ok(Acked { failed: vec![unknown], ..news })
            }
            How::TooMany => Ok(Acked { through_seq: news.through_seq + 1_000, ..news }),
            How::TooFew | How::Nack => {
                self.is_mute = true;
                Ok(Acked::default())
            }
        }
    }

    fn flush(&mut self, _: Duration) -> Result<()> {
        Ok(())
    }
}

fn key(record: &Record) -> &str {
    record.key_str().unwrap_or("(no key)")
}

//! Drive one component in-process, through the same adapters a host uses, without a host.
//!
//! ```
//! use lockstep_plugin_api::{prelude::*, testing};
//!
//! #[config]
//! struct Empty {}
//! struct KeepShort;
//! impl Transform for KeepShort {
//!     type Config = Empty;
//!     fn new(_: Empty, _: &Context) -> Result<Self> { Ok(Self) }
//!     fn apply(&mut self, record: Record, out: &mut Output) -> Result<()> {
//!         if record.value().unwrap_or_default().len() < 4 { out.push(record) }
//!         Ok(())
//!     }
//! }
//!
//! let mut driver = testing::transform::<KeepShort>("{}").unwrap();
//! let applied = driver.apply(vec![Record::new("abc"), Record::new("abcdef")]).unwrap();
//! assert_eq!(applied.out.len(), 1);
//! assert_eq!(applied.dropped, [2]);
//! ```

mod memory_host;

pub use memory_host::{MadeChange, MemoryHost};

use crate::{
    abi::{
        adapt,
        vtable::{ComponentParts, RepliesBox, SinkBox, SourceBox, StopCell, TransformBox},
    },
    advice::Advice,
    change::Json,
    error::{Error, Result},
    record::{Batch, Position, Record},
    sink::{Acked, AsyncSink, PipelinedSink, Sink},
    source::{AsyncSource, Outcome, Source},
    transform::Transform,
};
use abi_stable::std_types::RArc;
use std::{path::PathBuf, time::Duration};

/// Where a component under test thinks it is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The folder relative paths start at.
    pub base_dir: PathBuf,
    /// The positions a source starts from.
    pub positions: Vec<Position>,
    /// Whether it was exported with `(answers)`.
    pub answers: bool,
    /// How long a call may take.
    pub watchdog: Duration,
    /// Whether its pipeline goes through the log.
    pub through_log: bool,
    /// Whether it stands behind the log, in the chain of a sink.
    pub behind_log: bool,
    /// As `sync_settings.conflict_resolution_interval`.
    pub conflict_resolution_interval: Duration,
    /// The host it asks; clones are the same host.
    pub host: MemoryHost,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            base_dir: PathBuf::from("."),
            positions: Vec::new(),
            answers: true,
            watchdog: Duration::from_secs(30),
            through_log: false,
            behind_log: false,
            conflict_resolution_interval: Duration::from_secs(10),
            host: MemoryHost::default(),
        }
    }
}

impl Place {
    fn parts(&self) -> ComponentParts {
        ComponentParts {
            pipeline: "test".into(),
            component: "component".into(),
            node_id: "node-test".into(),
            base_dir: self.base_dir.to_string_lossy().into_owned().into(),
            keep_failed: true,
            answers: self.answers,
            watchdog_ms: self.watchdog.as_millis() as u64,
            positions: self.positions.clone().into(),
            stop: RArc::new(StopCell { stopping: 0.into() }),
            catch_up: self.host.catch_up(),
            through_log: self.through_log,
            before_log: self.through_log && !self.behind_log,
            heartbeat_interval_ms: 30_000,
            conflict_resolution_interval_ms: self.conflict_resolution_interval.as_millis() as u64,
            cleanup_interval_ms: 300_000,
            host: self.host.parts(),
        }
    }
}

/// What a transform made of a batch; the records given have the ids 1, 2, 3 and so on.
#[derive(Debug)]
pub struct AppliedBatch {
    /// What it passed on.
    pub out: Vec<Record>,
    /// What failed, by id.
    pub failed: Vec<(u64, Error)>,
    /// What it dropped, by id.
    pub dropped: Vec<u64>,
    /// What authors are told, by id.
    pub told: Vec<(u64, Json)>,
}

/// A transform under test.
pub struct TransformDriver(TransformBox);

/// Makes a transform from its configuration as JSON.
///
/// # Errors
/// What the configuration or `new` says.
pub fn transform<T: Transform>(config: &str) -> Result<TransformDriver> {
    transform_at::<T>(config, &Place::default())
}

/// As [`transform`], with relative paths starting elsewhere.
///
/// # Errors
/// As [`transform`].
pub fn transform_at<T: Transform>(config: &str, place: &Place) -> Result<TransformDriver> {
    let mut task = adapt::transform::<T>(config, place.parts())?;
    place.host.offer(task.operations().into_result()?);
    Ok(TransformDriver(task))
}

/// What a transform says about a configuration before it is made, as `lockstep validate` hears it.
///
/// # Errors
/// What is wrong with the configuration itself.
pub fn transform_advice<T: Transform>(config: &str, place: &Place) -> Result<Advice> {
    adapt::advice(config, &place.base_dir.to_string_lossy(), T::check, T::advise).map(Advice::from)
}

impl TransformDriver {
    /// Applies the transform to a batch.
    ///
    /// # Errors
    /// What concerns the whole batch, such as a panic.
    pub fn apply(&mut self, mut records: Vec<Record>) -> Result<AppliedBatch> {
        for (id, record) in (1..).zip(&mut records) {
            record.set_id(id);
        }
        let applied = self.0.apply(records.into()).into_result()?;
        if let Some(error) = applied.stopped_by.into_option() {
            return Err(error);
        }
        Ok(AppliedBatch {
            out: applied.out.into_iter().collect(),
            failed: applied.failed.into_iter().map(|failed| (failed.id, failed.error)).collect(),
            dropped: applied.dropped.into_iter().collect(),
            told: applied.told.into_iter().map(|told| (told.id, told.details)).collect(),
        })
    }
}

/// A source under test.
pub struct SourceDriver {
    task: SourceBox,
    replies: RepliesBox,
    next_id: u64,
}

/// Makes a blocking source from its configuration as JSON.
///
/// # Errors
/// What the configuration or `new` says.
pub fn source<T: Source>(config: &str, place: &Place) -> Result<SourceDriver> {
    adapt::source::<T>(config, place.parts()).map(SourceDriver::new)
}

/// Makes an async source from its configuration as JSON.
///
/// # Errors
/// What the configuration or `new` says.
pub fn async_source<T: AsyncSource>(config: &str, place: &Place) -> Result<SourceDriver> {
    adapt::async_source::<T>(config, place.parts()).map(SourceDriver::new)
}

impl SourceDriver {
    fn new(opened: crate::abi::vtable::OpenedSource) -> Self {
        Self { task: opened.task, replies: opened.replies, next_id: 1 }
    }

    /// Polls once; ids go on from the last poll, starting at 1.
    ///
    /// # Errors
    /// What the source says.
    pub fn poll(&mut self, max: u32, wait: Duration) -> Result<Vec<Record>> {
        self.poll_bytes(max, u64::MAX, wait)
    }

    /// As [`SourceDriver::poll`], with a bound on the bytes of what an async source emitted.
    ///
    /// # Errors
    /// What the source says.
    pub fn poll_bytes(&mut self, max: u32, max_bytes: u64, wait: Duration) -> Result<Vec<Record>> {
        let wait_ms = wait.as_millis() as u32;
        let records = self.task.poll(self.next_id, max, max_bytes, wait_ms).into_result()?;
        self.next_id += records.len() as u64;
        Ok(records.into_iter().collect())
    }

    /// Polls until this many records came or the time is over.
    ///
    /// # Errors
    /// What the source says, unless records came before it.
    pub fn poll_until(&mut self, n_records: usize, limit: Duration) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut left = limit;
        while records.len() < n_records && !left.is_zero() {
            let step = left.min(Duration::from_millis(50));
            left -= step;
            match self.poll(1000, step) {
                Ok(polled) => records.extend(polled),
                Err(error) if records.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(records)
    }

    /// Tells the source what became of its records.
    ///
    /// # Errors
    /// What the source says.
    pub fn outcomes(&self, outcomes: Vec<Outcome>) -> Result<()> {
        self.replies.outcomes(outcomes.into_iter().map(Into::into).collect()).into_result()
    }

    /// Tells the source that a position is stored.
    ///
    /// # Errors
    /// What the source says.
    pub fn commit(&self, position: &Position) -> Result<()> {
        self.replies.commit(position.lane(), position.bytes().clone()).into_result()
    }
}

/// A sink under test.
pub struct SinkDriver {
    task: SinkBox,
    next_seq: u64,
    next_id: u64,
}

/// Makes a sink from its configuration as JSON.
///
/// # Errors
/// What the configuration or `new` says.
pub fn sink<T: Sink>(config: &str, place: &Place) -> Result<SinkDriver> {
    adapt::sink::<T>(config, place.parts()).map(SinkDriver::new)
}

/// Makes an async sink from its configuration as JSON.
///
/// # Errors
/// What the configuration or `new` says.
pub fn async_sink<T: AsyncSink>(config: &str, place: &Place) -> Result<SinkDriver> {
    adapt::async_sink::<T>(config, place.parts()).map(SinkDriver::new)
}

/// Makes a pipelined sink from its configuration as JSON.
///
/// # Errors
/// What the configuration or `new` says.
pub fn pipelined_sink<T: PipelinedSink>(config: &str, place: &Place) -> Result<SinkDriver> {
    adapt::pipelined_sink::<T>(config, place.parts()).map(SinkDriver::new)
}

impl SinkDriver {
    fn new(task: SinkBox) -> Self {
        Self { task, next_seq: 1, next_id: 1 }
    }

    /// Starts writing a batch and gives its number; ids go on from the last batch, starting at 1.
    ///
    /// # Errors
    /// What the sink says.
    pub fn put(&mut self, mut records: Vec<Record>) -> Result<u64> {
        for record in &mut records {
            record.set_id(self.next_id);
            self.next_id += 1;
        }
        let seq = self.next_seq;
        self.task.put(seq, Batch::new(records)).into_result()?;
        self.next_seq += 1;
        Ok(seq)
    }

    /// How far the sink has come.
    ///
    /// # Errors
    /// What the sink says.
    pub fn acked(&mut self, wait: Duration) -> Result<Acked> {
        let acked = self.task.acked(wait.as_millis() as u32).into_result()?;
        let failed = acked.failed.into_iter().map(|failed| (failed.id, failed.error)).collect();
        Ok(Acked { through_seq: acked.through_seq, failed })
    }

    /// Writes a batch, waits until it is finished and gives the records that failed.
    ///
    /// # Errors
    /// What the sink says, or `Fatal` if it takes longer than 10 s.
    pub fn write(&mut self, records: Vec<Record>) -> Result<Vec<(u64, Error)>> {
        let seq = self.put(records)?;
        let mut failed = Vec::new();
        for _ in 0..100 {
            let acked = self.acked(Duration::from_millis(100))?;
            failed.extend(acked.failed);
            if acked.through_seq >= seq {
                return Ok(failed);
            }
        }
        Err(Error::fatal("the sink did not ack the batch within 10 s"))
    }

    /// Finishes what is in flight.
    ///
    /// # Errors
    /// What the sink says.
    pub fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.task.flush(deadline.as_millis() as u32).into_result()
    }
}

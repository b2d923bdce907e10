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

use crate::{
    abi::{
        Bytes, adapt,
        vtable::{
            Answer, ComponentHost, ComponentHost_TO, ComponentParts, CounterCell, GaugeCell, HistogramCell,
            RepliesBox, SinkBox, SourceBox, StateEntry, StopCell, TransformBox,
        },
    },
    error::{Error, Result},
    record::{Batch, Position, Record},
    sink::{Acked, AsyncSink, PipelinedSink, Sink},
    source::{AsyncSource, Outcome, Source},
    transform::Transform,
};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RArc, RErr, ROption, RSlice, RStr, RString, RVec},
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

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
}

impl Default for Place {
    fn default() -> Self {
        Self {
            base_dir: PathBuf::from("."),
            positions: Vec::new(),
            answers: true,
            watchdog: Duration::from_secs(30),
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
            host: ComponentHost_TO::from_ptr(RArc::new(NoHost::default()), TD_Opaque),
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
    adapt::transform::<T>(config, place.parts()).map(TransformDriver)
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

/// Namespace and key.
type StateKey = (String, Vec<u8>);

/// Metrics that nobody reads and a small state; everything else is refused as in a direct pipeline.
#[derive(Default, Clone)]
struct NoHost {
    state: Arc<Mutex<HashMap<StateKey, Bytes>>>,
}

impl NoHost {
    fn state(&self) -> std::sync::MutexGuard<'_, HashMap<StateKey, Bytes>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn refused<T>(what: &str) -> Answer<T> {
    RErr(Error::unsupported(format!("{what} needs a host")))
}

impl ComponentHost for NoHost {
    fn counter(&self, _: RStr<'_>) -> RArc<CounterCell> {
        RArc::new(CounterCell { value: 0.into() })
    }
    fn gauge(&self, _: RStr<'_>) -> RArc<GaugeCell> {
        RArc::new(GaugeCell { value: 0.into() })
    }
    fn histogram(&self, _: RStr<'_>) -> RArc<HistogramCell> {
        RArc::new(HistogramCell { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: 0.into() })
    }
    fn state_get(&self, namespace: RStr<'_>, key: RSlice<'_, u8>) -> Answer<ROption<Bytes>> {
        Answer::ROk(self.state().get(&(namespace.to_string(), key.to_vec())).cloned().into())
    }
    fn state_scan(
        &self,
        namespace: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: ROption<RSlice<'_, u8>>,
        limit: u32,
    ) -> Answer<RVec<StateEntry>> {
        let state = self.state();
        let mut found: Vec<_> = state
            .iter()
            .filter(|((of, key), _)| of.as_str() == namespace.as_str() && key.starts_with(prefix.as_slice()))
            .filter(|((_, key), _)| {
                after.as_ref().into_option().is_none_or(|after| key.as_slice() > after.as_slice())
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(b.0));
        let entry = |(key, value): (&(String, Vec<u8>), &Bytes)| StateEntry {
            key: Bytes::copy_from_slice(&key.1),
            value: value.clone(),
        };
        Answer::ROk(found.into_iter().take(limit as usize).map(entry).collect())
    }
    fn state_stage(&self, namespace: RStr<'_>, key: RSlice<'_, u8>, value: ROption<Bytes>) -> Answer<()> {
        let key = (namespace.to_string(), key.to_vec());
        match value.into_option() {
            Some(value) => drop(self.state().insert(key, value)),
            None => drop(self.state().remove(&key)),
        }
        Answer::ROk(())
    }
    fn publish(&self, _: Record) -> Answer<()> {
        refused("publish")
    }
    fn replay(&self, _: u64, _: u64) -> Answer<()> {
        refused("replay")
    }
    fn call(&self, _: RStr<'_>, _: RStr<'_>) -> Answer<RString> {
        refused("call")
    }
}

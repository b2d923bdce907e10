//! What a component may ask of its host: who it is, where it stopped, metrics, the stop signal, and the places where
//! state, operations, notices and replay are reached.

use crate::{
    abi::{
        Bytes, runtime,
        vtable::{ComponentParts, CounterCell, GaugeCell, HistogramCell},
    },
    error::{Error, Result},
    record::Record,
};
use abi_stable::std_types::{RArc, RNone, ROption, RSlice, RSome, RStr};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A component's view of its host. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    parts: Arc<ComponentParts>,
    fault: Fault,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({}/{})", self.pipeline(), self.component())
    }
}

impl Context {
    pub(crate) fn new(parts: ComponentParts) -> Self {
        Self { parts: Arc::new(parts), fault: Fault::default() }
    }

    pub(crate) fn fault(&self) -> Fault {
        self.fault.clone()
    }

    pub(crate) fn keeps_failed(&self) -> bool {
        self.parts.keep_failed
    }

    pub(crate) fn hears_outcomes(&self) -> bool {
        self.parts.answers
    }

    /// How long a call may take before the host gives the component up.
    pub(crate) fn watchdog(&self) -> Duration {
        Duration::from_millis(self.parts.watchdog_ms)
    }

    /// The pipeline this component belongs to.
    pub fn pipeline(&self) -> &str {
        &self.parts.pipeline
    }

    /// The component's name in its pipeline.
    pub fn component(&self) -> &str {
        &self.parts.component
    }

    /// This host's name among all hosts.
    pub fn node_id(&self) -> &str {
        &self.parts.node_id
    }

    /// A path of the configuration: relative ones start at the folder of the pipeline's file.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        Path::new(self.parts.base_dir.as_str()).join(path)
    }

    /// The place in `lane` up to which everything had been written when this source was started; `None` at the first
    /// start. The host's store is the truth: what a broker remembers is advice.
    pub fn position(&self, lane: u32) -> Option<&Bytes> {
        self.parts.positions.iter().find(|position| position.lane() == lane).map(|position| position.bytes())
    }

    /// Every stored place, one per lane.
    pub fn positions(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.parts.positions.iter().map(|position| (position.lane(), position.bytes()))
    }

    /// Whether the host wants this component to come to an end. A call that waits should look once in a while.
    pub fn stopping(&self) -> bool {
        self.parts.stop.stopping.load(Ordering::Acquire) != 0
    }

    /// A counter, created at the first use; it appears in the metrics as `lockstep_plugin_{name}_total`.
    pub fn counter(&self, name: &str) -> Counter {
        Counter(self.parts.host.counter(RStr::from_str(name)))
    }

    /// A gauge, created at the first use; it appears in the metrics as `lockstep_plugin_{name}`.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge(self.parts.host.gauge(RStr::from_str(name)))
    }

    /// A histogram of durations, created at the first use; it appears as `lockstep_plugin_{name}_seconds`.
    pub fn histogram(&self, name: &str) -> Histogram {
        Histogram(self.parts.host.histogram(RStr::from_str(name)))
    }

    /// Runs a future on the plugin's own runtime. If it panics, the component fails at its next call.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let fault = self.fault.clone();
        let task = runtime::handle().spawn(future);
        runtime::handle().spawn(async move {
            match task.await {
                Err(error) if error.is_panic() => {
                    fault.set(crate::abi::guard::join::<()>("a task", Err(error)).err())
                }
                _ => {}
            }
        });
    }

    /// The state this component keeps in the host's store.
    ///
    /// State becomes true together with the batch that staged it, so it needs a pipeline through the log; in a direct
    /// pipeline every call answers `Unsupported`.
    pub fn state(&self, namespace: &'static str) -> State<'_> {
        State { context: self, namespace }
    }

    /// Puts a notice into the log, for subscribers.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline: only the log has notices.
    pub fn publish(&self, notice: Record) -> Result<()> {
        self.parts.host.publish(notice).into_result()
    }

    /// Asks for the log's entries from one revision to another, through this sink's own `when` and transforms.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline: it has no history.
    pub fn replay(&self, from_revision: u64, to_revision: u64) -> Result<()> {
        self.parts.host.replay(from_revision, to_revision).into_result()
    }

    /// Calls an operation that some plugin of this host offers, such as `lock.acquire`.
    ///
    /// # Errors
    /// `Unsupported` if no loaded plugin offers it; otherwise what the operation answers.
    pub fn call<T: serde::de::DeserializeOwned>(
        &self,
        operation: &str,
        arguments: &impl serde::Serialize,
    ) -> Result<T> {
        let arguments = serde_json::to_string(arguments).map_err(Error::failed)?;
        let answer =
            self.parts.host.call(RStr::from_str(operation), RStr::from_str(&arguments)).into_result()?;
        serde_json::from_str(&answer).map_err(Error::failed)
    }
}

/// A component's keys and values in the host's store, in a namespace of the component's choice.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    context: &'a Context,
    namespace: &'static str,
}

impl State<'_> {
    /// The value of a key, with what this batch staged.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let host = &self.context.parts.host;
        let value = host.state_get(RStr::from_str(self.namespace), RSlice::from_slice(key));
        value.into_result().map(ROption::into_option)
    }

    /// At most `limit` keys that start with `prefix`, in order, after the key `after`.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<(Bytes, Bytes)>> {
        let after = after.map_or(RNone, |key| RSome(RSlice::from_slice(key)));
        let (namespace, prefix) = (RStr::from_str(self.namespace), RSlice::from_slice(prefix));
        let entries = self.context.parts.host.state_scan(namespace, prefix, after, limit).into_result()?;
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    /// Gives a key a value when this batch is committed; `None` deletes it.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn stage(&self, key: &[u8], value: Option<Bytes>) -> Result<()> {
        let (namespace, key) = (RStr::from_str(self.namespace), RSlice::from_slice(key));
        self.context.parts.host.state_stage(namespace, key, value.into()).into_result()
    }
}

/// Counts up. Adding costs 3-4 ns and no call.
#[derive(Debug, Clone)]
pub struct Counter(RArc<CounterCell>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.value.fetch_add(n, Ordering::Relaxed);
    }
}

/// Goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(RArc<GaugeCell>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.value.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.value.fetch_add(n, Ordering::Relaxed);
    }
}

/// Upper bounds of a histogram's buckets, in microseconds: doubling from 50 us to 13 s.
pub const HISTOGRAM_BOUNDS_US: [u64; 19] = {
    let mut bounds = [0; 19];
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] = 50 << i;
        i += 1;
    }
    bounds
};

/// Counts durations by size.
#[derive(Debug, Clone)]
pub struct Histogram(RArc<HistogramCell>);

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let us = duration.as_micros() as u64;
        let bucket = HISTOGRAM_BOUNDS_US.partition_point(|bound| *bound < us);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// Where a panic of a spawned task waits until the component is entered again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault(Arc<FaultSlot>);

#[derive(Debug, Default)]
struct FaultSlot {
    /// Checked before every call, so that the lock is taken only when there is something.
    is_set: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Fault {
    fn set(&self, error: Option<Error>) {
        *self.0.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = error;
        self.0.is_set.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Option<Error> {
        if !self.0.is_set.load(Ordering::Acquire) {
            return None;
        }
        self.0.error.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

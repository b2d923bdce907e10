//! What a component may ask of its host: who it is, where it stopped, metrics, the stop signal, and the places where
//! state, operations, notices and replay are reached.

use crate::{
    abi::{
        Bytes,
        adapt::completion,
        runtime,
        vtable::{CompletionBox, ComponentParts},
    },
    error::{Error, Result},
    log::{EntryAt, LogPosition, Replay, Replayed},
    metrics::{Counter, Gauge, Histogram},
    paths,
    record::Record,
    state::State,
};
use abi_stable::std_types::RStr;
use serde::de::DeserializeOwned;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};
use tokio::sync::oneshot;

#[doc(hidden)]
pub const CATCHING_UP: u32 = 1;
#[doc(hidden)]
pub const CAUGHT_UP: u32 = 2;

/// How often a task that pauses looks whether its component is gone.
const LOOK: Duration = Duration::from_millis(200);

/// A component's view of its host. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub(crate) parts: Arc<ComponentParts>,
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

    /// A path of the configuration: relative ones start at the folder of the pipeline's file. It is as people read it,
    /// without a `.` that says nothing.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        paths::from_folder(Path::new(self.parts.base_dir.as_str()), path.as_ref())
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

    /// Names the place this component reads or writes, for example `kafka:broker-1:9092`: alike for a source and a sink of
    /// one place. Say it in `new`.
    ///
    /// Through the log, a change that was read at a place is not written there again.
    pub fn endpoint(&self, name: &str) {
        self.parts.host.endpoint(RStr::from_str(name));
    }

    /// Says, in `new` of a source, that there may be much to read that was there before: the host is not ready until
    /// [`Context::caught_up`], and until what came before that is written.
    pub fn catching_up(&self) {
        self.parts.catch_up.state.store(CATCHING_UP, Ordering::Release);
    }

    /// Says, inside `poll`, that with the records of this poll everything has been handed over that was there before.
    pub fn caught_up(&self) {
        let state = &self.parts.catch_up.state;
        let _ = state.compare_exchange(CATCHING_UP, CAUGHT_UP, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// A counter, created at the first use; it appears in the metrics as `lockstep_plugin_{name}_total`.
    pub fn counter(&self, name: &str) -> Counter {
        Counter(self.parts.host.counter(RStr::from_str(name)))
    }

    /// A gauge, created at the first use; it appears in the metrics as `lockstep_plugin_{name}`.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge(self.parts.host.gauge(RStr::from_str(name)))
    }

    /// Says that a metric of this component feeds a cell of the metrics document (`/v1/metrics`), such as
    /// `lock_statistics.acquired`. A cell that several metrics feed is their sum.
    pub fn feeds(&self, metric: &str, cell: &str) {
        self.parts.host.feeds(RStr::from_str(metric), RStr::from_str(cell));
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

    /// Waits between the rounds of a task that [`Context::spawn`] began. False, soon, once the component is gone: the host
    /// wants it to come to an end, or it dropped what `alive` points at.
    pub async fn pause(&self, time: Duration, alive: &Weak<()>) -> bool {
        // Without any wait at all the task would leave its thread to nobody.
        let mut left = time.max(Duration::from_millis(1));
        while !self.stopping() && alive.strong_count() > 0 {
            if left.is_zero() {
                return true;
            }
            tokio::time::sleep(left.min(LOOK)).await;
            left = left.saturating_sub(LOOK);
        }
        false
    }

    /// Whether the pipeline goes through the log: only then are there state, notices, history and operations.
    pub fn through_log(&self) -> bool {
        self.parts.through_log
    }

    /// Whether what this component gives goes into the log: a transform of the pipeline itself or of one of its sources, or
    /// such a source. What it makes of a change is then what this host keeps and other hosts are sent.
    pub fn before_log(&self) -> bool {
        self.parts.before_log
    }

    /// The host's `sync_settings` that concern components.
    pub fn sync(&self) -> SyncSettings {
        SyncSettings {
            heartbeat_interval: Duration::from_millis(self.parts.heartbeat_interval_ms),
            conflict_resolution_interval: Duration::from_millis(self.parts.conflict_resolution_interval_ms),
            cleanup_interval: Duration::from_millis(self.parts.cleanup_interval_ms),
        }
    }

    /// Keys and values that the host keeps for its components, in a namespace of the component's choice. Namespaces are
    /// shared by the whole host.
    ///
    /// State becomes true together with the batch that staged it, so it needs a pipeline through the log; in a direct
    /// pipeline every call answers `Unsupported`.
    pub fn state(&self, namespace: &'static str) -> State<'_> {
        State { context: self, namespace }
    }

    /// Puts a notice ([`Record::notice`]) into the log, for subscribers: inside `apply` behind the entries of the batch
    /// and together with them, elsewhere at once.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline: only the log has notices.
    pub fn publish(&self, notice: Record) -> Result<()> {
        self.parts.host.publish(notice).into_result()
    }

    /// Writes an entry into the host's audit, a JSON object: inside `apply` together with the batch, elsewhere at once.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn audit(&self, entry: &impl serde::Serialize) -> Result<()> {
        let entry = serde_json::to_string(entry).map_err(Error::failed)?;
        self.parts.host.audit(RStr::from_str(&entry)).into_result()
    }

    /// Where the log stands.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn log(&self) -> Result<LogPosition> {
        self.parts.host.log().into_result().map(LogPosition::from)
    }

    /// The newest entry of a key whose revision is at most `revision`: what somebody who had seen that revision knew of
    /// the key. `u64::MAX` asks for the current one. Entries of the batch that is being applied are not in the log yet.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn entry_at(&self, tenant: Option<&str>, config_key: &str, revision: u64) -> Result<EntryAt> {
        let tenant = tenant.map(RStr::from_str).into();
        let found = self.parts.host.entry_at(tenant, RStr::from_str(config_key), revision).into_result()?;
        Ok(EntryAt::from(found))
    }

    /// A page of the log after a revision, as this sink gets it: through its own `when` and transforms. For sinks only;
    /// it reads from disk, so it is not for a thread that runs async tasks.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline: it has no history.
    pub fn replay(&self, after: u64, what: Replay, limit: u32) -> Result<Replayed> {
        let page = self.parts.host.replay(after, what == Replay::Current, limit).into_result()?;
        Ok(Replayed::from(page))
    }

    /// Calls an operation that some component of this host offers, such as `lock.acquire`. Not inside `apply` of the
    /// pipeline's own transforms: an operation commits by itself, and the batch may be applied again.
    ///
    /// # Errors
    /// `Unsupported` if no component offers it, and inside such an `apply`; otherwise what the operation answers.
    pub fn call<T: DeserializeOwned, A: serde::Serialize>(
        &self,
        operation: &str,
        arguments: &A,
    ) -> impl Future<Output = Result<T>> + Send + use<T, A> {
        let (answer, answered) = oneshot::channel();
        let deliver = move |result| drop(answer.send(result));
        let started = self.start_call(operation, arguments, completion(deliver));
        async move {
            started?;
            read_answer(answered.await.map_err(|_| unanswered()).flatten())
        }
    }

    /// As [`Context::call`], for a thread that may wait.
    ///
    /// # Errors
    /// As [`Context::call`].
    pub fn call_blocking<T: DeserializeOwned>(
        &self,
        operation: &str,
        arguments: &impl serde::Serialize,
    ) -> Result<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        let deliver = move |result| drop(answer.send(result));
        self.start_call(operation, arguments, completion(deliver))?;
        read_answer(answered.recv().map_err(|_| unanswered()).flatten())
    }

    fn start_call(
        &self,
        operation: &str,
        arguments: &impl serde::Serialize,
        done: CompletionBox,
    ) -> Result<()> {
        let arguments = serde_json::to_string(arguments).map_err(Error::failed)?;
        self.parts.host.call(RStr::from_str(operation), RStr::from_str(&arguments), done);
        Ok(())
    }
}

fn unanswered() -> Error {
    Error::fatal("the component that offers this operation is gone")
}

pub(crate) fn read_answer<T: DeserializeOwned>(answer: Result<String>) -> Result<T> {
    serde_json::from_str(&answer?).map_err(Error::failed)
}

/// The host's `sync_settings` that concern components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncSettings {
    /// How often a host says that it lives.
    pub heartbeat_interval: Duration,
    /// How often unresolved conflicts are looked through.
    pub conflict_resolution_interval: Duration,
    /// How often what is stale is removed.
    pub cleanup_interval: Duration,
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

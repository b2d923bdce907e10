//! Every call that crosses the boundary. Both sides see these shapes only through the adapters.
//!
//! Growth is by suffix: a new method with a default body goes after the last one, a new root field after the last one,
//! and neither is ever moved or removed. `#[sabi(last_prefix_field)]` marks how far version 1.0 reached.

use crate::{
    abi::Bytes,
    change::Json,
    error::Error,
    record::{Batch, Position, Record},
};
use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::VersionStrings,
    std_types::{RArc, RBox, ROption, RResult, RSlice, RStr, RString, RVec},
};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

/// What every call gives back.
pub type Answer<T> = RResult<T, Error>;

/// What the host tells a source about one record.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct OutcomeParts {
    pub id: u64,
    pub kind: u32,
    pub revision: u64,
    pub error: ROption<Error>,
    /// What a transform told the author about a record that was committed.
    pub details: ROption<Json>,
}

/// A record that failed in a transform; the record itself only if the host asked for it to be kept.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct FailedRecord {
    pub id: u64,
    pub error: Error,
    pub record: ROption<Record>,
}

/// What became of every record of a batch: the ids of `out`, `failed`, `dropped` and `unapplied` together are the ids
/// given.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Applied {
    pub out: RVec<Record>,
    pub failed: RVec<FailedRecord>,
    pub dropped: RVec<u64>,
    /// What is to be applied again because the transform's endpoint is away, in order, and why.
    pub unapplied: RVec<Record>,
    pub stopped_by: ROption<Error>,
    /// What the authors of records are to hear beside the outcome.
    pub told: RVec<Told>,
}

/// What a component says about a configuration that it can read.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, Default)]
pub struct AdviceParts {
    /// 0: what the metadata says, 1: at least once, 2: at most once.
    pub delivery: u32,
    /// Each names its field as an [`Error`] does.
    pub warnings: RVec<Error>,
    /// Of which keys it seals values, opens sealed ones, opens them where it can, and looks into values.
    pub seals: RVec<KeyRule>,
    pub opens: RVec<KeyRule>,
    pub may_open: RVec<KeyRule>,
    pub reads_values: RVec<KeyRule>,
    /// What for.
    pub reads_values_why: RString,
    /// Of which keys it makes values that no author wrote.
    pub makes_values: RVec<KeyRule>,
    /// Why it could not be made.
    pub refusals: RVec<RefusalParts>,
}

/// Why a component could not be made.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct RefusalParts {
    /// 0: in any pipeline, 1: in a direct one, 2: in one through the log.
    pub way: u32,
    /// It names the field.
    pub error: Error,
}

/// One rule of a set of keys.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct KeyRule {
    pub glob: RString,
    pub says: bool,
}

/// What the author of one record is told.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct Told {
    pub id: u64,
    pub details: Json,
}

/// A record that a sink could not write.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct FailedId {
    pub id: u64,
    pub error: Error,
}

/// How far a sink has come: every record of every batch up to `through_seq` is written, except those in `failed`.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct AckedParts {
    pub through_seq: u64,
    pub failed: RVec<FailedId>,
}

#[sabi_trait]
pub trait SourceTask: Send {
    /// At most `max_records`, waiting at most `max_wait_ms` for the first; record `i` has the id `first_id + i`. Of
    /// what an async source emitted, at most `max_bytes` are given, or one record that is larger; a blocking source is
    /// asked for records alone, for it cannot put back what it has read.
    #[sabi(last_prefix_field)]
    fn poll(
        &mut self,
        first_id: u64,
        max_records: u32,
        max_bytes: u64,
        max_wait_ms: u32,
    ) -> Answer<RVec<Record>>;
}

/// Callable from any thread while `poll` blocks.
#[sabi_trait]
pub trait SourceReplies: Send + Sync {
    fn outcomes(&self, outcomes: RVec<OutcomeParts>) -> Answer<()>;
    #[sabi(last_prefix_field)]
    fn commit(&self, lane: u32, position: Bytes) -> Answer<()>;
}

#[sabi_trait]
pub trait TransformTask: Send {
    fn apply(&mut self, batch: RVec<Record>) -> Answer<Applied>;
    /// What this component offers to be called by name; asked once, right after it was made.
    #[sabi(last_prefix_field)]
    fn operations(&mut self) -> Answer<RVec<OperationParts>> {
        RResult::ROk(RVec::new())
    }
}

/// A named call that a component offers.
#[repr(C)]
#[derive(StableAbi)]
pub struct OperationParts {
    pub name: RString,
    pub description: RString,
    /// The JSON Schema of the arguments.
    pub arguments: RString,
    /// Whether every component of the plugin offers the same.
    pub is_of_plugin: bool,
    /// Whether it changes nothing, whatever its arguments are.
    pub only_reads: bool,
    pub task: OperationBox,
}

/// Who calls an operation.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct CallerParts {
    pub is_operator: bool,
    pub name: RString,
}

#[sabi_trait]
pub trait OperationTask: Send + Sync {
    /// Starts the call and returns; the answer comes through `done`, from any thread, once.
    #[sabi(last_prefix_field)]
    fn call(&self, caller: CallerParts, arguments: RString, done: CompletionBox);
}

/// Where the answer of an operation goes. Dropped without an answer, it stands for "the component is gone".
#[sabi_trait]
pub trait Completion: Send {
    #[sabi(last_prefix_field)]
    fn done(&self, answer: Answer<RString>);
}

#[sabi_trait]
pub trait SinkTask: Send {
    fn put(&mut self, seq: u64, batch: Batch) -> Answer<()>;
    fn acked(&mut self, max_wait_ms: u32) -> Answer<AckedParts>;
    #[sabi(last_prefix_field)]
    fn flush(&mut self, deadline_ms: u32) -> Answer<()>;
}

pub type SourceBox = SourceTask_TO<'static, RBox<()>>;
pub type RepliesBox = SourceReplies_TO<'static, RArc<()>>;
pub type TransformBox = TransformTask_TO<'static, RBox<()>>;
pub type SinkBox = SinkTask_TO<'static, RBox<()>>;
pub type OperationBox = OperationTask_TO<'static, RBox<()>>;
pub type CompletionBox = Completion_TO<'static, RBox<()>>;

/// A source and the handle through which it hears what became of its records.
#[repr(C)]
#[derive(StableAbi)]
pub struct OpenedSource {
    pub task: SourceBox,
    pub replies: RepliesBox,
}

#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct CounterCell {
    pub value: AtomicU64,
}

#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct GaugeCell {
    pub value: AtomicI64,
}

/// A histogram of durations: one count per bound of [`crate::metrics::HISTOGRAM_BOUNDS_US`] and one above them all.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct HistogramCell {
    pub buckets: [AtomicU64; 20],
    pub sum_us: AtomicU64,
}

#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct StopCell {
    pub stopping: AtomicU32,
}

/// How far a source is with what was there before it started.
#[repr(C)]
#[derive(StableAbi, Debug, Default)]
pub struct CatchUpCell {
    /// 0: it has nothing to catch up with; 1: it has; 2: it has handed all of it over.
    pub state: AtomicU32,
}

#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct StateEntry {
    pub key: Bytes,
    pub value: Bytes,
}

/// What a key must hold for a commit to happen.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct StateExpected {
    pub key: Bytes,
    /// Absent: the key must not be there.
    pub value: ROption<Bytes>,
}

/// What a key holds after a commit.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct StateWrite {
    pub key: Bytes,
    /// Absent deletes the key.
    pub value: ROption<Bytes>,
}

/// A commit outside a batch: all of it, or nothing.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct StateCommitParts {
    pub expected: RVec<StateExpected>,
    pub writes: RVec<StateWrite>,
    pub notices: RVec<Record>,
    /// JSON objects for the audit.
    pub audit: RVec<RString>,
}

/// What became of a commit outside a batch.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct StateCommitted {
    /// False if an expectation did not hold; nothing was written then.
    pub is_done: bool,
    /// The revision of the first notice; 0 without one.
    pub revision: u64,
}

/// Where the log stands.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct LogParts {
    pub epoch: RString,
    pub head: u64,
    pub compacted: u64,
}

/// The newest entry of a key at some revision.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct EntryAtParts {
    pub entry: ROption<Record>,
    /// Whether history does not reach back that far.
    pub is_compacted: bool,
}

/// A page of the log.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct ReplayedParts {
    pub records: RVec<Record>,
    pub through: u64,
    pub is_end: bool,
    /// If history does not reach back to where the page starts: up to where it is incomplete.
    pub compacted: ROption<u64>,
}

/// What one component may ask of its host.
#[sabi_trait]
pub trait ComponentHost: Send + Sync + Clone {
    fn counter(&self, name: RStr<'_>) -> RArc<CounterCell>;
    fn gauge(&self, name: RStr<'_>) -> RArc<GaugeCell>;
    fn histogram(&self, name: RStr<'_>) -> RArc<HistogramCell>;
    fn state_get(&self, namespace: RStr<'_>, key: RSlice<'_, u8>) -> Answer<ROption<Bytes>>;
    fn state_scan(
        &self,
        namespace: RStr<'_>,
        prefix: RSlice<'_, u8>,
        after: ROption<RSlice<'_, u8>>,
        limit: u32,
    ) -> Answer<RVec<StateEntry>>;
    /// `value` absent deletes the key.
    fn state_stage(&self, namespace: RStr<'_>, key: RSlice<'_, u8>, value: ROption<Bytes>) -> Answer<()>;
    /// Commits state at once; only outside a batch.
    fn state_commit(&self, namespace: RStr<'_>, commit: StateCommitParts) -> Answer<StateCommitted>;
    fn publish(&self, notice: Record) -> Answer<()>;
    fn audit(&self, entry: RStr<'_>) -> Answer<()>;
    fn log(&self) -> Answer<LogParts>;
    /// The newest entry of a key with a revision of at most `revision`.
    fn entry_at(&self, tenant: ROption<RStr<'_>>, key: RStr<'_>, revision: u64) -> Answer<EntryAtParts>;
    /// At most `limit` entries after `after`; `is_current` leaves out what a later entry of the same key replaced.
    fn replay(&self, after: u64, is_current: bool, limit: u32) -> Answer<ReplayedParts>;
    /// Starts an operation and returns; the answer comes through `done`.
    fn call(&self, operation: RStr<'_>, arguments: RStr<'_>, done: CompletionBox);
    /// Sends a change through the pipeline and returns; `done` hears what became of it, as JSON.
    fn submit(&self, change: Record, done: CompletionBox);
    /// Names the place this component reads or writes.
    fn endpoint(&self, name: RStr<'_>);
    /// Says which cell of the metrics document a metric of this component feeds.
    #[sabi(last_prefix_field)]
    fn feeds(&self, metric: RStr<'_>, cell: RStr<'_>);
}
pub type ComponentHostBox = ComponentHost_TO<'static, RArc<()>>;

/// Who a component is and what it is given at its start.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct ComponentParts {
    pub pipeline: RString,
    pub component: RString,
    pub node_id: RString,
    pub base_dir: RString,
    pub keep_failed: bool,
    /// Whether the component was exported with `(answers)`, so that every record of it gets an outcome.
    pub answers: bool,
    /// How long a call may take before the host gives the component up.
    pub watchdog_ms: u64,
    /// Whether the pipeline goes through the log.
    pub through_log: bool,
    /// Whether it does, and what this component gives goes into the log.
    pub before_log: bool,
    pub heartbeat_interval_ms: u64,
    pub conflict_resolution_interval_ms: u64,
    pub cleanup_interval_ms: u64,
    pub positions: RVec<Position>,
    pub stop: RArc<StopCell>,
    pub catch_up: RArc<CatchUpCell>,
    pub host: ComponentHostBox,
}

/// A `tracing` callsite of a plugin.
#[repr(C)]
#[derive(StableAbi)]
pub struct CallsiteParts<'a> {
    pub name: RStr<'a>,
    pub target: RStr<'a>,
    pub file: RStr<'a>,
    pub line: u32,
    pub level: u8,
    pub is_span: bool,
    pub fields: RSlice<'a, RStr<'a>>,
}

/// Which host callsite a plugin callsite became, and whether anybody listens: 0 never, 1 ask each time, 2 always.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct CallsiteAnswer {
    pub id: u64,
    pub interest: u8,
}

/// The value of a log field, borrowed for the time of the call.
#[repr(C, u8)]
#[derive(StableAbi, Clone, Copy)]
pub enum LogValue<'a> {
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
    Str(RStr<'a>),
    Debug(RStr<'a>),
}

#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogField<'a> {
    pub index: u32,
    pub value: LogValue<'a>,
}

/// Where a plugin library's log lines and spans go.
#[sabi_trait]
pub trait LogHost: Send + Sync + Clone {
    fn register_callsite(&self, callsite: CallsiteParts<'_>) -> CallsiteAnswer;
    /// As in [`CallsiteAnswer`]; asked again after the host changed its filter.
    fn interest(&self, callsite: u64) -> u8;
    fn enabled(&self, callsite: u64) -> bool;
    /// `parent` 0 means: whatever span this thread is in, on the host's side.
    fn event(&self, callsite: u64, parent: u64, fields: RSlice<'_, LogField<'_>>);
    fn new_span(&self, callsite: u64, parent: u64, fields: RSlice<'_, LogField<'_>>) -> u64;
    fn record_span(&self, span: u64, fields: RSlice<'_, LogField<'_>>);
    fn enter_span(&self, span: u64);
    fn exit_span(&self, span: u64);
    fn close_span(&self, span: u64);
    /// 0 off, 1 error … 5 trace.
    #[sabi(last_prefix_field)]
    fn max_level(&self) -> u8;
}
pub type LogHostBox = LogHost_TO<'static, RArc<()>>;

/// The one symbol of a plugin library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(option))]
pub struct PluginModule {
    /// The metadata of the file's `.lockstep.meta` section.
    pub metadata: RStr<'static>,
    /// Called once, before anything else: installs logging and the panic hook.
    pub init: extern "C" fn(LogHostBox) -> Answer<()>,
    /// Called after the host changed its log filter.
    pub refresh_log_filter: extern "C" fn(),
    pub config_schema: extern "C" fn(kind: RStr<'_>, name: RStr<'_>) -> Answer<RString>,
    /// Reads a configuration into its type, asks what is to be said about it, and drops it; starts nothing. Relative paths
    /// start at `base_dir`.
    pub check_config: extern "C" fn(
        kind: RStr<'_>,
        name: RStr<'_>,
        config: RStr<'_>,
        base_dir: RStr<'_>,
    ) -> Answer<AdviceParts>,
    pub new_source:
        extern "C" fn(name: RStr<'_>, config: RStr<'_>, parts: ComponentParts) -> Answer<OpenedSource>,
    pub new_transform:
        extern "C" fn(name: RStr<'_>, config: RStr<'_>, parts: ComponentParts) -> Answer<TransformBox>,
    #[sabi(last_prefix_field)]
    pub new_sink: extern "C" fn(name: RStr<'_>, config: RStr<'_>, parts: ComponentParts) -> Answer<SinkBox>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "lockstep_plugin";
    const NAME: &'static str = "lockstep plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

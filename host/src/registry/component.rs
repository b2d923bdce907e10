//! One component of a loaded plugin: what it is, whether a configuration suits it, and the three kinds of instance.
//!
//! Plain calls with the host's types and no policy. A panic in a plugin's code comes back as an error of kind `PANIC`.

use super::load::Plugin;
use crate::config::ComponentKind;
use lockstep_plugin_api::{
    Advice, Bytes, Error,
    abi::{
        Records,
        handshake::ComponentMetadata,
        types::{RStr, RVec},
        vtable::{
            self, CallerParts, CompletionBox, ComponentParts, OperationParts, RepliesBox, SinkBox, SourceBox,
            TransformBox,
        },
    },
    change::Json,
    record::{Batch, Record},
    sink::Acked,
    source::Outcome,
};
use serde_json::Value;
use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// A source, transform or sink that can be opened. Cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    kind: ComponentKind,
    plugin: Arc<Plugin>,
    metadata: ComponentMetadata,
    schema: OnceLock<Result<Value, Error>>,
}

/// Whether a source reads again what was not committed, as its plugin says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replays {
    Always,
    /// Its configuration decides.
    ByConfig,
    Unsaid,
}

/// An open source; belongs to one thread.
pub struct Source {
    task: SourceBox,
    replies: Replies,
}

/// Tells a source what became of its records, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Replies(Arc<RepliesBox>);

/// A named call that an open component offers. Cheap to clone.
#[derive(Clone)]
pub struct Operation(Arc<OperationParts>);

/// An open transform.
pub struct Transform(TransformBox);

/// An open sink.
pub struct Sink(SinkBox);

/// What became of every record of a batch: the ids of `out`, `failed`, `dropped` and `unapplied` together are the ids
/// given.
#[derive(Debug)]
pub struct Applied {
    pub out: Records,
    pub failed: Vec<FailedRecord>,
    pub dropped: RVec<u64>,
    /// What is to be applied again because the transform's endpoint is away, in order.
    pub unapplied: Records,
    /// Why there are such.
    pub stopped_by: Option<Error>,
    /// What the authors of records are to hear, by id.
    pub told: Vec<(u64, Json)>,
}

/// A record that failed in a transform; the record itself only if [`ComponentParts::keep_failed`] asked for it.
#[derive(Debug)]
pub struct FailedRecord {
    pub id: u64,
    pub error: Error,
    pub record: Option<Record>,
}

impl Component {
    pub(super) fn new(kind: ComponentKind, plugin: Arc<Plugin>, metadata: ComponentMetadata) -> Self {
        Self(Arc::new(Inner { kind, plugin, metadata, schema: OnceLock::new() }))
    }

    pub fn kind(&self) -> ComponentKind {
        self.0.kind
    }

    /// The name that pipelines use.
    pub fn name(&self) -> &str {
        &self.0.metadata.name
    }

    /// The version of the plugin's crate.
    pub fn version(&self) -> &str {
        &self.0.plugin.metadata.version
    }

    /// The name of the plugin's crate.
    pub fn package(&self) -> &str {
        &self.0.plugin.metadata.package
    }

    /// The operator's file, not the copy that is loaded.
    pub fn file(&self) -> &Path {
        &self.0.plugin.at.file
    }

    /// Whether it commits to the log.
    pub fn commits(&self) -> bool {
        self.0.metadata.commits
    }

    /// Whether it is given notices beside changes.
    pub fn notices(&self) -> bool {
        self.0.metadata.notices
    }

    /// Whether authors of its records hear what became of them.
    pub fn answers(&self) -> bool {
        self.0.metadata.answers
    }

    /// Whether it reads again what was not committed.
    pub fn replays(&self) -> Replays {
        match (self.0.metadata.replays, self.0.metadata.may_replay) {
            (true, _) => Replays::Always,
            (_, true) => Replays::ByConfig,
            _ => Replays::Unsaid,
        }
    }

    /// The JSON Schema of its configuration; asked once and kept.
    ///
    /// # Errors
    /// What the plugin says, for example that it panicked.
    pub fn schema(&self) -> Result<Value, Error> {
        self.0.schema.get_or_init(|| self.ask_schema()).clone()
    }

    fn ask_schema(&self) -> Result<Value, Error> {
        let ask = self.0.plugin.module.config_schema();
        let text = ask(self.kind_str(), RStr::from_str(self.name())).into_result()?;
        serde_json::from_str(&text).map_err(|error| Error::fatal(format!("its schema is not JSON: {error}")))
    }

    /// Reads a configuration into the component's type, hears what the component says about it and the files it names, and
    /// drops it; relative paths start at `base_dir`. Connects and starts nothing.
    ///
    /// # Errors
    /// `Config`, with the field in [`Error::detail`].
    pub fn check_config(&self, config: &Value, base_dir: &Path) -> Result<Advice, Error> {
        let check = self.0.plugin.module.check_config();
        let (config, base_dir) = (config.to_string(), base_dir.to_string_lossy());
        let (config, base_dir) = (RStr::from_str(&config), RStr::from_str(&base_dir));
        let advice = check(self.kind_str(), RStr::from_str(self.name()), config, base_dir);
        advice.into_result().map(Advice::from)
    }

    /// Opens it as a source.
    ///
    /// # Errors
    /// What the plugin says; `Config` if it is not a source.
    pub fn open_source(&self, config: &Value, parts: ComponentParts) -> Result<Source, Error> {
        let (open, config) = (self.0.plugin.module.new_source(), config.to_string());
        let opened = open(RStr::from_str(self.name()), RStr::from_str(&config), parts).into_result()?;
        Ok(Source { task: opened.task, replies: Replies(Arc::new(opened.replies)) })
    }

    /// Opens it as a transform.
    ///
    /// # Errors
    /// What the plugin says; `Config` if it is not a transform.
    pub fn open_transform(&self, config: &Value, parts: ComponentParts) -> Result<Transform, Error> {
        let (open, config) = (self.0.plugin.module.new_transform(), config.to_string());
        open(RStr::from_str(self.name()), RStr::from_str(&config), parts).into_result().map(Transform)
    }

    /// Opens it as a sink.
    ///
    /// # Errors
    /// What the plugin says; `Config` if it is not a sink.
    pub fn open_sink(&self, config: &Value, parts: ComponentParts) -> Result<Sink, Error> {
        let (open, config) = (self.0.plugin.module.new_sink(), config.to_string());
        open(RStr::from_str(self.name()), RStr::from_str(&config), parts).into_result().map(Sink)
    }

    fn kind_str(&self) -> RStr<'static> {
        RStr::from_str(self.0.kind.as_str())
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Component({} {} of {})", self.kind(), self.name(), self.0.plugin.at)
    }
}

impl Source {
    /// At most `max` records, waiting at most `wait` for the first; record `i` has the id `first_id + i`. An async source
    /// gives at most `max_bytes`, or one record that is larger; a blocking one does not know of them.
    ///
    /// # Errors
    /// What the source says.
    pub fn poll(
        &mut self,
        first_id: u64,
        max: usize,
        max_bytes: u64,
        wait: Duration,
    ) -> Result<Records, Error> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.task.poll(first_id, max, max_bytes, milliseconds(wait)).into_result()
    }

    /// The way to tell the source what became of its records, also while it polls.
    pub fn replies(&self) -> Replies {
        self.replies.clone()
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replies")
    }
}

impl Replies {
    /// Tells what became of records, by the ids they were polled with.
    ///
    /// # Errors
    /// What the source says.
    pub fn outcomes(&self, outcomes: Vec<Outcome>) -> Result<(), Error> {
        self.0.outcomes(outcomes.into_iter().map(Into::into).collect()).into_result()
    }

    /// Tells that everything of a lane up to a position is written and stored as such.
    ///
    /// # Errors
    /// What the source says.
    pub fn commit(&self, lane: u32, position: &Bytes) -> Result<(), Error> {
        self.0.commit(lane, position.clone()).into_result()
    }
}

impl Transform {
    /// Applies the transform to a batch, in order. A `Vec` of records becomes [`Records`] without a copy by `into`.
    ///
    /// # Errors
    /// What concerns the whole batch; nothing of it was passed on then.
    pub fn apply(&mut self, batch: Records) -> Result<Applied, Error> {
        self.0.apply(batch).into_result().map(Into::into)
    }

    /// What the transform offers to be called by name.
    ///
    /// # Errors
    /// What the transform says, for example that it panicked.
    pub fn operations(&mut self) -> Result<Vec<Operation>, Error> {
        let offered = self.0.operations().into_result()?;
        Ok(offered.into_iter().map(Arc::new).map(Operation).collect())
    }
}

impl Operation {
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn description(&self) -> &str {
        &self.0.description
    }

    /// Whether every component of its plugin offers the same.
    pub fn is_of_plugin(&self) -> bool {
        self.0.is_of_plugin
    }

    /// Whether it changes nothing, whatever its arguments are.
    pub fn only_reads(&self) -> bool {
        self.0.only_reads
    }

    /// The JSON Schema of the arguments, as text.
    pub fn arguments(&self) -> &str {
        &self.0.arguments
    }

    /// Starts the call and returns; the answer comes through `done`, from any thread.
    pub fn call(&self, caller: CallerParts, arguments: &str, done: CompletionBox) {
        self.0.task.call(caller, arguments.into(), done);
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({})", self.name())
    }
}

impl Sink {
    /// Starts writing a batch; `seq` grows by one from batch to batch.
    ///
    /// # Errors
    /// What the sink says; never about single records.
    pub fn put(&mut self, seq: u64, batch: Batch) -> Result<(), Error> {
        self.0.put(seq, batch).into_result()
    }

    /// How far the sink has come, waiting at most `wait` for news.
    ///
    /// # Errors
    /// What the sink says.
    pub fn acked(&mut self, wait: Duration) -> Result<Acked, Error> {
        let acked = self.0.acked(milliseconds(wait)).into_result()?;
        let failed = acked.failed.into_iter().map(|failed| (failed.id, failed.error)).collect();
        Ok(Acked { through_seq: acked.through_seq, failed })
    }

    /// Finishes what is in flight, taking at most `deadline`.
    ///
    /// # Errors
    /// What the sink says.
    pub fn flush(&mut self, deadline: Duration) -> Result<(), Error> {
        self.0.flush(milliseconds(deadline)).into_result()
    }
}

/// Failures are few and become host types; what there is one of per record stays as the plugin allocated it.
impl From<vtable::Applied> for Applied {
    fn from(parts: vtable::Applied) -> Self {
        let failed = |failed: vtable::FailedRecord| FailedRecord {
            id: failed.id,
            error: failed.error,
            record: failed.record.into(),
        };
        Self {
            out: parts.out,
            failed: parts.failed.into_iter().map(failed).collect(),
            dropped: parts.dropped,
            unapplied: parts.unapplied,
            stopped_by: parts.stopped_by.into(),
            told: parts.told.into_iter().map(|told| (told.id, told.details)).collect(),
        }
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

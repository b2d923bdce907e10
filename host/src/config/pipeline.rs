//! One pipeline as the other rooms see it: every default filled in, every name unique.
//!
//! `Debug` never prints a component's `config`, because it may hold secrets.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::secrets;
use super::source_text::{SourceText, path};

/// One pipeline: sources -> transforms -> sinks.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// Unique among all pipelines of the host.
    pub name: String,
    /// The file it was read from; knows the place of every value, for diagnostics.
    pub source_text: Arc<SourceText>,
    pub sources: Vec<ComponentConfig>,
    pub transforms: Vec<ComponentConfig>,
    pub sinks: Vec<ComponentConfig>,
    pub delivery: Delivery,
}

/// How much may be on its way at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub batch: BatchLimits,
    pub in_flight: InFlightLimits,
}

/// What ends a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchLimits {
    pub records: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
}

/// What may be read and not yet acked; the first bound reached stops the sources.
#[derive(Debug, Clone, PartialEq)]
pub struct InFlightLimits {
    pub records: usize,
    pub bytes: u64,
}

/// One source, transform or sink of a pipeline.
#[derive(Clone)]
pub struct ComponentConfig {
    pub kind: ComponentKind,
    /// Unique among the pipeline's components of this kind, chains of sources and sinks included.
    pub name: String,
    pub plugin: PluginRef,
    /// Only on transforms and sinks.
    pub when: Option<When>,
    /// The component's own chain; only on sources and sinks.
    pub transforms: Vec<ComponentConfig>,
    pub on_error: OnError,
    /// What the plugin gets, with `${...}` replaced. Use [`redacted_config`](Self::redacted_config) to show it.
    pub config: Value,
    /// Where the item stands in the file, for example `sinks.0`.
    pub path: String,
    /// Paths (from the top of the file) of the scalars in `config` that came from `${...}`.
    pub interpolated: BTreeSet<String>,
}

/// What a component does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentKind {
    Source,
    Transform,
    Sink,
}

/// Which plugin a component is made by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PluginRef {
    /// Looked up in `plugin_path`: `my_plugin` or `my_plugin@1.2`.
    Named { name: String, version: Option<String> },
    /// One file; relative paths are already resolved against the pipeline's file.
    Path(PathBuf),
}

/// Which records a transform or sink gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Those that no other sink's `when` took.
    Otherwise,
    /// Those for which the CEL expression is true.
    Expression(String),
}

/// What happens to a record that fails.
#[derive(Debug, Clone, PartialEq)]
pub struct OnError {
    pub retry: Retry,
    pub then: Then,
}

/// How often and how patiently a failed record is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    pub attempts: u32,
    pub backoff: Duration,
    pub max: Duration,
}

/// What happens once the retries are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The record goes to the dead letter queue.
    #[default]
    DeadLetter,
    /// The pipeline stops and stays failed.
    Stop,
    /// The record is dropped, counted and logged.
    Skip,
}

impl ComponentConfig {
    /// The path of a value inside `config`, for example `sinks.0.config.port` for `&["port"]`.
    pub fn config_path(&self, segments: &[&str]) -> String {
        segments.iter().fold(path::join(&self.path, "config"), |at, segment| path::join(&at, segment))
    }

    /// `config` with `***` in place of every value that came from `${...}`, and of those that the plugin's
    /// schema, where it is known, calls secret.
    pub fn redacted_config(&self, schema: Option<&Value>) -> Value {
        let at = path::join(&self.path, "config");
        let mut hidden = self.interpolated.clone();
        hidden.extend(schema.into_iter().flat_map(|schema| secrets(&at, &self.config, schema)));
        let mut shown = self.config.clone();
        redact(&mut shown, &at, &hidden);
        shown
    }
}

impl fmt::Debug for ComponentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentConfig")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("when", &self.when)
            .field("transforms", &self.transforms)
            .field("on_error", &self.on_error)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ComponentKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { name, version: None } => f.write_str(name),
            Self::Named { name, version: Some(version) } => write!(f, "{name}@{version}"),
            Self::Path(file) => write!(f, "{}", file.display()),
        }
    }
}

fn redact(value: &mut Value, at: &str, hidden: &BTreeSet<String>) {
    match value {
        _ if hidden.contains(at) => *value = Value::from("***"),
        Value::Object(fields) => {
            for (name, field) in fields {
                redact(field, &path::join(at, name), hidden);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                redact(item, &path::join(at, &index.to_string()), hidden);
            }
        }
        _ => {}
    }
}

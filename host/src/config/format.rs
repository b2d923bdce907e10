//! The pipeline file as it is written: the serde types whose docs are the format's reference.
//!
//! The schema made from these types refuses a file before they read it, so that all mistakes are told at once.

use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::Deserialize;
use serde_json::Value;

use super::pipeline::Then;
use super::quantity::{duration, size};
use super::settings::HostSettings;

/// One pipeline: records flow from its sources through its transforms to its sinks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Lockstep pipeline", rename = "Pipeline")]
pub(super) struct PipelineFile {
    /// Unique among the host's pipelines. Default: the file's name without `.yaml`.
    pub name: Option<String>,
    /// Where records come from; those of all sources flow together.
    #[schemars(length(min = 1))]
    pub sources: Vec<Item>,
    /// What every record passes, top to bottom.
    #[serde(default)]
    pub transforms: Vec<Item>,
    /// Where records go; each sink gets every record that its `when` lets pass.
    #[schemars(length(min = 1))]
    pub sinks: Vec<Item>,
    /// How much may be on its way at once.
    #[serde(default)]
    pub delivery: DeliveryFields,
}

/// A source, a transform or a sink; all three are written alike.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Component")]
pub(super) struct Item {
    /// Unique among the sources, among the transforms or among the sinks. Default: the plugin's name.
    pub name: Option<String>,
    /// `my_plugin`, `my_plugin@1.2` for one version of several, or `./my_plugin.so`, relative to this file.
    pub plugin: String,
    /// Only on transforms and sinks: a CEL condition, `change.config_key.startsWith("app.")`. A transform
    /// lets other records pass unchanged, a sink does not get them. On a sink, `otherwise` takes what no other
    /// sink's `when` took.
    pub when: Option<String>,
    /// Only on sources and sinks: transforms for the records of this source or sink alone.
    #[serde(default)]
    pub transforms: Vec<Item>,
    /// Only on transforms and sinks: what happens to a record that fails.
    #[serde(default)]
    pub on_error: OnErrorFields,
    /// Planned: how far the plugin is kept apart from the host. This version runs plugins in the host's process.
    #[schemars(with = "Option<Value>")]
    #[serde(default, rename = "isolation")]
    pub _isolation: Option<Value>,
    /// Planned: several instances of this component. This version runs one.
    #[schemars(with = "Option<Value>")]
    #[serde(default, rename = "tasks")]
    pub _tasks: Option<Value>,
    /// What the plugin takes, see its README. `${env:NAME}`, `${env:NAME:-default}` and `${file:path}` are
    /// replaced; `$${` stands for a plain `${`.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub config: Value,
}

/// What happens to a record that fails.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OnError")]
pub(super) struct OnErrorFields {
    /// Tried again first.
    #[serde(default)]
    pub retry: RetryFields,
    /// Once the retries are used up: keep the record in the dead letter queue, stop the pipeline, or drop the
    /// record. A source that answers tells the record's author instead.
    #[serde(default)]
    pub then: Then,
}

/// How often and how patiently a failed record is tried again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub(super) struct RetryFields {
    /// How often; 0 for never. Default: `sync_settings.retry_attempts` of the host, 3.
    pub attempts: Option<u32>,
    /// Wait before the first retry, doubled for each further one. Default: `sync_settings.retry_backoff`, 2s.
    pub backoff: Option<duration::Text>,
    /// Longest wait between two tries. Default: 8s.
    pub max: Option<duration::Text>,
}

/// How much may be on its way at once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Delivery")]
pub(super) struct DeliveryFields {
    /// What ends a batch.
    #[serde(default)]
    pub batch: BatchFields,
    /// What may be read and not yet written by every sink. At the first bound the sources wait.
    #[serde(default)]
    pub in_flight: InFlightFields,
}

/// What ends a batch.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Batch")]
pub(super) struct BatchFields {
    /// A poll takes what is there, up to this many. Default: `sync_settings.batch_size` of the host, 100.
    #[schemars(range(min = 1))]
    pub records: Option<u32>,
    /// How long a batch that is not full waits for more. Default: 0s.
    pub linger: Option<duration::Text>,
}

/// What may be read and not yet written by every sink.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InFlight")]
pub(super) struct InFlightFields {
    /// Most records. Default: 10000.
    #[schemars(range(min = 1))]
    pub records: Option<u32>,
    /// Most bytes. Default: 64MiB.
    #[schemars(extend("minimum" = 1))]
    pub bytes: Option<size::Text>,
}

/// The schema of one pipeline file; `config` takes any map.
pub(super) fn pipeline_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| generator().into_root_schema_for::<PipelineFile>().to_value());
    &SCHEMA
}

/// The schema of `lockstep.yaml`.
pub(super) fn settings_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| generator().into_root_schema_for::<HostSettings>().to_value());
    &SCHEMA
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

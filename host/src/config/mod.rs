//! Text -> [`Config`]: host settings in layers, pipeline files checked down to each value's place.
//!
//! Pure but for reading the files it is given and the variables they name: nothing is bound, connected or started.

pub mod quantity;
mod settings;
mod pipeline;
mod source_text;

pub use pipeline::{
    BatchLimits, ComponentConfig, ComponentKind, Delivery, InFlightLimits, OnError, PipelineConfig,
    PluginRef, Retry, Then, When,
};
pub use settings::{
    AdminSettings, CrashLoop, DeadLetterSettings, HostSettings, LogFormat, LogSettings, RestartBackoff,
    RestartSettings, StateSettings, SyncSettings,
};
pub use source_text::{SourceText, path};

/// Everything the host was told before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    pub settings: HostSettings,
    pub pipelines: Vec<PipelineConfig>,
}

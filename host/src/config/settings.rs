//! Host settings: what `lockstep.yaml`, the environment and flags decide for the whole process.
//!
//! The field docs are the reference that operators read, and the schema their editors use.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encryption::EncryptionSettings;
use super::quantity::{duration, size};

/// Settings of one host, from defaults, `lockstep.yaml`, environment and flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostSettings {
    /// Name of this host among others. Default: a random one, made once and kept in `data_dir`.
    pub node_id: Option<String>,
    /// Folders searched for plugins, in this order: a list, or one string with `:` between folders.
    /// Default: the folder of the `lockstep` executable, then `../lib/lockstep` beside that folder.
    #[serde(deserialize_with = "super::quantity::path_list")]
    #[schemars(with = "super::quantity::PathListText")]
    pub plugin_path: Vec<PathBuf>,
    /// Where the host keeps its state. Locked: a second host on the same folder is refused.
    pub data_dir: PathBuf,
    /// Where plugins are copied before they are loaded; must allow execution. Default: `plugins` in `data_dir`.
    pub plugin_cache_dir: Option<PathBuf>,
    /// The admin server: health, metrics, control.
    pub admin: AdminSettings,
    /// A plugin call that takes longer is reported as hung and its component is abandoned.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub watchdog: Duration,
    /// Deadline the host asks plugin calls to keep; must be below `watchdog`.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub call_timeout: Duration,
    /// How long a stopping host may finish what is in flight.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub grace_period: Duration,
    /// What is logged, and how.
    pub log: LogSettings,
    /// Limits of the embedded store.
    pub state: StateSettings,
    /// What is kept of who did what.
    pub audit: AuditSettings,
    /// Intervals and limits of synchronisation.
    pub sync_settings: SyncSettings,
    /// How a failed task is restarted.
    pub restart: RestartSettings,
}

/// The admin server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminSettings {
    /// Address of the HTTP server, `host:port`; `off` for none beside the socket in `data_dir`. Port 0 takes any free
    /// port. Beyond loopback, everything but `/healthz` and `/readyz` takes the token in `data_dir/admin.token`.
    pub listen: String,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// `text` for people, `json` for log collectors.
    pub format: LogFormat,
    /// Level, optionally per target: `info`, or `info,lockstep::runtime=debug`.
    pub filter: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Limits of the embedded store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateSettings {
    /// When a change is answered: `commit`, once it is on the disk; `interval`, up to `sync_interval` earlier, and a
    /// power cut may take what was answered in that time.
    pub durability: DurabilityMode,
    /// With `durability: interval`, how long what was answered may stay off the disk.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub sync_interval: Duration,
    /// How much of the log is kept for those who come back, beside the newest entry of each key. What a sink has not
    /// had yet is kept beyond it.
    pub history: HistorySettings,
    /// Size of the log beyond which history is given up even if a sink has not had it; the sink then gets the newest
    /// entry of each key.
    #[serde(with = "size")]
    #[schemars(with = "size::Text")]
    pub max_bytes: u64,
    /// When a component's dead letter queue is full, its pipeline stops.
    pub dead_letters: DeadLetterSettings,
    /// How the values in the store are sealed on the disk; without keys they are not.
    pub encryption: EncryptionSettings,
}

/// When a change is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DurabilityMode {
    Commit,
    Interval,
}

/// How much of the log is kept; `sync_settings.max_event_age_hours` says for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySettings {
    /// Most entries kept as history.
    #[schemars(range(min = 1))]
    pub records: u64,
    /// Most bytes kept as history.
    #[serde(with = "size")]
    #[schemars(with = "size::Text")]
    pub bytes: u64,
}

/// Bounds of the dead letter queue of each component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterSettings {
    /// Most records kept for one component.
    #[schemars(range(min = 1))]
    pub records: u64,
    /// Most bytes kept for one component.
    #[serde(with = "size")]
    #[schemars(with = "size::Text")]
    pub bytes: u64,
}

/// What is kept of who did what. The oldest entries go when there are too many, too many bytes of them, or too old ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// Whether every change has an entry. What operators do, locks and resolutions always have one.
    pub changes: bool,
    /// Globs of config keys whose values the audit does not show: resolutions of them are kept without the value, their
    /// changes without its size and hash and without an `event_id` that was made of the message.
    pub redact: Vec<String>,
    /// Most entries kept.
    #[schemars(range(min = 1))]
    pub entries: u64,
    /// Most bytes kept.
    #[serde(with = "size")]
    #[schemars(with = "size::Text")]
    pub bytes: u64,
    /// How long an entry is kept.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub age: Duration,
}

/// Intervals and limits of synchronisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyncSettings {
    /// How often a host says that it lives.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub heartbeat_interval: Duration,
    /// How often unresolved conflicts are looked through.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub conflict_resolution_interval: Duration,
    /// How often stale connections, expired locks and old history are removed.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub cleanup_interval: Duration,
    /// How many hours of history are kept.
    pub max_event_age_hours: u64,
    /// Most records in one batch; the default of `delivery.batch.records` of every pipeline.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// How often a failed record is tried again; the default of `on_error.retry.attempts`.
    pub retry_attempts: u32,
    /// Wait before the first retry, doubled for each further one; the default of `on_error.retry.backoff`.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub retry_backoff: Duration,
}

/// How a failed task is restarted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartSettings {
    /// Wait before a restart.
    pub backoff: RestartBackoff,
    /// When to stop restarting.
    pub crash_loop: CrashLoop,
}

/// Wait before a restart, doubled for each further one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartBackoff {
    /// Wait before the first restart.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub min: Duration,
    /// Longest wait.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub max: Duration,
}

/// A pipeline that fails this often in this time stays failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrashLoop {
    /// How many failures.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// In which time.
    #[serde(with = "duration")]
    #[schemars(with = "duration::Text")]
    pub within: Duration,
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            node_id: None,
            plugin_path: Vec::new(),
            data_dir: PathBuf::from("./lockstep-data"),
            plugin_cache_dir: None,
            admin: AdminSettings::default(),
            watchdog: seconds(30),
            call_timeout: seconds(10),
            grace_period: seconds(30),
            log: LogSettings::default(),
            state: StateSettings::default(),
            audit: AuditSettings::default(),
            sync_settings: SyncSettings::default(),
            restart: RestartSettings::default(),
        }
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8780".into() }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into() }
    }
}

impl StateSettings {
    /// Whether what lies in the store is sealed there, so that it may hold what nobody is to read in `data_dir`.
    pub fn is_encrypted(&self) -> bool {
        !self.encryption.keys.is_empty() && !self.encryption.unseal
    }
}

impl Default for StateSettings {
    fn default() -> Self {
        Self {
            durability: DurabilityMode::Commit,
            sync_interval: Duration::from_millis(10),
            history: HistorySettings::default(),
            max_bytes: 10 << 30,
            dead_letters: DeadLetterSettings::default(),
            encryption: EncryptionSettings::default(),
        }
    }
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self { records: 1_000_000, bytes: 1 << 30 }
    }
}

impl Default for DeadLetterSettings {
    fn default() -> Self {
        Self { records: 100_000, bytes: 1 << 30 }
    }
}

impl Default for AuditSettings {
    fn default() -> Self {
        let age = seconds(90 * 24 * 3600);
        Self { changes: true, redact: Vec::new(), entries: 1_000_000, bytes: 1 << 30, age }
    }
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            heartbeat_interval: seconds(30),
            conflict_resolution_interval: seconds(10),
            cleanup_interval: seconds(300),
            max_event_age_hours: 24,
            batch_size: 100,
            retry_attempts: 3,
            retry_backoff: seconds(2),
        }
    }
}

impl Default for RestartBackoff {
    fn default() -> Self {
        Self { min: seconds(1), max: seconds(30) }
    }
}

impl Default for CrashLoop {
    fn default() -> Self {
        Self { failures: 5, within: seconds(60) }
    }
}

impl HostSettings {
    /// Where plugins are copied before they are loaded.
    pub fn plugin_cache_dir(&self) -> PathBuf {
        self.plugin_cache_dir.clone().unwrap_or_else(|| self.data_dir.join("plugins"))
    }
}

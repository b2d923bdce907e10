//! One host: settings and pipelines -> everything that runs in this process, and its orderly end.

use crate::admin::{AdminError, AdminServer, BoundAddress, HostView, LogView};
use crate::audit::{Audit, AuditOptions};
use crate::config::{
    Config, Diagnostic, Diagnostics, DurabilityMode, EncryptionSettings, HostSettings, KeySettings,
    ShownSetting,
};
use crate::log::{Log, LogOptions};
use crate::pipeline;
use crate::registry::{Registry, RegistryOptions};
use crate::runtime::{
    self, DeadLetters, HostLog, Operations, PipelineState, RunningPipeline, Shared, Watchdog,
};
use crate::store::{
    Commit, Durability, KeySource, Namespace, SealingError, SealingKey, SealingOptions, Store, StoreError,
    StoreOptions, Wanted,
};
use crate::telemetry::{Metrics, log_host};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};
use uuid::Uuid;

/// Where a generated node id is kept.
const NODE_ID_KEY: &[u8] = b"node_id";

/// A running host. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub settings: HostSettings,
    pub node_id: String,
    pub registry: Registry,
    pub store: Store,
    pub dead_letters: DeadLetters,
    pub metrics: Metrics,
    pub pipelines: Vec<RunningPipeline>,
    /// Ends with the last clone of the host.
    pub admin: Arc<AdminServer>,
}

/// Why a host did not start. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Refused(Diagnostics),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Finds the plugins of these settings; loads none yet.
pub fn open_registry(settings: &HostSettings) -> Registry {
    Registry::open(RegistryOptions {
        plugin_path: settings.plugin_path.clone(),
        cache_dir: settings.plugin_cache_dir(),
        log_host: log_host(),
    })
}

/// Builds every pipeline, or gives everything that is wrong with any of them.
pub fn build_all(config: &Config, registry: &Registry) -> Result<Vec<pipeline::Pipeline>, Diagnostics> {
    let (pipelines, problems) = pipeline::build_all(&config.pipelines, registry, &config.settings.state);
    if problems.has_errors() { Err(problems) } else { Ok(pipelines) }
}

/// As a log line.
pub fn warn_about(warning: &Diagnostic) {
    let (line, column) = warning.line_column().unzip();
    let file = warning.file().map(|file| file.display().to_string());
    let (code, path, help) = (warning.code_name(), warning.path(), warning.help_text());
    warn!(code, file, line, column, path, help, "{}", warning.message());
}

impl Host {
    /// Checks everything, opens the store, takes the admin address, then starts every pipeline and the admin server.
    ///
    /// # Errors
    /// What was refused; nothing is running then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        if config.pipelines.is_empty() {
            let nothing = Diagnostic::outside("command line", "no pipeline to run")
                .help("name pipeline files or a folder of them: `lockstep run pipelines/`");
            return Err(StartError::Refused(Diagnostics::from_iter([nothing])));
        }
        let registry = open_registry(&config.settings);
        let pipelines = build_all(&config, &registry).map_err(StartError::Refused)?;
        let origin = config.shown.iter().find(|shown| shown.path == "admin.listen");
        let origin = origin.map_or_else(String::new, |shown| shown.origin.to_string());
        let (settings, shown) = (config.settings, config.shown);
        let of_keys = check_keys(&settings, &shown);
        if of_keys.has_errors() {
            return Err(StartError::Refused(of_keys));
        }
        let store = Store::open(&settings.data_dir, store_options(&settings))
            .map_err(|error| refused_store(error, &shown))?;
        let node_id = node_id(&settings, &store)?;
        let host_log = HostLog {
            log: Log::open(store.clone(), LogOptions::new(&settings))?,
            audit: Audit::open(store.clone(), AuditOptions::new(&settings))?,
            operations: Operations::default(),
        };
        let dead_letters = DeadLetters::open(store.clone(), settings.state.dead_letters.clone())?;
        let metrics = Metrics::new();
        of_keys.iter().for_each(warn_about);
        pipelines.iter().flat_map(|pipeline| pipeline.warnings.iter()).for_each(warn_about);
        info!(node_id, data_dir = %settings.data_dir.display(), pipelines = pipelines.len(), "starting");
        // Taken before anything runs, served when there is something to show.
        let address = BoundAddress::bind(&settings.admin.listen, &origin)?;
        let shared = Shared {
            store: store.clone(),
            dead_letters: dead_letters.clone(),
            metrics: metrics.clone(),
            watchdog: Watchdog::start(settings.watchdog, settings.call_timeout),
            node_id: node_id.clone(),
            grace: settings.grace_period,
            call_timeout: settings.call_timeout,
            watchdog_limit: settings.watchdog,
            restart: settings.restart.clone(),
            sync: settings.sync_settings.clone(),
            host_log: host_log.clone(),
        };
        let spawn = |pipeline| runtime::spawn(pipeline, shared.clone());
        let pipelines: Vec<_> = pipelines.into_iter().map(spawn).collect();
        let view = HostView {
            node_id: node_id.clone(),
            registry: registry.clone(),
            store: store.clone(),
            audit: host_log.audit.clone(),
            log: LogView::new(host_log.log.clone(), &pipelines),
            dead_letters: dead_letters.clone(),
            metrics: metrics.clone(),
            pipelines: pipelines.clone(),
            started: Instant::now(),
        };
        let admin = Arc::new(AdminServer::start(address, &settings.data_dir, view)?);
        Ok(Self { settings, node_id, registry, store, dead_letters, metrics, pipelines, admin })
    }

    /// Whether every pipeline has come to the end of its input and written everything.
    pub fn is_finished(&self) -> bool {
        self.pipelines.iter().all(|pipeline| pipeline.state() == PipelineState::Finished)
    }

    /// Whether a pipeline failed for good.
    pub fn has_failed(&self) -> bool {
        self.pipelines.iter().any(|pipeline| pipeline.state() == PipelineState::Failed)
    }

    /// Whether no pipeline runs, or will be started again, and not because all is done.
    pub fn is_left_with_failures(&self) -> bool {
        let is_over = |pipeline: &RunningPipeline| {
            matches!(pipeline.state(), PipelineState::Failed | PipelineState::Finished)
        };
        self.has_failed() && self.pipelines.iter().all(is_over)
    }

    /// Stops polling, finishes what is in flight, and ends every pipeline; false if that took longer than the grace
    /// period allows.
    pub fn drain(&self) -> bool {
        self.pipelines.iter().for_each(RunningPipeline::drain);
        // A pipeline that does not drain in time aborts by itself, and gives up threads that hang after the watchdog.
        let limit = self.settings.grace_period + self.settings.watchdog + Duration::from_secs(5);
        let until = Instant::now() + limit;
        let wait =
            |pipeline: &RunningPipeline| pipeline.wait(until.saturating_duration_since(Instant::now()));
        let late: Vec<_> = self.pipelines.iter().filter(|pipeline| !wait(pipeline)).collect();
        late.iter().for_each(|pipeline| warn!(pipeline = pipeline.name(), "did not end in time"));
        late.is_empty()
    }
}

/// How the settings have the store opened.
pub fn store_options(settings: &HostSettings) -> StoreOptions {
    let durability = match settings.state.durability {
        DurabilityMode::Commit => Durability::Commit,
        DurabilityMode::Interval => Durability::Interval(settings.state.sync_interval),
    };
    let sealing = sealing_options(&settings.state.encryption);
    StoreOptions { durability, sealing, ..StoreOptions::default() }
}

/// What is wrong with the keys of `state.encryption`, as far as that is known without a store and without running anything.
/// A key that is not there is a warning: which of them the store needs, and whether this is its machine, it knows itself.
pub fn check_keys(settings: &HostSettings, shown: &[ShownSetting]) -> Diagnostics {
    let keys = sealing_options(&settings.state.encryption).keys;
    let looked = keys.iter().enumerate().filter_map(|(n, key)| {
        let (message, is_warning) = match key.look() {
            Ok(warning) => (warning?, true),
            Err(problem) => (format!("the key `{}` cannot be had: {problem}", key.id), problem.is_absence()),
        };
        let found = of_key(n, message, shown);
        Some(if is_warning { found.warning() } else { found })
    });
    looked.collect()
}

/// A key that cannot be had is refused where the settings name it.
fn refused_store(error: StoreError, shown: &[ShownSetting]) -> StartError {
    let StoreError::Sealing(SealingError::Key { n, .. }) = &error else { return error.into() };
    StartError::Refused(Diagnostics::from_iter([of_key(*n, error.to_string(), shown)]))
}

/// Something about a key of the settings, at its place.
fn of_key(n: usize, message: String, shown: &[ShownSetting]) -> Diagnostic {
    let at = format!("state.encryption.keys.{n}");
    let is_source = |shown: &&ShownSetting| shown.path.starts_with(&at) && !shown.path.ends_with(".id");
    let source = shown.iter().find(is_source);
    let origin = source.map_or_else(|| format!("setting {at}"), |source| source.origin.to_string());
    let at = source.map_or(at, |source| source.path.clone());
    Diagnostic::outside(origin, message).at_path(&at).code("encryption")
}

/// Where keys are found, as the store wants it told. The configuration has checked that each is found in one place.
fn sealing_options(settings: &EncryptionSettings) -> SealingOptions {
    let source = |key: &KeySettings| match (&key.env, &key.file) {
        (Some(name), _) => KeySource::Env(name.clone()),
        (None, Some(file)) => KeySource::File(file.clone()),
        (None, None) => KeySource::Exec(key.exec.clone().unwrap_or_default()),
    };
    let keys = settings.keys.iter().map(|key| SealingKey { id: key.id.clone(), source: source(key) });
    let is_on = !settings.keys.is_empty() && !settings.unseal;
    SealingOptions {
        keys: keys.collect(),
        current: settings.current().map(str::to_owned),
        wanted: if is_on { Wanted::Sealed } else { Wanted::Plain },
    }
}

/// The configured name of this host, or the one made at its first start.
fn node_id(settings: &HostSettings, store: &Store) -> Result<String, StoreError> {
    if let Some(node_id) = &settings.node_id {
        return Ok(node_id.clone());
    }
    if let Some(stored) = store.get(Namespace::Meta, NODE_ID_KEY)? {
        return Ok(String::from_utf8_lossy(&stored).into_owned());
    }
    let node_id = format!("node-{}", &Uuid::new_v4().simple().to_string()[..12]);
    store.commit(Commit::default().put(Namespace::Meta, NODE_ID_KEY, node_id.as_bytes()))?;
    Ok(node_id)
}

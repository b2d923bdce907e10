//! The whole runtime: a pipeline from YAML, with its threads, in-flight bounds, watchdog, metrics and committer.

use crate::{
    N_TRANSFORMS, allocations, linked_pipeline,
    measure::{Goal, best_of, own_cpu},
    table,
};
use lockstep::{
    audit::{Audit, AuditOptions},
    config::{self, HostSettings, LoadOptions, SettingsFile},
    log::{Log, LogOptions},
    pipeline,
    registry::Registry,
    runtime::{self, DeadLetters, HostLog, Operations, PipelineState, Shared, Watchdog},
    store::{Store, StoreOptions},
    telemetry::Metrics,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const N_SLICES: usize = 5;

pub fn run(registry: &Registry, dir: &Path) {
    table::title("the runtime runs the chain", ["linked", "host"]);
    let host = Host::start(registry, dir);
    for batch in crate::batches() {
        // About a tenth of a second each.
        let n_records = if batch < 10 { 100_000 } else { 600_000 };
        let mut runs: [&mut dyn FnMut(); 2] =
            [&mut || linked_pipeline::run(n_records, batch), &mut || host.run(n_records, batch)];
        let cpu = best_of::<2>(N_SLICES, |i| {
            let before = own_cpu();
            runs[i]();
            (own_cpu() - before).as_nanos() as f64 / n_records as f64
        });
        let allocations = runs.map(|run| allocations::count(run) as f64 / n_records as f64);
        table::row(batch, cpu, allocations, |linked, host| match batch {
            1 => Some(Goal::at_most(host - linked, 50.0)),
            100 => Some(Goal::at_most(host / linked, 1.1)),
            _ => None,
        });
    }
}

/// What the pipelines of a host share.
struct Host<'a> {
    registry: &'a Registry,
    shared: Shared,
    file: PathBuf,
}

impl<'a> Host<'a> {
    fn start(registry: &'a Registry, dir: &Path) -> Self {
        let settings = config::HostSettings::default();
        let store = Store::open(&dir.join("data"), StoreOptions::default()).expect("an empty folder");
        let host_log = HostLog {
            log: Log::open(store.clone(), LogOptions::new(&settings)).expect("it is empty"),
            audit: Audit::open(store.clone(), AuditOptions::new(&HostSettings::default()))
                .expect("it is empty"),
            operations: Operations::default(),
        };
        let shared = Shared {
            dead_letters: DeadLetters::open(store.clone(), settings.state.dead_letters.clone())
                .expect("there are none"),
            store,
            metrics: Metrics::new(),
            watchdog: Watchdog::start(settings.watchdog, settings.call_timeout),
            node_id: "node".to_owned(),
            grace: settings.grace_period,
            call_timeout: settings.call_timeout,
            watchdog_limit: settings.watchdog,
            restart: settings.restart.clone(),
            sync: settings.sync_settings.clone(),
            host_log,
        };
        Self { registry, shared, file: dir.join("boundary.yaml") }
    }

    /// Runs a pipeline until its source's end.
    fn run(&self, n_records: u64, batch: usize) {
        fs::write(&self.file, yaml(n_records, batch)).expect("the folder is there");
        let options = LoadOptions {
            settings: SettingsFile::None,
            pipelines: vec![self.file.clone()],
            ..LoadOptions::default()
        };
        let config = config::load(&options).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
        let pipeline = pipeline::build(&config.pipelines[0], self.registry)
            .unwrap_or_else(|refused| panic!("{}", refused.render(false)));
        let running = runtime::spawn(pipeline, self.shared.clone());
        assert!(running.wait(Duration::from_secs(60)), "it has an end");
        assert_eq!(running.state(), PipelineState::Finished);
    }
}

fn yaml(n_records: u64, batch: usize) -> String {
    let transform = |i| format!("  - {{ name: noop{i}, plugin: bench_noop }}\n");
    let transforms: String = (0..N_TRANSFORMS).map(transform).collect();
    format!(
        "sources:\n  - {{ plugin: bench_generator, config: {{ records: {n_records} }} }}\n\
         transforms:\n{transforms}\
         sinks:\n  - plugin: bench_null\n\
         delivery:\n  batch: {{ records: {batch} }}\n"
    )
}

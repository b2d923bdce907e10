//! What it costs that components are plugins: CPU time and allocations per record through a chain that does nothing,
//! beside the same components linked into the executable.
//!
//! `cargo bench -p lockstep --bench boundary`. Positions are left out on both sides, because storing them is the
//! store's cost and has a benchmark of its own. Both sides use libc's allocator, so that they differ in nothing else.
//! `LOCKSTEP_BENCH_ONLY` is one of `one_thread` and `runtime`, `LOCKSTEP_BENCH_BATCH` the only batch size: for profiles.
#![expect(clippy::disallowed_methods, reason = "channels of a benchmark hold what the benchmark sends")]

#[path = "../measure/mod.rs"]
mod measure;
#[path = "../../../tests/plugins/bench/src/components.rs"]
mod components;
mod allocations;
mod linked;
mod linked_pipeline;
mod one_thread;
mod whole_runtime;
mod table;

use lockstep::{
    allocator,
    registry::{Registry, RegistryOptions},
    telemetry,
};

const N_TRANSFORMS: usize = 3;

fn batches() -> Vec<usize> {
    match std::env::var("LOCKSTEP_BENCH_BATCH") {
        Ok(batch) => vec![batch.parse().expect("a number of records")],
        Err(_) => vec![1, 16, 100, 1000],
    }
}

fn main() {
    allocator::tune_libc();
    let dir = measure::empty_dir();
    let registry = Registry::open(RegistryOptions {
        plugin_path: vec![measure::build(&["lockstep-plugin-bench"])],
        cache_dir: dir.join("cache"),
        log_host: telemetry::log_host(),
    });
    let only = std::env::var("LOCKSTEP_BENCH_ONLY").unwrap_or_default();
    if only.is_empty() || only == "one_thread" {
        one_thread::run(&registry);
    }
    if only.is_empty() || only == "runtime" {
        whole_runtime::run(&registry, &dir);
    }
    std::fs::remove_dir_all(&dir).expect("the benchmark's folder can be removed");
}

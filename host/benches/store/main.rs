//! Which engine carries the store, measured by what the log to come will ask of it.
//!
//! `cargo bench -p lockstep --bench store` prints tables; the ratio columns are against a bare
//! `append + fdatasync` loop of the same run, because the disk's own speed differs between machines and minutes.
//! `LOCKSTEP_BENCH_SECONDS` is the time per row (default 3), `LOCKSTEP_BENCH_ONLY` one of engines, writers, reopening,
//! audit.
#![expect(clippy::disallowed_methods, reason = "channels of a benchmark hold what the benchmark sends")]

mod audited;
mod engine;
mod rows;
mod sealed;
mod syscalls;
mod workload;
mod writers;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Fjall, Redb};

const CHILD: &str = "LOCKSTEP_BENCH_STORE_CHILD";

fn main() {
    if let Ok(child) = env::var(CHILD) {
        return rows::write_until_killed(&child);
    }
    let time = Duration::from_secs(
        env::var("LOCKSTEP_BENCH_SECONDS").map_or(3, |value| value.parse().expect("a number of seconds")),
    );
    let dir = bench_dir();
    let only = env::var("LOCKSTEP_BENCH_ONLY").unwrap_or_default();
    if only.is_empty() || only == "engines" {
        compare_engines(&dir, time);
    }
    if only.is_empty() || only == "writers" {
        compare_writers(&dir, time);
    }
    if only.is_empty() || only == "sealed" {
        sealed::header();
        sealed::compare(&dir, time);
    }
    if only.is_empty() || only == "reopening" {
        compare_reopening(&dir, time);
    }
    if only.is_empty() || only == "audit" {
        audited::header();
        audited::compare(&dir, time);
    }
    std::fs::remove_dir_all(&dir).expect("the benchmark's folder can be removed");
}

fn compare_engines(dir: &Path, time: Duration) {
    rows::engines_header();
    for n_entries in [1, 64, 1_000] {
        let bare = rows::bare_row(dir, n_entries, time);
        rows::engine::<Redb<false>>(dir, n_entries, time, &bare);
        rows::engine::<Redb<true>>(dir, n_entries, time, &bare);
        rows::engine::<Fjall>(dir, n_entries, time, &bare);
    }
}

fn compare_writers(dir: &Path, time: Duration) {
    writers::header();
    for n_writers in [1, 64] {
        writers::compare(dir, n_writers, time);
    }
}

fn compare_reopening(dir: &Path, time: Duration) {
    rows::reopening_header();
    rows::reopening::<Redb<false>>(dir, time);
    rows::reopening::<Redb<true>>(dir, time);
    rows::reopening::<Fjall>(dir, time);
}

/// On the disk that the build folder lies on: a temporary folder in memory would measure no fsync.
fn bench_dir() -> PathBuf {
    let dir = env::current_exe().expect("the benchmark knows its file").with_extension("data");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the benchmark's folder can be made");
    dir
}

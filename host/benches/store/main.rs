//! Which engine carries the store, measured by what the log to come will ask of it.
//!
//! `cargo bench -p lockstep --bench store` prints tables; the ratio columns are against a bare
//! `append + fdatasync` loop of the same run, because the disk's own speed differs between machines and minutes.
//! `LOCKSTEP_BENCH_SECONDS` is the time per row (default 3).

mod engine;
mod rows;
mod syscalls;
mod workload;

use std::env;
use std::path::PathBuf;
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
    rows::engines_header();
    for n_entries in [1, 64, 1_000] {
        let bare = rows::bare(&dir, n_entries, time);
        rows::engine::<Redb<false>>(&dir, n_entries, time, &bare);
        rows::engine::<Redb<true>>(&dir, n_entries, time, &bare);
        rows::engine::<Fjall>(&dir, n_entries, time, &bare);
    }
    rows::reopening_header();
    rows::reopening::<Redb<false>>(&dir, time);
    rows::reopening::<Redb<true>>(&dir, time);
    rows::reopening::<Fjall>(&dir, time);
    std::fs::remove_dir_all(&dir).expect("the benchmark's folder can be removed");
}

/// On the disk that the build folder lies on: a temporary folder in memory would measure no fsync.
fn bench_dir() -> PathBuf {
    let dir = env::current_exe().expect("the benchmark knows its file").with_extension("data");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the benchmark's folder can be made");
    dir
}

//! The way through the log, from a WebSocket author to WebSocket subscribers, beside what the disk alone allows.
//!
//! `cargo bench -p lockstep-tests --bench log`, or with `-- commits` or `-- delivery` one part of it. The host is the
//! real one with the real plugins: websocket -> lock, resolver -> websocket. Authors and subscribers are in this process.
#![expect(clippy::disallowed_methods, reason = "tasks and channels of a benchmark end with its process")]

#[path = "../../../host/benches/measure/mod.rs"]
mod measure;
#[path = "../fan_out/server.rs"]
#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod server;
#[path = "../fan_out/bare.rs"]
mod broadcast;
mod authors;
mod bare;
mod host;
mod subscribers;

use hdrhistogram::Histogram;
use host::{Durability, Host};
use measure::Goal;
use std::{path::Path, time::Duration};

const N_SUBSCRIBERS: usize = 1_000;
const CHANGES_PER_SECOND: u32 = 20;
const PLUGINS: [&str; 4] =
    ["lockstep", "lockstep-plugin-websocket", "lockstep-plugin-lock", "lockstep-plugin-resolver"];

fn main() {
    if std::env::var_os(broadcast::CHILD).is_some() {
        return broadcast::serve();
    }
    let part = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let runs = |name: &str| part.as_deref().is_none_or(|part| part == name);
    raise_file_limit();
    let built = measure::build(&PLUGINS);
    let dir = measure::empty_dir();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        if runs("commits") {
            commits(&built, &dir).await;
        }
        if runs("delivery") {
            delivery(&built, &dir).await;
        }
    });
    std::fs::remove_dir_all(&dir).expect("the benchmark's folder can be removed");
}

/// How many changes are answered per second when every author waits for the answer before it sends the next.
async fn commits(built: &Path, dir: &Path) {
    println!(
        "\nanswered changes, each author with one change at a time, beside one append + fdatasync for all authors"
    );
    println!(
        "{:<9}{:>12}{:>12}{:>8}{:>9}{:>9}{:>16}",
        "authors", "changes/s", "bare/s", "ratio", "p50 ms", "p99 ms", "fsyncs/change"
    );
    for n_authors in [1, 64] {
        let bare = bare::appends_per_second(dir, n_authors, Duration::from_secs(3)) * n_authors as f64;
        let host = Host::start(built, &dir.join(format!("commits-{n_authors}")), Durability::Commit).await;
        let before = host.n_fsyncs().await;
        let (time, latencies) = authors::closed_loop(&host, n_authors, Duration::from_secs(5)).await;
        let n_fsyncs = host.n_fsyncs().await - before;
        let per_second = latencies.len() as f64 / time.as_secs_f64();
        println!(
            "{n_authors:<9}{per_second:>12.0}{bare:>12.0}{:>8.2}{:>9.2}{:>9.2}{:>16.3}",
            per_second / bare,
            ms(&latencies, 50.0),
            ms(&latencies, 99.0),
            n_fsyncs / latencies.len() as f64,
        );
        if n_authors > 1 {
            println!("{}", Goal::at_least(per_second / bare, 0.6));
        }
    }
}

/// How long a change takes to its subscribers, at a rate that does not wait for anybody.
async fn delivery(built: &Path, dir: &Path) {
    println!("\nsent -> seen, {N_SUBSCRIBERS} subscribers x {CHANGES_PER_SECOND} changes/s, milliseconds");
    println!("{:<28}{:>9}{:>9}{:>9}", "", "p50", "p99", "p99.9");
    let time = Duration::from_secs(15);
    let disk = bare::paced_latencies(dir, CHANGES_PER_SECOND, time);
    row("bare append + fdatasync", &disk);
    let server = broadcast::start();
    let limit = subscribers::open_loop(server.address, N_SUBSCRIBERS, CHANGES_PER_SECOND, time).await;
    drop(server);
    row("bare broadcast, no disk", &limit);
    for durability in [Durability::Commit, Durability::Interval] {
        let host = Host::start(built, &dir.join(format!("delivery-{durability:?}")), durability).await;
        let seen = subscribers::open_loop(host.address(), N_SUBSCRIBERS, CHANGES_PER_SECOND, time).await;
        row(&format!("durability: {durability:?}").to_lowercase(), &seen);
        let limit = match durability {
            Durability::Commit => 2.0 * ms(&disk, 99.0) + 5.0,
            Durability::Interval => 2.0,
        };
        println!("p99 {}", Goal::at_most(ms(&seen, 99.0), (limit * 10.0).round() / 10.0));
    }
}

fn row(name: &str, latencies: &Histogram<u64>) {
    let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percentile| ms(latencies, percentile));
    println!("{name:<28}{p50:>9.2}{p99:>9.2}{p999:>9.2}");
}

/// Latencies are counted in microseconds.
fn ms(latencies: &Histogram<u64>, percentile: f64) -> f64 {
    latencies.value_at_percentile(percentile) as f64 / 1000.0
}

/// A thousand sockets and more, here and in the host, which inherits it.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or fill in the structure they are given.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

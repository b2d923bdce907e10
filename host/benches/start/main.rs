//! How long the host takes from its start to its first written record, and what it holds in memory when nothing happens.
//!
//! `cargo bench -p lockstep --bench start`: the real binary with all plugins, from a file through `validate` to a file,
//! and beside it a pipeline from WebSocket to WebSocket. Binary and plugins are stripped first, as a release is.

#[path = "../measure/mod.rs"]
mod measure;
mod site;

use measure::Goal;
use site::Site;
use std::{fs, path::Path, time::Duration};

const N_STARTS: usize = 15;
const FIRST_RECORD_MS: f64 = 100.0;
const IDLE_MIB: f64 = 30.0;

fn main() {
    let plugins = ["lockstep-plugin-file", "lockstep-plugin-validate", "lockstep-plugin-websocket"];
    let host = Path::new(env!("CARGO_BIN_EXE_lockstep"));
    let site = Site::new(host, &measure::build(&plugins), &measure::empty_dir());
    println!("\nprocess start -> first record written, file -> validate -> file, all plugins loaded, ms");
    println!("{:<34}{:>8}{:>8}{:>8}", "", "best", "median", "worst");
    row("the very first (nothing in the cache)", &starts(&site, true));
    row("every other", &starts(&site, false));
    idle(&site);
    site.remove();
}

/// Wall times in milliseconds, in order.
fn starts(site: &Site, is_first: bool) -> Vec<f64> {
    let mut times: Vec<f64> = (0..N_STARTS)
        .map(|_| {
            if is_first {
                site.forget();
            }
            let (host, time) = site.start();
            host.end();
            time.as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The goal is for a machine that has nothing else to do, which the best start comes closest to.
fn row(name: &str, times: &[f64]) {
    let (best, median, worst) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("{name:<34}{best:>8.1}{median:>8.1}{worst:>8.1}  {}", Goal::at_most(best, FIRST_RECORD_MS));
}

fn idle(site: &Site) {
    let (host, _) = site.start();
    std::thread::sleep(Duration::from_secs(1));
    let status = fs::read_to_string(format!("/proc/{}/status", host.id())).expect("it runs");
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel tells it");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
    };
    let rss = mib("VmRSS");
    println!(
        "\nidle memory, MiB: resident {rss:.1} (own {:.1}, mapped files {:.1}), {} threads  {}",
        mib("RssAnon"),
        mib("RssFile"),
        threads(&status),
        Goal::at_most(rss, IDLE_MIB)
    );
    host.end();
}

fn threads(status: &str) -> &str {
    status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap_or_default().trim()
}

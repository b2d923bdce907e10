//! How fast a process works, seen at what it has written.

use crate::{measure::Goal, process::Process};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long one slice may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(300);

/// The best that was seen of a process, and the most memory it took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    pub per_second: f64,
    pub per_cpu_second: f64,
    pub peak_mb: f64,
}

struct Look {
    at: Instant,
    cpu: Duration,
    n_written: u64,
    /// The most that was seen on the way here.
    peak_mb: f64,
}

impl Rate {
    /// Watches the process until it has written so many records; its start and its first tenth do not count.
    pub fn of(process: &Process, n_records: u64, mut n_written: impl FnMut() -> u64) -> Self {
        let start = look(process, n_records / 10, &mut n_written);
        let end = look(process, n_records, &mut n_written);
        let n = (end.n_written - start.n_written) as f64;
        Self {
            per_second: n / (end.at - start.at).as_secs_f64(),
            per_cpu_second: n / (end.cpu - start.cpu).as_secs_f64(),
            peak_mb: end.peak_mb,
        }
    }

    /// Keeps the better of two slices.
    pub fn take(&mut self, other: Self) {
        self.per_second = self.per_second.max(other.per_second);
        self.per_cpu_second = self.per_cpu_second.max(other.per_cpu_second);
        self.peak_mb = self.peak_mb.max(other.peak_mb);
    }
}

fn look(process: &Process, n_records: u64, n_written: &mut impl FnMut() -> u64) -> Look {
    let (start, mut peak_mb) = (Instant::now(), 0.0_f64);
    loop {
        peak_mb = peak_mb.max(process.memory_mb());
        let look = Look { n_written: n_written(), at: Instant::now(), cpu: process.cpu(), peak_mb };
        if look.n_written >= n_records {
            return look;
        }
        let n = look.n_written;
        assert!(start.elapsed() < LIMIT, "{n} of {n_records} after {LIMIT:?}\n{}", process.last_words());
        thread::sleep(Duration::from_millis(5));
    }
}

/// The bare program and the host, and how they compare.
pub fn print(title: &str, bare: (&str, Rate), host: Rate, peak_goal: Option<f64>) {
    println!("\n{title}");
    println!("{:<32}{:>12}{:>16}{:>14}", "", "records/s", "CPU s/million", "peak RSS MB");
    for (name, rate) in [bare, ("lockstep", host)] {
        let (cpu, peak) = (1e6 / rate.per_cpu_second, rate.peak_mb);
        println!("{name:<32}{:>12.0}{cpu:>16.2}{peak:>14.1}", rate.per_second);
    }
    for (name, ratio) in [
        ("ratio per CPU second", host.per_cpu_second / bare.1.per_cpu_second),
        ("ratio records/s", host.per_second / bare.1.per_second),
    ] {
        println!("{name:<32}{ratio:>12.2}  {}", Goal::at_least(ratio, 0.8));
    }
    if let Some(goal) = peak_goal {
        println!("{:<32}{:>12.1}  {}", "peak RSS MB", host.peak_mb, Goal::at_most(host.peak_mb, goal));
    }
}

//! One function per kind of row: run something for a while, print what it did.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::{Engine, Fjall, Redb};
use crate::syscalls::{Writes, writes};
use crate::workload::Workload;

/// Kept entries: more than one run writes at group size 1, far less than at 1,000, so old ones are always deleted.
const N_KEPT: u64 = 100_000;

/// What a loop of commits did.
pub struct Run {
    latencies: Vec<Duration>,
    elapsed: Duration,
    before: Writes,
    after: Writes,
}

impl Run {
    /// Calls `commit` until `time` is over.
    pub fn measure(time: Duration, mut commit: impl FnMut()) -> Self {
        let (before, start) = (writes(), Instant::now());
        let mut latencies = Vec::new();
        while start.elapsed() < time {
            let commit_start = Instant::now();
            commit();
            latencies.push(commit_start.elapsed());
        }
        Self { latencies, elapsed: start.elapsed(), before, after: writes() }
    }

    pub fn of(latencies: Vec<Duration>, elapsed: Duration, before: Writes) -> Self {
        Self { latencies, elapsed, before, after: writes() }
    }

    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    pub fn n_commits(&self) -> f64 {
        self.latencies.len() as f64
    }

    pub fn n_fsyncs(&self) -> f64 {
        (self.after.n_fsyncs - self.before.n_fsyncs) as f64
    }

    pub fn kib_per_commit(&self) -> f64 {
        (self.after.bytes - self.before.bytes) as f64 / 1024.0 / self.n_commits()
    }

    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e3
    }
}

pub fn engines_header() {
    println!(
        "\none group = n entries of 300 B + n state puts of 256 B (100,000 keys) + 1 position; 100,000 entries kept"
    );
    println!(
        "{:<20} {:>6} {:>10} {:>7} {:>10} {:>8} {:>8} {:>7} {:>8} {:>8}",
        "engine", "n", "commits/s", "x bare", "entries/s", "p50 ms", "p99 ms", "fsyncs", "KiB", "disk MiB"
    );
}

/// The limit: the entries alone, appended to a file, fdatasync.
pub fn bare(dir: &Path, n_entries: usize, time: Duration) -> Run {
    let path = dir.join("bare");
    let mut file = File::create(&path).expect("a file");
    let mut workload = Workload::new(1, u64::MAX);
    let group: Vec<u8> = workload.group(n_entries).entries.concat();
    let run = Run::measure(time, || {
        file.write_all(&group).expect("append");
        file.sync_data().expect("fdatasync");
    });
    fs::remove_file(path).expect("remove");
    run
}

pub fn bare_row(dir: &Path, n_entries: usize, time: Duration) -> Run {
    let run = bare(dir, n_entries, time);
    print_row("append + fdatasync", n_entries, &run, &run, None);
    run
}

pub fn engine<E: Engine>(dir: &Path, n_entries: usize, time: Duration, bare: &Run) {
    let dir = dir.join("engine");
    let mut workload = Workload::new(1, N_KEPT);
    let mut engine = loaded::<E>(&dir, &mut workload);
    let mut in_commit = Vec::new();
    let (before, start) = (writes(), Instant::now());
    while start.elapsed() < time {
        // The group is made outside the measured time.
        let group = workload.group(n_entries);
        let commit_start = Instant::now();
        engine.commit(&group);
        in_commit.push(commit_start.elapsed());
    }
    let spent = in_commit.iter().sum();
    print_row(E::NAME, n_entries, &Run::of(in_commit, spent, before), bare, Some(&dir));
    drop(engine);
    fs::remove_dir_all(dir).expect("remove");
}

fn loaded<E: Engine>(dir: &Path, workload: &mut Workload) -> E {
    let mut engine = E::open(dir);
    for group in workload.preload() {
        engine.commit(&group);
    }
    engine
}

fn print_row(name: &str, n_entries: usize, run: &Run, bare: &Run, disk: Option<&Path>) {
    println!(
        "{:<20} {:>6} {:>10.0} {:>7.2} {:>10.0} {:>8.2} {:>8.2} {:>7.2} {:>8.0} {:>8.0}",
        name,
        n_entries,
        run.per_second(),
        run.per_second() / bare.per_second(),
        run.per_second() * n_entries as f64,
        run.percentile(50),
        run.percentile(99),
        run.n_fsyncs() / run.n_commits(),
        run.kib_per_commit(),
        disk.map_or(0.0, disk_mib),
    );
}

/// Blocks that are really taken, so a preallocated file does not count as full.
pub fn disk_mib(path: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    fn blocks(path: &Path) -> u64 {
        let metadata = fs::metadata(path).expect("metadata");
        let inside = metadata.is_dir().then(|| fs::read_dir(path).expect("a folder"));
        let inside: u64 = inside.into_iter().flatten().map(|item| blocks(&item.expect("item").path())).sum();
        metadata.blocks() + inside
    }
    (blocks(path) * 512) as f64 / (1 << 20) as f64
}

pub fn reopening_header() {
    println!("\nafter kill -9 of a process that commits groups of 64");
    println!(
        "{:<20} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8} {:>8}",
        "engine", "open ms", "get us", "scan ms", "entries", "last rev", "RSS MiB", "disk MiB"
    );
}

pub fn reopening<E: Engine>(dir: &Path, time: Duration) {
    let dir = dir.join("killed");
    let mut child = Command::new(std::env::current_exe().expect("own file"))
        .env(crate::CHILD, format!("{}:{}", E::NAME, dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    wait_for_line(&mut child);
    std::thread::sleep(time);
    child.kill().expect("kill -9");
    child.wait().expect("the child is gone");
    let start = Instant::now();
    let engine = E::open(&dir);
    let open = start.elapsed();
    let get = gets(&engine);
    let start = Instant::now();
    let (last, n_entries) = engine.history();
    println!(
        "{:<20} {:>10.1} {:>10.1} {:>10.1} {:>10} {:>9} {:>8.0} {:>8.0}",
        E::NAME,
        open.as_secs_f64() * 1e3,
        get,
        start.elapsed().as_secs_f64() * 1e3,
        n_entries,
        last,
        rss_mib(),
        disk_mib(&dir)
    );
    drop(engine);
    fs::remove_dir_all(dir).expect("remove");
}

fn gets<E: Engine>(engine: &E) -> f64 {
    let mut workload = Workload::new(2, N_KEPT);
    let keys: Vec<_> = workload.group(2_000).state;
    let start = Instant::now();
    for (key, _) in &keys {
        engine.get_state(key).expect("every key was loaded");
    }
    start.elapsed().as_secs_f64() * 1e6 / keys.len() as f64
}

fn rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn wait_for_line(child: &mut std::process::Child) {
    use std::io::{BufRead, BufReader};
    let output = child.stdout.take().expect("stdout is piped");
    BufReader::new(output).read_line(&mut String::new()).expect("the child says when it is loaded");
}

/// The child: loads, says so, and commits until it is killed.
pub fn write_until_killed(what: &str) {
    let (name, dir) = what.split_once(':').expect("engine:folder");
    let dir = Path::new(dir);
    match name {
        _ if name == Redb::<false>::NAME => forever::<Redb<false>>(dir),
        _ if name == Redb::<true>::NAME => forever::<Redb<true>>(dir),
        _ => forever::<Fjall>(dir),
    }
}

fn forever<E: Engine>(dir: &Path) {
    let mut workload = Workload::new(1, N_KEPT);
    let mut engine = loaded::<E>(dir, &mut workload);
    println!("loaded");
    loop {
        engine.commit(&workload.group(64));
    }
}

//! What every benchmark needs: CPU time, the best of several slices, the goal beside the number, and the files that
//! are measured.
//!
//! CPU time and not wall time, because other work on the machine changes the second far more than the first; what is
//! compared is measured by turns in one run.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// CPU time that this process has taken so far, in all its threads.
#[allow(dead_code, reason = "not every benchmark measures itself")]
pub fn own_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills in the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU time that another process has taken so far, in all its threads, in user and kernel mode.
#[allow(dead_code, reason = "not every benchmark measures another process")]
pub fn cpu_of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = times.map(|field| field.parse::<u64>().expect("ticks")).sum();
    // SAFETY: takes a number and gives one.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Duration::from_secs_f64(ticks as f64 / per_second)
}

/// A measured number beside its goal.
pub struct Goal {
    pub value: f64,
    pub limit: f64,
    pub is_at_most: bool,
}

impl Goal {
    pub fn at_most(value: f64, limit: f64) -> Self {
        Self { value, limit, is_at_most: true }
    }

    #[allow(dead_code, reason = "not every benchmark has such a goal")]
    pub fn at_least(value: f64, limit: f64) -> Self {
        Self { value, limit, is_at_most: false }
    }
}

/// `ok` or `MISSED`, and the goal.
impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, is_met) =
            if self.is_at_most { ("<=", self.value <= self.limit) } else { (">=", self.value >= self.limit) };
        write!(f, "goal {sign} {} {}", self.limit, if is_met { "ok" } else { "MISSED" })
    }
}

/// The lowest of several measurements of several things, taken by turns so that a loud neighbour disturbs all of them.
#[allow(dead_code, reason = "not every benchmark has several slices")]
pub fn best_of<const N: usize>(n_slices: usize, mut measure: impl FnMut(usize) -> f64) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..n_slices {
        for (i, best) in best.iter_mut().enumerate() {
            *best = best.min(measure(i));
        }
    }
    best
}

/// The folder with the host and the plugins of this build, after building those that are asked for.
pub fn build(packages: &[&str]) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--profile", "bench"]);
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be started");
    assert!(status.success(), "what is to be measured cannot be built");
    let own = env::current_exe().expect("the benchmark knows its file");
    own.parent().and_then(Path::parent).expect("it lies in `deps`").to_owned()
}

/// An empty folder of this benchmark on the disk that the build folder lies on.
pub fn empty_dir() -> PathBuf {
    let dir = env::current_exe().expect("the benchmark knows its file").with_extension("data");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the benchmark's folder can be made");
    dir
}

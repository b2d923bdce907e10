//! A process that is measured from outside: the host, or the bare program.
//!
//! Invariant: none of them outlives the benchmark.

use crate::measure;
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Set in a process that does the work without a host, to what it does.
pub const BARE: &str = "LOCKSTEP_BENCH_BARE";

/// Killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// The host with one pipeline and an empty data folder.
    pub fn host(built: &Path, dir: &Path, pipeline: &str) -> Self {
        let dir = dir.join("host");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder");
        let file = dir.join("bench.yaml");
        fs::write(&file, pipeline).expect("a pipeline");
        let mut command = Command::new(built.join("lockstep"));
        command.arg("run").arg(&file).arg("--plugin-path").arg(built).arg("--data-dir").arg(dir.join("data"));
        command.args(["--admin-listen", "127.0.0.1:0"]).current_dir(&dir);
        Self::start(command, dir.join("host.log"))
    }

    /// This program again, to do the work without a host.
    pub fn bare(dir: &Path, work: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the benchmark knows its file"));
        command.env(BARE, work);
        Self::start(command, dir.join("bare.log"))
    }

    fn start(mut command: Command, log: PathBuf) -> Self {
        let output = File::create(&log).expect("a log");
        // SAFETY: `prctl` is safe to call between fork and exec.
        unsafe { command.pre_exec(end_with_the_starter) };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")), log }
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        measure::cpu_of(self.child.id())
    }

    /// How much memory it holds now, in megabytes.
    pub fn memory_mb(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024.0 / 1e6
    }

    /// It does nothing until it is continued; its connections stay open.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// It goes on where it was stopped.
    pub fn cont(&self) {
        self.signal(libc::SIGCONT);
    }

    /// The end of what it has said, for a benchmark that cannot go on.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn signal(&self, signal: i32) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        // SAFETY: plain system call; the child was not waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0, "it runs");
    }
}

/// The starter is the main thread.
fn end_with_the_starter() -> io::Result<()> {
    // SAFETY: plain system call.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

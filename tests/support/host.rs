//! A running `lockstep`, as an operator would have it: a process, its log, its admin server.

use crate::{
    admin::{Answer, http},
    lines,
    site::Site,
    status::{Metrics, Status},
    wait::{LIMIT, eventually},
};
use serde_json::Value;
use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

/// A host process. Killed when it is dropped.
#[derive(Debug)]
pub struct Host {
    child: Child,
    log: PathBuf,
    admin: String,
}

impl Host {
    pub(crate) fn start(site: &Site, mut command: Command) -> Self {
        let log = site.path(format!("host-{}.log", fastrand::u32(..)));
        let output = File::create(&log).expect("the log can be made");
        command.stdout(output.try_clone().expect("a second handle")).stderr(output).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut host = Self { child, log, admin: String::new() };
        host.admin = host.wait_for("the admin server's address", LIMIT, |host| {
            assert!(host.is_running(), "the host ended while it started\n{}", host.log_tail());
            host.logged("admin server listening").first().and_then(|line| find_text(line, "addr"))
        });
        // The server answers from the first moment on, the pipelines are there a moment later.
        host.wait_until("the pipelines", LIMIT, |host| {
            assert!(host.is_running(), "the host ended while it started\n{}", host.log_tail());
            http(&host.admin, "GET", "/v1/pipelines").is_ok_and(|answer| answer.body.contains("\"name\""))
        });
        host
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// The address of the admin server, `host:port`.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Asks the admin server.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn get(&self, path: &str) -> Answer {
        http(&self.admin, "GET", path)
            .unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log_tail()))
    }

    /// The pipelines as `/v1/pipelines` shows them.
    pub fn status(&self) -> Status {
        Status::new(self.get("/v1/pipelines").json())
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.get("/metrics").body)
    }

    /// Looks until `condition` gives something.
    ///
    /// # Panics
    /// With the end of the log, if it does not within `limit`.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        eventually(limit, || condition(self))
            .unwrap_or_else(|| panic!("waited {limit:?} for {what}\n{}", self.log_tail()))
    }

    /// Looks until `condition` is true.
    ///
    /// # Panics
    /// With the end of the log, if it does not become true within `limit`.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut condition: impl FnMut(&mut Self) -> bool) {
        self.wait_for(what, limit, |host| condition(host).then_some(()));
    }

    /// Waits until every pipeline runs and the host says it is ready.
    pub fn wait_ready(&mut self) {
        self.wait_until("readiness", LIMIT, |host| host.get("/readyz").code == 200);
    }

    /// Waits until a pipeline is in this state.
    pub fn wait_state(&mut self, pipeline: &str, state: &str) {
        self.wait_until(&format!("pipeline `{pipeline}` to be {state}"), LIMIT, |host| {
            host.status().state(pipeline) == state
        });
    }

    /// Every log line with this message, as JSON.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let lines = lines::lines(&self.log);
        let parsed = lines
            .iter()
            .filter(|line| line.contains(message))
            .filter_map(|line| serde_json::from_str(line).ok());
        parsed
            .filter(|line: &Value| find_text(line, "message").is_some_and(|text| text.contains(message)))
            .collect()
    }

    /// Everything the host has written so far.
    pub fn log(&self) -> String {
        lines::read(&self.log)
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("--- the end of the host's log\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// Memory in use, in bytes.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn rss(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        kilobytes * 1024
    }

    /// Asks the host to drain and end.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let id = i32::try_from(self.id()).expect("process ids are small");
        // SAFETY: plain system call; the child was not waited for, so the id is still its own.
        let sent = unsafe { libc::kill(id, signal) };
        assert_eq!(sent, 0, "the host is gone\n{}", self.log_tail());
    }

    /// Ends the process as a crash would, between two instructions.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        self.wait_for("the host's end", limit, |host| host.child.try_wait().expect("a child can be asked"))
    }

    /// Asks the host to drain and end, and expects exit code 0.
    pub fn stop(mut self) {
        self.terminate();
        let status = self.wait_exit(LIMIT);
        assert_eq!(status.code(), Some(0), "after a drain\n{}", self.log_tail());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A field of a JSON log line, wherever the format puts it.
fn find_text(line: &Value, name: &str) -> Option<String> {
    [&line[name], &line["fields"][name]].into_iter().find_map(|value| value.as_str().map(str::to_owned))
}

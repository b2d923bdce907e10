//! The data folder's disk is full, and then it is not.

use lockstep_test_support::{LIMIT, Ledger, Probe, Site, eventually, lines};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A small file system of its own in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it.
    ///
    /// # Panics
    /// If mounting is not allowed here: then this test shows nothing, and says so.
    fn mount(place: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&place).expect("a place to mount at");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(&place)
            .output();
        let mounted = mounted.expect("`mount` is there (package `mount`)");
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(mounted.status.success(), "a small disk needs root and the right to mount: {why}");
        Self(place)
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut size = 1 << 20;
        for number in 0.. {
            let ballast = self.0.join(format!("ballast-{number}"));
            if fs::write(ballast, vec![0; size]).is_err() {
                size /= 2;
            }
            if size < 512 {
                return;
            }
        }
    }

    /// Gives it back.
    fn free(&self) {
        for entry in fs::read_dir(&self.0).expect("the disk").flatten() {
            if entry.file_name().to_string_lossy().starts_with("ballast-") {
                fs::remove_file(entry.path()).expect("a file can be removed");
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(place: &Path) {
    eventually(LIMIT, || {
        Command::new("umount").arg(place).status().is_ok_and(|status| status.success()).then_some(())
    });
}

#[test]
fn work_stops_with_a_clear_error_and_resumes_when_space_returns() {
    let site = Site::new().pipeline(
        "flow",
        "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 1000000, rate: 500 } } ]
sinks: [ { plugin: probe, config: { dir: SITE/out } } ]
",
    );
    // The host goes before the disk that it lives on.
    let disk = SmallDisk::mount(site.path("data"), "256m");
    let site = site.env("LOCKSTEP_PLUGIN_CACHE_DIR", "plugin-cache");
    let sink = Probe::new(&site, "out");
    let mut host = site.start();
    host.wait_until("a running pipeline", LIMIT, |_| sink.written().len() > 100);

    disk.fill();
    host.wait_until("a clear error", LIMIT, |host| {
        let shown =
            format!("{}{}{}", host.log(), host.status().errors("flow"), host.get("/readyz?verbose").body);
        ["disk is full", "no space left", "disk full"].iter().any(|text| shown.to_lowercase().contains(text))
    });
    assert_eq!(host.get("/healthz").code, 200, "a full disk is not the end of the host");
    host.wait_until("unreadiness", LIMIT, |host| host.get("/readyz").code == 503);

    disk.free();
    host.wait_ready();
    let so_far = sink.written().len();
    host.wait_until("work to resume", LIMIT, |_| sink.written().len() > so_far + 200);
    host.stop();
    let written = sink.written();
    let n_distinct = written.iter().collect::<std::collections::HashSet<_>>().len();
    Ledger::new(&Probe::keys(n_distinct as u64), &written).assert_at_least_once_in_order();

    // What was committed around the full disk can be read again.
    let mut host = site.start();
    host.wait_until("work after a restart", LIMIT, |_| sink.written().len() > written.len() + 100);
    host.stop();
    drop(disk);
}

#[test]
fn the_log_takes_nothing_while_the_disk_is_full_and_goes_on_without_a_gap() {
    let site = Site::new().pipeline(
        "flow",
        "
sources: [ { plugin: probe, config: { dir: SITE/in, count: 1000000, rate: 500 } } ]
transforms: [ { plugin: ledger, config: { dir: SITE/ledger } } ]
sinks: [ { plugin: file, config: { path: SITE/out.ndjson } } ]
",
    );
    // The host goes before the disk that it lives on.
    let disk = SmallDisk::mount(site.path("data"), "256m");
    let site = site.env("LOCKSTEP_PLUGIN_CACHE_DIR", "plugin-cache");
    let output = site.path("out.ndjson");
    let n_written = || lines(&output).len();
    let mut host = site.start();
    host.wait_until("a running pipeline", LIMIT, |_| n_written() > 100);

    disk.fill();
    host.wait_until("unreadiness", LIMIT, |host| host.get("/readyz").code == 503);
    let a_while = std::time::Duration::from_secs(1);
    std::thread::sleep(a_while);
    let head = host.metrics().sum("lockstep_log_head", &[]);
    std::thread::sleep(a_while);
    assert_eq!(host.metrics().sum("lockstep_log_head", &[]), head, "nothing is taken");
    assert_eq!(host.get("/healthz").code, 200, "a full disk is not the end of the host");
    assert_eq!(host.logged("the store takes no changes, waiting").len(), 1);

    disk.free();
    host.wait_ready();
    let so_far = n_written();
    host.wait_until("work to resume", LIMIT, |_| n_written() > so_far + 200);
    host.kill();
    // What was committed around the full disk can be read again.
    let so_far = n_written();
    let mut host = site.start();
    host.wait_until("work after a restart", LIMIT, |_| n_written() > so_far + 200);
    host.stop();
    let mut next = 1;
    for line in lines(&output) {
        let entry: Value = serde_json::from_str(&line).expect("a JSON line");
        let revision = entry["revision"].as_u64().expect("a revision");
        assert!(revision <= next, "{revision} comes before {next}");
        assert_eq!(entry["config_key"], format!("app.probe.{revision}"), "each change once in the log");
        next = next.max(revision + 1);
    }
    drop(disk);
}

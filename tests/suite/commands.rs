//! Commands that talk to a running host: what they change, print and exit with, and what they survive.

use lockstep_test_support::{Host, LIMIT, Site, eventually, free_port, host_binary, lines, raw_exchange};
use serde_json::{Value, json};
use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

/// A host whose one pipeline goes through the log.
fn site() -> Site {
    let pipeline = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
transforms:
  - plugin: validate
    config: {{ schemas: [ {{ match: app.port, schema: {{ type: integer }} }} ] }}
  - plugin: lock
  - plugin: resolver
sinks: [ {{ plugin: file, config: {{ path: SITE/changes.ndjson }} }} ]
",
        port = free_port()
    );
    Site::new().pipeline("flow", &pipeline).env("USER", "ann")
}

fn set(site: &Site, line: &str) -> Value {
    site.words(&format!("set {line} --json")).expect_code(0).json()
}

/// Waits until somebody waits for a lock.
fn wait_in_line(host: &Host) {
    let waits = || (host.metrics().sum("lockstep_plugin_locks_waiting", &[]) == 1.0).then_some(());
    eventually(LIMIT, waits).expect("somebody waits");
}

/// A command that goes on, with its output in files.
struct Background {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Background {
    fn start(site: &Site, line: &str) -> Self {
        let name = format!("background-{}", fastrand::u32(..));
        let (stdout, stderr) = (site.path(format!("{name}.out")), site.path(format!("{name}.err")));
        let mut command = site.command(line.split_whitespace());
        command.stdin(Stdio::null());
        command.stdout(File::create(&stdout).expect("a file")).stderr(File::create(&stderr).expect("a file"));
        Self { child: command.spawn().expect("a child"), stdout, stderr }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a plain system call on a child that was not waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    fn wait_said(&self, what: &str) {
        let is_said = || lines(&self.stderr).iter().any(|line| line.contains(what)).then_some(());
        eventually(LIMIT, is_said)
            .unwrap_or_else(|| panic!("waited for `{what}`: {:?}", lines(&self.stderr)));
    }

    fn expect_code(&mut self, code: i32) -> Vec<String> {
        let ended = eventually(LIMIT, || self.child.try_wait().expect("a child can be asked"));
        let (stdout, stderr) = (lines(&self.stdout), lines(&self.stderr));
        assert_eq!(ended.and_then(|status| status.code()), Some(code), "{stdout:?}\n{stderr:?}");
        stdout
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_key_is_set_read_listed_and_deleted() {
    let site = site();
    let host = site.started();
    assert_eq!(site.words("set app.host --string db1.example").expect_code(0).stdout, "revision 1\n");
    assert_eq!(site.words("get app.host").expect_code(0).stdout, "\"db1.example\"\n");
    assert_eq!(site.words("get app.host --raw").expect_code(0).stdout, "db1.example\n");
    assert_eq!(set(&site, "app.port 5432 --user bob")["revision"], 2);
    let shown = site.words("get app.port --json").expect_code(0).json();
    assert_eq!((&shown["new_value"], &shown["user_id"]), (&json!(5432), &json!("bob")));
    site.write("value.json", "{\"a\": 1.10}");
    assert_eq!(set(&site, "app.nested --file value.json")["success"], true);
    assert_eq!(site.words("get app.nested").stdout, "{\"a\": 1.10}\n", "byte for byte");
    let keys = site.words("keys app. --json").expect_code(0).json();
    let keys: Vec<_> =
        keys["keys"].as_array().expect("a list").iter().map(|key| &key["config_key"]).collect();
    assert_eq!(keys, ["app.host", "app.nested", "app.port"]);
    site.words("delete app.host").expect_code(0);
    let gone = site.words("get app.host").expect_code(1);
    assert!(gone.stderr.contains("deleted") && gone.stderr.contains("lockstep keys"), "{}", gone.stderr);
    let history = site.words("history app.host").expect_code(0).stdout;
    assert!(
        history.contains("deleted") && history.contains("= \"db1.example\"") && history.contains("ann"),
        "{history}"
    );
    assert_eq!(site.words("keys none").expect_code(0).stdout, "");
    host.stop();
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let site = site();
    let nobody = site.words("get app.x").expect_code(2).stderr;
    for part in ["no host runs", "lockstep run", "--data-dir", "--admin"] {
        assert!(nobody.contains(part), "`{part}` in {nobody}");
    }
    let host = site.started();
    let text = site.words("set app.host db1.example").expect_code(2).stderr;
    assert!(text.contains("VALUE is JSON") && text.contains("--string"), "{text}");
    let invalid = site.words("set app.port --string 5432").expect_code(1).stderr;
    assert!(invalid.contains("invalid_value") && invalid.contains("integer"), "{invalid}");
    let key = site.words("set app..x 1").expect_code(1).stderr;
    assert!(key.contains("bad_key") && key.contains("empty segment"), "{key}");
    let operation = site.words("call lock.nothing").expect_code(1).stderr;
    assert!(operation.contains("lock.nothing"), "{operation}");
    site.words("watch [ab").expect_code(2);
    host.stop();
}

#[test]
fn a_change_made_from_an_old_revision_does_not_overwrite_silently() {
    let site = site();
    let host = site.started();
    let base = set(&site, "app.x 1")["revision"].as_u64().expect("a revision");
    set(&site, &format!("app.x 2 --base-revision {base} --user bob"));
    let late = set(&site, &format!("app.x 3 --base-revision {base} --user eve"));
    assert_eq!(late["resolution"]["resolution_method"], "last_write_wins", "{late}");
    let shown = site.words("get app.x --json").expect_code(0).json();
    assert_eq!(shown["siblings"].as_array().map(Vec::len), Some(2), "{shown}");
    let unknown = site.words("set app.x 4 --base-revision 999").expect_code(1).stderr;
    assert!(unknown.contains("unknown_base"), "{unknown}");
    let once = set(&site, "app.once 1 --idempotency-key first");
    assert_eq!(set(&site, "app.once 1 --idempotency-key first")["revision"], once["revision"]);
    let audit = site.words("audit --json").expect_code(0).json();
    assert!(audit.to_string().contains("conflict_resolved"), "{audit}");
    host.stop();
}

#[test]
fn a_watcher_goes_on_after_the_host_was_killed_and_misses_nothing() {
    let site = site();
    let mut host = site.started();
    set(&site, "app.before 0");
    let mut watcher = Background::start(&site, "watch app.* --json --count 4");
    watcher.wait_said("watching from revision 1 on");
    set(&site, "app.x 1");
    set(&site, "other 1");
    let seen = || (lines(&watcher.stdout).len() >= 2).then_some(());
    eventually(LIMIT, seen).expect("the change at once");
    host.kill();
    watcher.wait_said("the host is gone; going on after revision");
    let host = site.started();
    for n in 2..=4 {
        set(&site, &format!("app.x {n}"));
    }
    let shown = watcher.expect_code(0);
    let shown: Vec<Value> = shown.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let changes = shown.iter().filter(|line| line["type"] == "config_sync");
    let changes: Vec<_> =
        changes.map(|line| (line["revision"].as_u64(), line["new_value"].as_u64())).collect();
    assert_eq!(changes, [(Some(2), Some(1)), (Some(4), Some(2)), (Some(5), Some(3)), (Some(6), Some(4))]);
    watcher.wait_said("the host is back");
    let since = site.words("watch app.* --since 4 --count 2").expect_code(0).stdout;
    assert_eq!(since.lines().count(), 2, "{since}");
    let current = site.words("watch --snapshot --count 3").expect_code(0).stdout;
    assert!(current.contains("app.before = 0") && current.contains("app.x = 4"), "{current}");
    host.stop();
}

#[test]
fn a_lock_keeps_others_out_until_it_is_given_back_or_taken_away() {
    let site = site();
    let host = site.started();
    let lease = site.words("locks acquire app.x --ttl 60s --json").expect_code(0).json();
    let session = lease["session"].as_str().expect("a session");
    let refused = site.words("set app.x 1 --user bob").expect_code(1).stderr;
    assert!(refused.contains("locked") && refused.contains("ann holds it until"), "{refused}");
    let token = &lease["token"];
    site.words(&format!("set app.x 1 --session {session} --token {token}")).expect_code(0);
    let taken = site.words("locks acquire app.x --user bob").expect_code(1).stderr;
    assert!(taken.contains("ann holds it until"), "{taken}");
    assert!(site.words("locks list").expect_code(0).stdout.contains("app.x"));
    assert_eq!(site.words("locks info app.x --json").json()["user_id"], "ann");
    let extended = site.words(&format!("locks extend app.x --session {session} --token {token} --json"));
    assert_eq!(extended.expect_code(0).json()["token"], *token);
    site.words("locks release app.x --session another").expect_code(1);
    site.words(&format!("locks release app.x --session {session}")).expect_code(0);
    assert!(site.words("locks list").expect_code(0).stderr.contains("nothing is locked"));

    let metadata = r#"{"n":[1e400,1.10,9007199254740993]}"#;
    site.words(&format!("locks acquire app.x --metadata {metadata}")).expect_code(0);
    let shown: String = site.words("locks info app.x --json").stdout.split_whitespace().collect();
    assert!(shown.contains(&format!(r#""metadata":{metadata}"#)), "{shown}");
    let forced = site.words("locks release app.x --force --reason test --user root").expect_code(0).stderr;
    assert!(forced.contains("taken from ann"), "{forced}");
    site.words("set app.x 2").expect_code(0);
    let stale = site.words(&format!("set app.x 3 --token {token}")).expect_code(1).stderr;
    assert!(stale.contains("stale_fence"), "{stale}");
    host.stop();
}

#[test]
fn a_command_runs_under_a_lock_that_is_kept_and_given_back() {
    let site = site();
    let host = site.started();
    let lockstep = host_binary();
    let lockstep = lockstep.display();
    // Longer than the lease lasts without being extended, and it changes what is locked.
    site.write("job.sh", format!("sleep 7; {lockstep} set app.x 1 && touch done; exit 7\n"));
    let mut job = Background::start(&site, "locks run app.x --ttl 3s -- sh job.sh");
    let is_held = || site.words("locks info app.x --json").json()["user_id"].as_str().map(str::to_owned);
    assert_eq!(eventually(LIMIT, is_held).as_deref(), Some("ann"));
    site.words("set app.x 2").expect_code(1);
    let waiting = site.words("locks acquire app.x --user bob --wait 50s --json").expect_code(0).json();
    assert_eq!(waiting["user_id"], "bob");
    job.expect_code(7);
    assert!(site.path("done").exists(), "the job changed what it had locked");
    let session = waiting["session"].as_str().expect("a session");
    site.words(&format!("locks release app.x --session {session}")).expect_code(0);
    site.words("locks acquire app.y -- true").expect_code(0);
    assert_eq!(site.words("locks info app.y --json").json(), Value::Null);

    let mut lost = Background::start(&site, "locks run app.z --ttl 3s -- sleep 60");
    let is_held = || site.words("locks info app.z --json").json()["token"].as_u64();
    eventually(LIMIT, is_held).expect("held");
    site.words("locks release app.z --force").expect_code(0);
    lost.expect_code(1);
    lost.wait_said("is lost");
    host.stop();
}

#[test]
fn a_command_is_not_begun_under_a_lease_that_ended_while_nobody_looked() {
    let site = site();
    let host = site.started();
    let held = site.words("locks acquire app.x --user bob --json").expect_code(0).json();
    let mut job = Background::start(&site, "locks run app.x --ttl 5s --wait 50s -- touch begun");
    wait_in_line(&host);
    job.signal(libc::SIGSTOP);
    let session = held["session"].as_str().expect("a session");
    site.words(&format!("locks release app.x --session {session}")).expect_code(0);
    let token = || site.words("locks info app.x --json").json()["token"].as_u64();
    assert!(token() > held["token"].as_u64(), "whoever waited has it");
    eventually(LIMIT, || token().is_none().then_some(())).expect("its time is over");
    job.signal(libc::SIGCONT);
    job.expect_code(1);
    job.wait_said("is lost");
    assert!(!site.path("begun").exists());
    // Longer in line than the lease lasts: that is no reason to give up.
    let held = site.words("locks acquire app.x --user bob --json").expect_code(0).json();
    let mut job = Background::start(&site, "locks run app.x --ttl 3s --wait 50s -- touch begun");
    wait_in_line(&host);
    std::thread::sleep(Duration::from_secs(4));
    let session = held["session"].as_str().expect("a session");
    site.words(&format!("locks release app.x --session {session}")).expect_code(0);
    job.expect_code(0);
    assert!(site.path("begun").exists());
    host.stop();
}

#[test]
fn who_stops_waiting_for_a_lock_does_not_get_it() {
    let site = site();
    let host = site.started();
    for (line, signal) in [
        ("locks run app.x --wait 50s -- touch begun", libc::SIGINT),
        ("locks acquire app.x --wait 50s", libc::SIGTERM),
    ] {
        let held = site.words("locks acquire app.x --user bob --json").expect_code(0).json();
        let mut waiting = Background::start(&site, line);
        wait_in_line(&host);
        waiting.signal(signal);
        waiting.expect_code(128 + signal);
        let session = held["session"].as_str().expect("a session");
        site.words(&format!("locks release app.x --session {session}")).expect_code(0);
        assert_eq!(site.words("locks info app.x --json").json(), Value::Null, "nobody has it");
    }
    assert!(!site.path("begun").exists());
    host.stop();
}

#[test]
fn operations_metrics_and_the_document_are_there() {
    let site = site();
    let host = site.started();
    let operations = site.words("operations").expect_code(0).stdout;
    assert!(operations.contains("lock.acquire") && operations.contains("config_key"), "{operations}");
    assert_eq!(site.words("call lock.list").expect_code(0).json(), json!([]));
    set(&site, "app.x 1");
    site.words("set app.port null").expect_code(1);
    site.words("locks acquire app.x --json").expect_code(0);
    let document = site.words("metrics --json").expect_code(0).json();
    assert_eq!(
        (&document["total_events"], &document["success_rate"]),
        (&json!(2), &json!(50.0)),
        "{document}"
    );
    assert_eq!(document["error_breakdown"].as_object().map(|errors| errors.len()), Some(1), "{document}");
    assert_eq!(document["lock_statistics"]["acquired"], 1, "{document}");
    assert!(document["percentile_latencies"]["p99"].as_f64().is_some_and(|p99| p99 > 0.0), "{document}");
    assert!(site.words("metrics --rates").expect_code(0).stdout.contains("config_"));
    site.words("metrics --reset").expect_code(0);
    let document = site.words("metrics --json").expect_code(0).json();
    assert_eq!((&document["total_events"], &document["lock_statistics"]["acquired"]), (&json!(0), &json!(0)));
    host.stop();
}

#[test]
fn forged_requests_change_nothing() {
    let site = site();
    let host = site.started();
    let address = host.admin().to_owned();
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let token = std::fs::read_to_string(site.path("data/admin.token")).expect("the token");
    let body = r#"{"config_key":"app.forged","new_value":1}"#;
    let status = |host: &str, headers: &str| {
        let request = format!(
            "POST /v1/changes HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw_exchange(port, request.as_bytes(), Duration::from_secs(10))
    };
    let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
    for (host, headers, expected) in [
        (address.as_str(), String::new(), "401"),
        (&address, "Authorization: Bearer wrong\r\n".to_owned(), "401"),
        ("evil.example", bearer.clone(), "403"),
        (&address, format!("Origin: http://evil.example\r\n{bearer}"), "403"),
        (&address, format!("Origin: null\r\n{bearer}"), "403"),
    ] {
        let answer = status(host, &headers);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
    site.words("get app.forged").expect_code(1);
    let answer = status(&address, &bearer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(site.words("get app.forged").expect_code(0).stdout, "1\n");
    host.stop();
}

//! The audit of the real host: every kind of act has its entry, with who, and whatever is done to the chain is found.

mod acts;
mod redacted;
mod chain;
mod crash;

use lockstep_test_support::{Finished, Site, free_port};
use serde_json::{Value, json};

/// A host with a pipeline through the log, its clients' port, and a direct pipeline whose sink fails as it is told.
fn site() -> (Site, u16) {
    let port = free_port();
    let through = format!(
        "
sources: [ {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port} }} }} ]
transforms:
  - plugin: validate
    config: {{ schemas: [ {{ match: app.port, schema: {{ type: integer }} }} ] }}
  - plugin: lock
  - plugin: resolver
sinks: [ {{ plugin: file, config: {{ path: SITE/changes.ndjson }} }} ]
"
    );
    let direct = "
sources: [ { plugin: file, config: { path: SITE/in.ndjson } } ]
sinks:
  - name: out
    plugin: probe
    on_error: { retry: { attempts: 0 }, then: dead_letter }
    config: { dir: SITE/out }
";
    let site = Site::new().pipeline("sync", &through).pipeline("direct", direct);
    (site.env("USER", "ann").env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h"), port)
}

fn done(site: &Site, line: &str) -> Finished {
    site.words(line).expect_code(0)
}

/// The entries of these types, the oldest first.
fn entries(site: &Site, types: &str) -> Vec<Value> {
    let listed = done(site, &format!("audit list --type {types} --limit 100000 --json")).json();
    let entries = listed["entries"].as_array().expect("a list").iter().rev();
    entries.map(|shown| shown["entry"].clone()).collect()
}

/// The fields of an entry that these are.
fn part(entry: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), entry[*name].clone())).collect()
}

/// What the last command of this process's user is called in the audit.
fn own_user() -> Value {
    // SAFETY: a plain system call that cannot fail.
    json!(format!("uid {}", unsafe { libc::geteuid() }))
}

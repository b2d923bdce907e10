//! Places that are both read and written, and sources that have much to read before the host is up to date.

use lockstep_test_support::{Host, LIMIT, Probe, Site, append, lines};
use serde_json::Value;

/// A probe that reads `place:a`, a file that reads no place, and three sinks.
fn site(source: &str) -> Site {
    let yaml = format!(
        "
sources:
  - {{ plugin: probe, config: {{ dir: SITE/in, endpoint: 'place:a', {source} }} }}
  - {{ plugin: file, config: {{ path: SITE/in.ndjson }} }}
transforms: [ {{ plugin: ledger, config: {{ dir: SITE/ledger }} }} ]
sinks:
  - {{ name: same, plugin: probe, config: {{ dir: SITE/same, endpoint: 'place:a' }} }}
  - {{ name: other, plugin: probe, config: {{ dir: SITE/other, endpoint: 'place:b' }} }}
  - {{ plugin: file, config: {{ path: SITE/out.ndjson }} }}
"
    );
    Site::new().pipeline("flow", &yaml).env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h")
}

fn author(site: &Site, key: &str) {
    append(&site.path("in.ndjson"), [format!(r#"{{"config_key":"{key}","new_value":1}}"#)]);
}

fn delivered(host: &Host, sink: &str) -> Value {
    host.status().component("flow", "sinks", sink)["delivery"]["revision"].clone()
}

#[test]
fn what_was_read_at_a_place_is_not_written_there_again_also_after_a_crash() {
    let site = site("count: 40");
    let (same, other) = (Probe::new(&site, "same"), Probe::new(&site, "other"));
    Probe::new(&site, "in");
    same.down();
    let mut host = site.start();
    host.wait_until("the probe's changes", LIMIT, |_| lines(&site.path("out.ndjson")).len() == 40);
    author(&site, "app.own.1");
    host.wait_until("an own change elsewhere", LIMIT, |_| other.written().len() == 41);
    // The entries say it, not the host's memory.
    host.kill();
    same.up();
    let mut host = site.start();
    author(&site, "app.own.2");
    host.wait_until("both own changes", LIMIT, |_| same.written() == ["app.own.1", "app.own.2"]);
    host.wait_until("the cursor beyond what was left out", LIMIT, |host| delivered(host, "same") == 42);
    assert_eq!(host.status().component("flow", "sinks", "same")["endpoint"], "place:a");
    host.stop();
    assert_eq!(same.written(), ["app.own.1", "app.own.2"]);
}

#[test]
fn a_host_is_ready_when_what_was_there_before_is_committed() {
    let site = site("count: 60, rate: 100, was_there: 50");
    let (_same, _other) = (Probe::new(&site, "same"), Probe::new(&site, "other"));
    Probe::new(&site, "in");
    let mut host = site.start();
    let first = host.get("/readyz");
    assert_eq!(first.code, 503, "{}", first.body);
    host.wait_until("the reason", LIMIT, |host| {
        let body = host.get("/readyz").body;
        assert!(!body.contains("\"ready\":true"), "it was ready before anybody could look: {body}");
        body.contains("reads what was there before it started")
    });
    host.wait_ready();
    let head = host.get("/v1/keys/app.probe.50");
    assert_eq!(head.code, 200, "ready, and the last of what was there is not known: {}", head.body);
    assert_eq!(host.logged("source has caught up").len(), 1);
    host.stop();
}

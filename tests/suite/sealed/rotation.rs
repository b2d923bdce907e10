//! Keys that change while changes are made: nothing is lost, nobody waits, and old values still open.

use super::*;
use lockstep_test_support::{
    Authors, LIMIT, Load, Numbers, Sent, free_port, last_revision, quiet, scale, written, written_history,
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// A pipeline whose log holds sealed values only, and a sink that opens them.
fn site(port: u16) -> Site {
    let yaml = format!(
        "
sources:
  - {{ plugin: websocket, config: {{ listen: 127.0.0.1:{port}, max_messages_per_second: 0 }} }}
transforms:
  - {{ plugin: encrypt, config: {{ keys: ['app.*'], ring: [ {{ file: ../keys/ring }} ] }} }}
  - {{ plugin: resolver }}
sinks:
  - name: sealed
    plugin: file
    config: {{ path: SITE/sealed.ndjson }}
  - name: opened
    plugin: file
    transforms: [ {{ plugin: decrypt, config: {{ on_clear: reject, ring: [ {{ file: ../keys/ring }} ] }} }} ]
    config: {{ path: SITE/opened.ndjson }}
"
    );
    let site = Site::new().pipeline("p", &yaml).env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h");
    set_ring(&site, &[("k0", 0)]);
    site
}

const PER_SECOND: u32 = 500;
const LOAD: Load =
    Load { n_connections: 4, in_flight: 256, per_second: Some(PER_SECOND), n_keys: 50, bytes: 100 };

/// Puts one more key in front of those that there are.
fn add_key(site: &Site, n: usize) {
    let ids: Vec<String> = (0..=n).map(|n| format!("k{n}")).collect();
    let keys: Vec<(&str, u8)> = ids.iter().enumerate().rev().map(|(n, id)| (id.as_str(), n as u8)).collect();
    set_ring(site, &keys);
}

/// Adds a key and says that it is to be used.
fn rotate(site: &Site, n: usize) {
    add_key(site, n);
    let components = site.run(["call", "encrypt.rotate"]).expect_code(0).json()["components"].clone();
    let components = components.as_array().expect("a list");
    assert!(
        components.len() >= 2 && components.iter().all(|one| one["current"] == format!("k{n}")),
        "{components:?}"
    );
}

/// The names of the keys that the values of the log are sealed under.
fn kids(site: &Site) -> BTreeSet<String> {
    let kid = |entry: &Value| {
        let sealed = &entry["new_value"]["$enc"]["kid"];
        sealed.as_str().unwrap_or_else(|| panic!("not sealed: {entry}")).to_owned()
    };
    written(&site.path("sealed.ndjson")).iter().map(kid).collect()
}

/// Every answered change is in the log, opened, at the revision of its answer.
fn assert_answered_are_there(site: &Site, sent: &[Sent]) -> usize {
    let history = written_history(&site.path("opened.ndjson"));
    history.assert_complete();
    let answered: Vec<_> = sent.iter().filter(|sent| sent.answer.is_some()).collect();
    for sent in &answered {
        let revision = sent.revision().unwrap_or_else(|| panic!("refused: {sent:?}"));
        let there = history.get(revision);
        assert!(there.is_some_and(|there| there.number == sent.number && there.key == sent.key), "{sent:?}");
    }
    answered.len()
}

/// The longest time in which nobody was answered.
fn longest_pause(sent: &[Sent]) -> Duration {
    let mut answered: Vec<Instant> =
        sent.iter().filter_map(|sent| Some(sent.due() + sent.latency()?)).collect();
    answered.sort();
    answered.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

fn wait_written(site: &Site, host: &mut Host, revision: u64) {
    for file in ["sealed.ndjson", "opened.ndjson"] {
        host.wait_until(file, LIMIT, |_| last_revision(&site.path(file)) >= Some(revision));
    }
}

#[test]
fn keys_change_under_load_without_a_loss_or_a_pause() {
    let _quiet = quiet();
    let port = free_port();
    let (site, n_rotations) = (site(port), scale(8, 60));
    let mut host = site.started();
    let authors = Authors::start(port, LOAD, &Numbers::default());
    for n in 1..=n_rotations {
        let aim = authors.n_answered() + PER_SECOND as usize / 2;
        host.wait_until("answers", LIMIT, |_| authors.n_answered() >= aim);
        rotate(&site, n);
        host.wait_until("a value under the new key", LIMIT, |_| kids(&site).contains(&format!("k{n}")));
    }
    let sent = authors.finish();
    let last = sent.iter().filter_map(Sent::revision).max().expect("answers");
    wait_written(&site, &mut host, last);
    let (n_answered, pause) = (assert_answered_are_there(&site, &sent), longest_pause(&sent));
    let slowest = sent.iter().filter_map(Sent::latency).max().expect("answers");
    let kids = kids(&site);
    println!(
        "{n_rotations} rotations, {n_answered} of {} answered, {} keys used; longest pause {pause:?}, slowest answer {slowest:?}",
        sent.len(),
        kids.len()
    );
    assert_eq!(n_answered, sent.len(), "nobody was left without an answer");
    assert_eq!(kids.len(), n_rotations + 1, "every key was used: {kids:?}");
    // At the small size the rest is for a machine that has other work.
    assert!(pause < Duration::from_secs(scale(5, 1)), "{pause:?}");
    assert_eq!(host.get("/v1/dead-letters").json()["dead_letters"], json!([]));
    host.stop();
}

#[test]
fn a_host_that_is_killed_while_keys_change_has_lost_nothing_that_was_answered() {
    let port = free_port();
    let (site, n_kills, numbers) = (site(port), scale(4, 20), Numbers::default());
    let mut sent = Vec::new();
    for round in 0..n_kills {
        let mut host = site.started();
        let authors = Authors::start(port, LOAD, &numbers);
        host.wait_until("answers", LIMIT, |_| authors.n_answered() >= 100);
        rotate(&site, 2 * round + 1);
        // The next key is on its way when the host dies.
        add_key(&site, 2 * round + 2);
        host.kill();
        sent.extend(authors.finish());
    }
    let mut host = site.started();
    let last = sent.iter().filter_map(Sent::revision).max().expect("answers");
    wait_written(&site, &mut host, last);
    let n_answered = assert_answered_are_there(&site, &sent);
    println!("{n_kills} kills, {n_answered} of {} answered", sent.len());
    let kids = kids(&site);
    assert!(n_answered >= 100 * n_kills && kids.len() > n_kills, "{kids:?}");
    let key = &sent[0].key;
    let value = get(&site, key).expect("a value");
    assert!(value["$enc"]["kid"].is_string(), "{value}");
    host.stop();
}

//! The webhook sink of the real host, and receivers that take, refuse, hang, move and speak TLS.

mod messages;
mod outages;
mod refusals;
mod tls;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use lockstep_test_support::{Host, HttpReceiver, LIMIT, Posted, Site, append};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What no log, status or dead letter's error may show.
const VALUE: &str = "canary-value-5d1f";
const TOKEN: &str = "canary-token-77a0";
const SECRET: &str = "canary-secret-0123456789abcdef";

/// Changes from a file through the log, and what is told of them.
fn site(config: &str) -> Site {
    let yaml = format!(
        "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms: [ {{ plugin: resolver }} ]
sinks:
  - plugin: webhook
    on_error: {{ retry: {{ attempts: 1, backoff: 50ms, max: 50ms }} }}
    config:
{}
",
        config.trim_matches('\n').lines().map(|line| format!("      {line}\n")).collect::<String>()
    );
    Site::new().pipeline("flow", &yaml).env("LOCKSTEP_SYNC_SETTINGS__HEARTBEAT_INTERVAL", "24h")
}

/// A pipeline that tells this receiver of every change.
fn of_changes(receiver: &HttpReceiver, more: &str) -> Site {
    site(&format!("url: {}\non: ['config_*']\n{more}", receiver.url(&format!("/hooks/{TOKEN}"))))
}

fn change(key: &str, more: Value) -> String {
    let mut change =
        json!({ "event_type": "config_updated", "config_key": key, "new_value": VALUE, "user_id": "ann" });
    change.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    change.to_string()
}

fn author(site: &Site, keys: &[&str]) {
    append(&site.path("in.ndjson"), keys.iter().map(|key| change(key, json!({}))));
}

/// Two changes of somebody who had seen the first alone stand against each other.
fn conflict(site: &Site, host: &mut Host) {
    author(site, &["app.x"]);
    host.wait_until("the first change", LIMIT, |host| {
        host.get("/v1/keys/app.x").body.contains("\"revision\":1")
    });
    let wanted = [1, 2].map(|n| change("app.x", json!({ "base": 1, "new_value": [VALUE, n] })));
    append(&site.path("in.ndjson"), wanted);
}

fn numbered(n: usize) -> Vec<String> {
    (1..=n).map(|number| format!("app.key.{number}")).collect()
}

fn keys(requests: &[Posted]) -> Vec<String> {
    let key = |posted: &Posted| posted.json()["config_key"].as_str().expect("a key").to_owned();
    requests.iter().map(key).collect()
}

fn ids(requests: &[Posted]) -> BTreeSet<&str> {
    requests.iter().map(|posted| posted.header("webhook-id")).collect()
}

/// The same messages without the repetitions, in the order in which each came first.
fn once(requests: &[Posted]) -> Vec<Posted> {
    let mut seen = BTreeSet::new();
    requests.iter().filter(|posted| seen.insert(posted.header("webhook-id").to_owned())).cloned().collect()
}

/// As a receiver checks it: any of the signatures is that of the secret over id, time and body.
fn is_signed_by(secret: &str, posted: &Posted) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let (id, time) = (posted.header("webhook-id"), posted.header("webhook-timestamp"));
    let signed = [format!("{id}.{time}.").as_bytes(), &posted.body].concat();
    posted.header("webhook-signature").split(' ').any(|signature| {
        let tag = signature.strip_prefix("v1,").and_then(|tag| STANDARD.decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(&key, &signed, &tag).is_ok())
    })
}

fn assert_shows_no_canary(text: &str) {
    for canary in [VALUE, TOKEN, SECRET] {
        let line = text.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} is shown");
    }
}

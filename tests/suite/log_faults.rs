//! What goes wrong on a change's way into the log: hangs, too large commits, dead letters.

use crate::dead_letter::{dead_letters, id_of};
use lockstep_test_support::{Host, LIMIT, Request, Site, append, lines};
use serde_json::{Value, json};
use std::fs;

/// A pipeline whose changes come from a file, with a transform that goes wrong as told.
fn with_fault(fault: &str) -> Site {
    Site::new().pipeline(
        "flow",
        &format!(
            "
sources: [ {{ plugin: file, config: {{ path: SITE/in.ndjson }} }} ]
transforms:
  - plugin: faulty
    on_error: {{ retry: {{ attempts: 1, backoff: 10ms, max: 10ms }} }}
    config: {{ fault: {{ at: apply, mended: SITE/mended, {fault} }} }}
  - {{ plugin: ledger, config: {{ dir: SITE/ledger }} }}
sinks: [ {{ plugin: file, config: {{ path: SITE/out.ndjson }} }} ]
"
        ),
    )
}

fn change(key: &str) -> String {
    format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":1}}"#)
}

/// What an operator's change of this key is answered.
fn set(site: &Site, host: &Host, key: &str) -> Value {
    let token = fs::read_to_string(site.path("data/admin.token")).expect("the host wrote a token");
    let request = Request::new("POST", "/v1/changes").bearer(token.trim());
    let answer = request.json(&json!({ "config_key": key, "new_value": 1 })).send(host.admin());
    answer.expect("an answer").json()
}

/// Keys and revisions of what the file sink has.
fn written(site: &Site) -> Vec<(String, u64)> {
    let entry = |line: &String| {
        let entry: Value = serde_json::from_str(line).expect("a JSON line");
        let key = entry["config_key"].as_str().expect("a key").to_owned();
        (key, entry["revision"].as_u64().expect("a revision"))
    };
    lines(&site.path("out.ndjson")).iter().map(entry).collect()
}

fn numbered(keys: &[&str]) -> Vec<(String, u64)> {
    keys.iter().map(|key| (*key).to_owned()).zip(1..).collect()
}

#[test]
fn a_transform_that_hangs_answers_the_author_and_the_next_run_goes_on() {
    let site = with_fault("how: hang, key: app.hang, once: true")
        .env("LOCKSTEP_WATCHDOG", "1s")
        .env("LOCKSTEP_CALL_TIMEOUT", "500ms")
        .env("LOCKSTEP_RESTART__BACKOFF__MIN", "20ms");
    let mut host = site.start();
    host.wait_ready();
    append(&site.path("in.ndjson"), [change("app.a")]);
    host.wait_until("the first change", LIMIT, |_| written(&site).len() == 1);
    let answer = set(&site, &host, "app.hang");
    assert_eq!(answer["error"]["code"], "unavailable", "nobody knows what became of it: {answer}");
    append(&site.path("in.ndjson"), [change("app.b")]);
    host.wait_until("the next run", LIMIT, |_| written(&site).len() == 2);
    assert_eq!(written(&site), numbered(&["app.a", "app.b"]), "what hung was not committed");
    assert_eq!(set(&site, &host, "app.hang")["revision"], 3);
    host.kill();
}

#[test]
fn a_dead_letter_is_retried_through_the_chain_into_the_log() {
    let site = with_fault("how: nack, key: app.bad");
    append(&site.path("in.ndjson"), ["app.a", "app.bad", "app.b"].map(change));
    let mut host = site.start();
    host.wait_until("the good ones", LIMIT, |_| written(&site).len() == 2);
    host.wait_until("the dead letter", LIMIT, |_| dead_letters(&site).len() == 1);
    let letter = dead_letters(&site).remove(0);
    assert_eq!((&letter["component"], &letter["key"]), (&"faulty".into(), &"app.bad".into()), "{letter}");
    let refused = site.run(["dlq", "retry", &id_of(&letter)]).expect_code(1);
    assert!(refused.stderr.contains("failed again, after 4 attempts altogether"), "{}", refused.stderr);
    assert_eq!(dead_letters(&site).len(), 1, "in the place it had");
    site.write("mended", "");
    site.run(["dlq", "retry", &id_of(&letter)]).expect_code(0);
    host.wait_until("its entry", LIMIT, |_| written(&site).len() == 3);
    host.wait_until("no dead letter", LIMIT, |_| dead_letters(&site).is_empty());
    assert_eq!(written(&site), numbered(&["app.a", "app.b", "app.bad"]));
    host.kill();
    let mut host = site.start();
    append(&site.path("in.ndjson"), [change("app.c")]);
    host.wait_until("the next change", LIMIT, |_| {
        written(&site).last().is_some_and(|(key, _)| key == "app.c")
    });
    assert_eq!(written(&site).last().expect("it is there").1, 4, "nothing came twice");
    host.stop();
}

#[test]
fn a_batch_that_is_more_than_one_commit_takes_is_committed_in_pieces() {
    let site = with_fault("how: nack, key: nobody");
    let keys = ["app.a", "app.20mib.1", "app.20mib.2", "app.70mib", "app.20mib.3", "app.20mib.4", "app.b"];
    append(&site.path("in.ndjson"), keys.map(change));
    let mut host = site.start();
    host.wait_until("all that fits", LIMIT, |_| written(&site).len() == 6);
    let fits: Vec<_> = keys.into_iter().filter(|key| *key != "app.70mib").collect();
    assert_eq!(written(&site), numbered(&fits), "in order, without a gap");
    let letters = dead_letters(&site);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (&letters[0]["key"], &letters[0]["error"]["code"]),
        (&"app.70mib".into(), &"too_large".into())
    );
    host.kill();
    let mut host = site.start();
    append(&site.path("in.ndjson"), [change("app.c")]);
    host.wait_until("the next change", LIMIT, |_| {
        written(&site).last().is_some_and(|(key, _)| key == "app.c")
    });
    assert_eq!(written(&site).last().expect("it is there").1, 7, "nothing came twice");
    host.stop();
}

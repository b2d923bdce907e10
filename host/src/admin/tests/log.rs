//! Changes, keys, history and operations over HTTP, with a stand-in that commits what it is given.

use super::super::log_view::{Called, LogPipeline, LogView, Told};
use super::{Served, serve};
use crate::admin::{Client, ClientError};
use crate::audit::Operator;
use crate::config::HostSettings;
use crate::log::{Log, LogOptions};
use crate::runtime::{Became, OperationInfo};
use crate::store::{Commit, Store};
use lockstep_plugin_api::record::SESSION_HEADER;
use lockstep_plugin_api::source::OutcomeResult;
use lockstep_plugin_api::{Error, Json, Record};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// What no number of a programming language holds.
const ODD: &str = r#"{"resolution":{"n":1e400,"m":123456789012345678901234567890}}"#;

/// Details named as an answer's own fields are.
static EVERYTHING: LazyLock<Value> = LazyLock::new(|| {
    json!({ "resolution_method": "last_write_wins", "revision": "canary", "rollback_to": "canary",
        "base_revision": "canary", "changed": "canary", "dry_run": "canary", "changes": "canary",
        "patch": "canary", "too_large": "canary" })
});

pub(super) fn view(store: &Store) -> LogView {
    let log = Log::open(store.clone(), LogOptions::new(&HostSettings::default())).expect("a log");
    LogView { log: log.clone(), pipeline: Some(Arc::new(StandIn(log))) }
}

/// Commits every change but those of some keys, whose names say what becomes of them.
struct StandIn(Log);

impl LogPipeline for StandIn {
    fn submit(&self, record: Record, _operator: Operator, told: Told) {
        let mut record = record;
        let key = record.change().expect("a change").config_key().to_owned();
        let session =
            record.header(SESSION_HEADER).map(|session| String::from_utf8_lossy(session).into_owned());
        match key.as_str() {
            "app.locked" => {
                let holder = json!({ "locked_by": "ann", "expires_at": "2026-01-01T00:00:00Z" });
                let error = Error::rejected("locked", "Configuration is locked by another user");
                told(OutcomeResult::Rejected(error.with_details(&holder)).into());
            }
            "app.invalid" => told(OutcomeResult::Rejected(Error::rejected("invalid_value", "no")).into()),
            "app.full" => told(OutcomeResult::Failed(Error::retry(Duration::from_secs(3), "full")).into()),
            "app.dropped" => told(OutcomeResult::Written.into()),
            "app.repeated" => {
                let result = OutcomeResult::Applied { revision: 7, details: None };
                told(Became { result, is_repeat: true });
            }
            "app.odd" => {
                let details = Json::parse(ODD).ok();
                told(OutcomeResult::Applied { revision: 8, details }.into());
            }
            "app.odd.refused" => {
                let error = Error::rejected("conflict", "no").with_details(&Json::parse(ODD).expect("JSON"));
                told(OutcomeResult::Rejected(error).into());
            }
            "app.lost" => drop(told),
            "app.unanswered" => {
                self.0.submit(Commit::default(), vec![record], |_| std::mem::forget(told));
            }
            _ => self.0.submit(Commit::default(), vec![record], move |committed| {
                let details =
                    json!({ "resolution_method": "last_write_wins", "session": session, "revision": 0 });
                let details = match details["session"] == "says-everything" {
                    true => EVERYTHING.clone(),
                    false => details,
                };
                let details = Json::write(&details).ok();
                told(
                    match committed {
                        Ok(revision) => OutcomeResult::Applied { revision, details },
                        Err(error) => OutcomeResult::Failed(Error::failed(error)),
                    }
                    .into(),
                );
            }),
        }
    }

    fn operations(&self) -> Vec<OperationInfo> {
        let arguments = RawValue::from_string(r#"{"type":"object"}"#.to_owned()).expect("JSON");
        let (name, description) = ("echo".to_owned(), "Says it again.".to_owned());
        let (pipeline, component) = ("flow".to_owned(), "lock".to_owned());
        vec![OperationInfo { name, description, arguments, only_reads: false, pipeline, component }]
    }

    fn call(&self, operation: &str, arguments: &str, called: Called) -> bool {
        match operation {
            "look" => called(Ok(arguments.to_owned())),
            "echo" => called(Ok(arguments.to_owned())),
            _ => called(Err(Error::unsupported("nobody offers it"))),
        }
        operation == "look"
    }
}

pub(super) fn set(client: &Client, key: &str, value: &Value) -> Value {
    let body = json!({ "config_key": key, "new_value": value, "user_id": "ann" });
    client.post_json("/v1/changes", &body.to_string()).expect("committed")
}

/// Status and code of a refusal.
pub(super) fn refused(served: &Served, path: &str, body: &str) -> (u16, String) {
    let answer = match body {
        "" => served.socket().get(path),
        body => served.socket().post_json(path, body),
    };
    match answer {
        Err(ClientError::Refused { status, code, .. }) => (status, code),
        // An answer may be many MiB long.
        other => panic!("{path}: {:.300}", format!("{other:?}")),
    }
}

#[test]
fn a_change_is_answered_with_its_revision_and_what_the_author_was_told() {
    let served = serve("127.0.0.1:0");
    let answer = set(&served.socket(), "app.x", &json!(1));
    assert_eq!(answer["success"], true);
    assert_eq!((&answer["revision"], &answer["epoch"]), (&json!(1), &json!(served.log.epoch())));
    assert_eq!(answer["resolution_method"], "last_write_wins");
    let held = r#"{"config_key":"app.x","new_value":2,"session":"s1"}"#;
    let answer = served.socket().post_json("/v1/changes", held).expect("committed");
    assert_eq!((&answer["session"], &answer["revision"]), (&json!("s1"), &json!(2)));
    let dropped = served.socket().post_json("/v1/changes", r#"{"config_key":"app.dropped","new_value":1}"#);
    assert_eq!(dropped.expect("taken"), json!({ "success": true, "config_key": "app.dropped" }));
}

#[test]
fn numbers_pass_as_they_are_written_whatever_they_are() {
    let served = serve("127.0.0.1:0");
    let change = |key: &str| format!(r#"{{"config_key":"{key}","new_value":1}}"#);
    let answer: Box<RawValue> =
        served.socket().post_as("/v1/changes", &change("app.odd")).expect("committed");
    assert!(answer.get().contains(&ODD[1..ODD.len() - 1]), "{answer}");
    assert_eq!(refused(&served, "/v1/changes", &change("app.odd.refused")), (409, "conflict".to_owned()));
    let body = served.answer("POST /v1/changes", &change("app.odd.refused"));
    assert!(body.contains(&format!(r#""details":{ODD}"#)), "{body}");
    let called: Box<RawValue> = served.socket().post_as("/v1/operations/echo", ODD).expect("an answer");
    assert_eq!(called.get(), ODD);
}

#[test]
fn a_refused_change_has_the_status_of_its_code() {
    let served = serve("127.0.0.1:0");
    let change = |key: &str| format!(r#"{{"config_key":"{key}","new_value":1}}"#);
    for (body, status, code) in [
        (change("app.locked"), 409, "locked"),
        (change("app.invalid"), 422, "invalid_value"),
        (change("app.full"), 503, "unavailable"),
        (change("app.lost"), 503, "unavailable"),
        (change("app..x"), 400, "bad_key"),
        ("{".to_owned(), 400, "bad_message"),
    ] {
        assert_eq!(refused(&served, "/v1/changes", &body), (status, code.to_owned()), "{body}");
    }
    let Err(ClientError::Refused { details, .. }) =
        served.socket().post_json("/v1/changes", &change("app.locked"))
    else {
        panic!("locked")
    };
    assert_eq!(details["locked_by"], "ann");
}

#[test]
fn a_value_may_be_a_mebibyte_and_no_more() {
    let served = serve("off");
    let change = |n| format!(r#"{{"config_key":"app.big","new_value":"{}"}}"#, "x".repeat(n));
    assert!(served.socket().post_json("/v1/changes", &change((1 << 20) - 2)).is_ok());
    assert_eq!(refused(&served, "/v1/changes", &change(1 << 20)).0, 413);
}

#[test]
fn keys_are_listed_and_shown_with_their_history() {
    let served = serve("off");
    let client = served.socket();
    for (key, value) in
        [("app.a", json!(1)), ("app.b", json!("two")), ("app.a", json!(3)), ("z", json!(null))]
    {
        set(&client, key, &value);
    }
    let keys = client.get("/v1/keys?prefix=app.&limit=1").expect("keys");
    assert_eq!(keys, json!({ "keys": [{ "config_key": "app.a", "revision": 3 }], "next": "app.a" }));
    let keys = client.get("/v1/keys?prefix=app.&after=app.a").expect("keys");
    assert_eq!(keys, json!({ "keys": [{ "config_key": "app.b", "revision": 2 }], "next": null }));
    let shown = client.get("/v1/keys/app.a").expect("a change");
    assert_eq!(
        (&shown["new_value"], &shown["revision"], &shown["user_id"]),
        (&json!(3), &json!(3), &json!("ann"))
    );
    let history = client.get("/v1/keys/app.a/history?limit=1").expect("history");
    assert_eq!((history["changes"][0]["revision"].as_u64(), history["next"].as_u64()), (Some(3), Some(3)));
    let history = client.get("/v1/keys/app.a/history?before=3").expect("history");
    assert_eq!((&history["changes"][0]["new_value"], &history["next"]), (&json!(1), &Value::Null));
    client.post_json("/v1/changes", r#"{"config_key":"app.a","op":"delete"}"#).expect("deleted");
    assert_eq!(refused(&served, "/v1/keys/app.a", ""), (404, "not_found".to_owned()));
    for path in ["/v1/keys/none", "/v1/keys/none/history", "/v1/keys/app.b?tenant=t1"] {
        assert_eq!(refused(&served, path, ""), (404, "not_found".to_owned()), "{path}");
    }
    assert_eq!(refused(&served, "/v1/keys?tenant=global", "").1, "bad_tenant");
    assert_eq!(refused(&served, "/v1/keys?limits=1", "").1, "bad_message");
}

#[test]
fn none_is_no_number_of_things_to_list() {
    let served = serve("off");
    set(&served.socket(), "app.a", &json!(1));
    for path in ["/v1/keys", "/v1/keys/app.a/history", "/v1/audit", "/v1/dead-letters"] {
        assert_eq!(refused(&served, &format!("{path}?limit=0"), "").1, "bad_message", "{path}");
        assert!(served.socket().get(&format!("{path}?limit=100000")).is_ok(), "{path}");
    }
}

#[test]
fn a_change_says_when_it_was_committed_whatever_its_author_says() {
    let served = serve("off");
    let mut change = lockstep_plugin_api::Change::new("app.a", Json::parse("1.10").expect("JSON"));
    change.set_timestamp_us(Some(1_000_000));
    let record = Record::from_change(change);
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    served.log.submit(Commit::default(), vec![record], move |done| drop(tell.send(done.map(drop))));
    told.recv().expect("an answer").expect("committed");
    let now_us = lockstep_plugin_api::time::now_us();
    let history = served.socket().get("/v1/keys/app.a/history").expect("history");
    let shown = served.socket().get("/v1/keys/app.a").expect("a change");
    for change in [&history["changes"][0], &shown] {
        assert_eq!(change["timestamp"], "1970-01-01T00:00:01.000000Z", "{change}");
        let at = change["committed_at"].as_str().expect("a time");
        let at_us = lockstep_plugin_api::time::parse_us(at).expect("a time");
        assert!((now_us - 60_000_000..=now_us).contains(&at_us), "{at}");
        let then = served.socket().get(&format!("/v1/keys/app.a?at={at}")).expect("it was there by then");
        assert_eq!(then["revision"], 1);
    }
}

#[test]
fn operations_are_listed_and_called() {
    let served = serve("off");
    let client = served.socket();
    assert_eq!(client.get("/v1/operations").expect("a list")[0]["name"], "echo");
    assert_eq!(client.post_json("/v1/operations/echo", r#"{"a":1}"#).expect("done"), json!({ "a": 1 }));
    assert_eq!(client.post("/v1/operations/echo").expect("done"), json!({}));
    assert_eq!(refused(&served, "/v1/operations/echo", "[1]"), (400, "bad_message".to_owned()));
    assert_eq!(refused(&served, "/v1/operations/none", "{}"), (404, "not_found".to_owned()));
}

#[test]
fn the_metrics_document_is_shown_and_reset() {
    let served = serve("off");
    let client = served.socket();
    let event = crate::telemetry::Event {
        event_type: "config_updated",
        latency: Duration::from_millis(5),
        is_success: true,
    };
    served.metrics.guide().record([event]);
    assert_eq!(client.get("/v1/metrics").expect("a document")["total_events"], 1);
    assert!(
        client.get("/v1/metrics/rates").expect("rates")["config_updated"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    );
    client.post("/v1/metrics/reset").expect("reset");
    assert_eq!(client.get("/v1/metrics").expect("a document")["total_events"], 0);
    assert_eq!(client.get("/v1/metrics/rates").expect("rates"), json!({}));
}

#[test]
fn a_watcher_sees_changes_as_they_come_and_the_end_of_the_server() {
    let served = serve("off");
    let client = served.socket();
    let mut lines = client.lines("/v1/watch?pattern=app.*").expect("a watch");
    let mut all = || -> Value {
        let line = lines.next().expect("a line").expect("the connection holds");
        serde_json::from_str(&line).expect("JSON")
    };
    // How far the watcher is comes in between on a machine that takes its time.
    let mut next =
        || std::iter::repeat_with(&mut all).find(|line| line["type"] != "bookmark").expect("a line");
    assert_eq!((&next()["type"], served.log.head()), (&json!("watching"), 0));
    set(&client, "app.x", &json!({ "a": [1] }));
    set(&client, "other", &json!(1));
    set(&client, "app.y", &json!(2));
    let first = next();
    assert_eq!((&first["type"], &first["revision"]), (&json!("config_sync"), &json!(1)));
    assert_eq!((&first["new_value"], &first["epoch"]), (&json!({ "a": [1] }), &json!(served.log.epoch())));
    assert_eq!(next()["config_key"], "app.y");
    drop(served);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let is_bookmark = |line: &String| line.starts_with(r#"{"type":"bookmark""#);
    assert!(!rest.is_empty() && rest.iter().all(is_bookmark), "how far it came, then the end: {rest:?}");
}

#[test]
fn a_watch_that_cannot_be_meant_is_refused() {
    let served = serve("off");
    for (query, code) in [
        ("pattern=%5Bab", "bad_pattern"),
        ("since=x", "bad_message"),
        ("snapshot=maybe", "bad_message"),
        ("snapshot&since=1", "bad_message"),
        ("patern=a", "bad_message"),
        ("tenant=global", "bad_tenant"),
    ] {
        assert_eq!(refused(&served, &format!("/v1/watch?{query}"), ""), (400, code.to_owned()), "{query}");
    }
}

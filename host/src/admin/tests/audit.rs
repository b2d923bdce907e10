//! Everything that is to change something leaves an entry with who asked and what became of it.

use super::{Served, serve, serve_view, view_with};
use crate::admin::ClientError;
use crate::store::{Commit, Namespace, StoreOptions};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the audit tells of the acts so far, the oldest first.
fn acts(served: &Served) -> Vec<Value> {
    let page = served.socket().get("/v1/audit").expect("entries");
    let entries = page["entries"].as_array().expect("a list");
    entries.iter().rev().map(|shown| shown["entry"].clone()).collect()
}

/// The fields of an entry that these are.
fn part(entry: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), entry[*name].clone())).collect()
}

#[test]
fn who_did_what_over_the_socket_is_the_user_that_the_system_names() {
    let served = serve("off");
    served.store_letters(&["flow", "flow"]);
    let client = served.socket();
    client.post("/v1/metrics/reset").expect("reset");
    client.delete("/v1/dead-letters/1").expect("dropped");
    assert!(client.post("/v1/dead-letters/2/retry").is_err(), "its pipeline does not run");
    assert!(client.delete("/v1/dead-letters/9").is_err(), "there is none");
    let arguments = r#"{"config_key":"app.x","user_id":"ann","reason":"canary","ttl_ms":5}"#;
    client.post_json("/v1/operations/echo", arguments).expect("done");
    client.post_json("/v1/operations/look", arguments).expect("it only reads, so there is nothing to tell");
    assert!(client.post_json("/v1/operations/none", "{}").is_err());
    let locked = r#"{"config_key":"app.locked","new_value":"canary","user_id":"bob","tenant_id":"acme"}"#;
    assert!(client.post_json("/v1/changes", locked).is_err());
    let dropped = r#"{"config_key":"app.dropped","new_value":"canary"}"#;
    client.post_json("/v1/changes", dropped).expect("taken");
    let acts = acts(&served);
    let shown: Vec<_> =
        acts.iter().map(|act| part(act, &["event_type", "target", "outcome", "code"])).collect();
    let act = |event_type: &str, target: &str, outcome: &str, code: Value| json!({ "event_type": event_type, "target": target, "outcome": outcome, "code": code });
    assert_eq!(
        shown,
        [
            act("admin_metrics_reset", "metrics", "done", Value::Null),
            act("admin_dead_letter_drop", "1", "done", Value::Null),
            act("admin_dead_letter_retry", "2", "refused", json!("not_found")),
            act("admin_dead_letter_drop", "9", "refused", json!("not_found")),
            act("admin_operation", "echo", "done", Value::Null),
            act("admin_operation", "none", "refused", json!("not_found")),
            act("admin_change", "app.locked", "refused", json!("locked")),
            act("admin_change", "app.dropped", "done", Value::Null),
        ]
    );
    let uid = std::fs::metadata(served.path("admin.sock")).expect("a socket").uid();
    let pid = std::process::id();
    for act in &acts {
        assert_eq!(
            (&act["by"], &act["remote"]),
            (&json!(format!("uid {uid}")), &json!(format!("socket, pid {pid}")))
        );
    }
    assert_eq!(
        part(&acts[1], &["pipeline", "component", "key"]),
        json!({ "pipeline": "flow", "component": "out", "key": "app.key" })
    );
    assert_eq!(acts[4]["arguments"], json!(["config_key", "reason", "ttl_ms", "user_id"]));
    assert_eq!((&acts[4]["config_key"], &acts[4]["user_id"]), (&json!("app.x"), &json!("ann")));
    assert_eq!((&acts[6]["tenant_id"], &acts[6]["user_id"]), (&json!("acme"), &json!("bob")));
    assert!(!json!(acts).to_string().contains("canary"), "values stay where they are");
}

#[test]
fn over_tcp_it_is_whoever_has_the_token_and_who_has_none_leaves_nothing() {
    let served = serve("127.0.0.1:0");
    let token = format!("Authorization: Bearer {}\r\n", served.token());
    assert_eq!(served.status("POST /v1/metrics/reset", ""), 401);
    assert_eq!(served.status("POST /v1/nothing", &token), 404);
    assert_eq!(served.status("POST /v1/audit", &token), 405);
    assert_eq!(served.status("GET /v1/audit", &token), 200);
    assert_eq!(acts(&served), Vec::<Value>::new(), "nothing was to be changed by anybody");
    assert_eq!(served.status("POST /v1/metrics/reset", &token), 204);
    let acts = acts(&served);
    assert_eq!(acts.len(), 1);
    assert_eq!(acts[0]["by"], "token");
    assert!(acts[0]["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:")), "{}", acts[0]);
}

#[test]
fn a_change_that_comes_again_has_an_entry_that_says_so() {
    let served = serve("off");
    let again = r#"{"config_key":"app.repeated","new_value":1,"user_id":"ann","tenant_id":"acme"}"#;
    let answer = served.socket().post_json("/v1/changes", again).expect("done before");
    assert_eq!((&answer["revision"], &answer["repeated"]), (&json!(7), &json!(true)));
    let acts = acts(&served);
    assert_eq!(acts.len(), 1, "{acts:?}");
    assert_eq!(
        part(
            &acts[0],
            &["event_type", "target", "config_key", "tenant_id", "user_id", "repeat_of", "outcome"]
        ),
        json!({ "event_type": "admin_change", "target": "app.repeated", "config_key": "app.repeated",
            "tenant_id": "acme", "user_id": "ann", "repeat_of": 7, "outcome": "done" })
    );
}

#[test]
fn a_way_back_that_changes_nothing_has_an_entry_like_every_other() {
    let served = serve("off");
    let client = served.socket();
    for value in [1, 2] {
        let body = json!({ "config_key": "app.x", "new_value": value, "tenant_id": "acme" });
        client.post_json("/v1/changes", &body.to_string()).expect("committed");
    }
    let path = "/v1/keys/app.x/rollback?tenant=acme";
    let back = |more: Value| {
        let mut body = json!({ "user_id": "ann" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        client.post_json(path, &body.to_string())
    };
    back(json!({ "to": 2 })).expect("needless");
    back(json!({ "to": 1, "dry_run": true })).expect("tried");
    assert!(back(json!({ "to": 1, "if_revision": 1 })).is_err(), "changed in between");
    assert!(back(json!({ "to": 9 })).is_err(), "not there yet");
    let acts: Vec<_> =
        acts(&served).into_iter().filter(|act| act["event_type"] == "admin_rollback").collect();
    for act in &acts {
        let about = part(act, &["target", "config_key", "tenant_id", "user_id"]);
        let expected =
            json!({ "target": "app.x", "config_key": "app.x", "tenant_id": "acme", "user_id": "ann" });
        assert_eq!(about, expected, "{act}");
    }
    let shown: Vec<_> =
        acts.iter().map(|act| part(act, &["to", "dry_run", "changed", "outcome", "code"])).collect();
    let act = |to: &str, dry_run: Value, changed: Value, outcome: &str, code: Value| json!({ "to": to, "dry_run": dry_run, "changed": changed, "outcome": outcome, "code": code });
    let none = Value::Null;
    assert_eq!(
        shown,
        [
            act("2", none.clone(), json!(false), "done", none.clone()),
            act("1", json!(true), json!(false), "done", none.clone()),
            act("1", none.clone(), none.clone(), "refused", json!("conflict")),
            act("9", none.clone(), none, "refused", json!("unknown_base")),
        ]
    );
}

#[test]
fn a_caller_that_does_not_wait_is_in_the_audit_all_the_same() {
    use std::io::Write;
    let served = serve("off");
    let mut gone = std::os::unix::net::UnixStream::connect(served.path("admin.sock")).expect("it listens");
    let body = r#"{"config_key":"app.unanswered","new_value":1}"#;
    let length = body.len();
    write!(gone, "POST /v1/changes HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
        .expect("sent");
    // Of a request that nobody has begun with when its caller goes, nothing is left.
    assert!(served.log.wait(0, Duration::from_secs(60)), "it is begun with");
    drop(gone);
    let until = Instant::now() + Duration::from_secs(60);
    while acts(&served).is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let acts = acts(&served);
    assert_eq!((acts.len(), &acts[0]["event_type"]), (1, &json!("admin_change")), "{acts:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's channels hold what the test sends")]
fn an_entry_that_the_store_has_no_room_for_holds_up_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let view = view_with(&folder, StoreOptions { queue_commits: 1, ..StoreOptions::default() });
    let store = view.store.clone();
    let served = serve_view("off", folder, view);
    let filler = || Commit::default().put(Namespace::State, "filler", "");
    let (entered, held) = mpsc::channel();
    let (go, hold) = mpsc::channel::<()>();
    store.submit(filler(), move |_| {
        entered.send(()).expect("the test waits");
        let _ = hold.recv();
    });
    held.recv().expect("the writer is held");
    store.submit(filler(), |_| {});
    let client = served.socket();
    let reset = std::thread::spawn(move || client.post("/v1/metrics/reset"));
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(300) {
        served.socket().get("/healthz").expect("alive");
    }
    assert!(!reset.is_finished(), "its entry is not on disk");
    go.send(()).expect("the writer is held");
    reset.join().expect("no panic").expect("reset");
    assert_eq!(acts(&served)[0]["event_type"], "admin_metrics_reset");
}

#[test]
fn an_entry_keeps_no_more_of_a_name_than_a_name_may_have() {
    let served = serve("off");
    let client = served.socket();
    let long = "ä".repeat(20_000);
    let change = json!({ "config_key": long, "new_value": 1, "user_id": long });
    assert!(client.post_json("/v1/changes", &change.to_string()).is_err());
    let names = (0..5).map(|n| (format!("{n}{long}"), json!(1)));
    let arguments: serde_json::Map<_, _> = names.chain([("config_key".into(), json!(long))]).collect();
    client.post_json("/v1/operations/echo", &json!(arguments).to_string()).expect("done");
    let many: serde_json::Map<_, _> = (0..1000).map(|n| (n.to_string(), json!(1))).collect();
    client.post_json("/v1/operations/echo", &json!(many).to_string()).expect("done");
    let acts = acts(&served);
    assert_eq!(acts[0]["config_key"], "ä".repeat(256));
    for act in acts {
        assert!(act.to_string().len() < 8 << 10, "{} bytes", act.to_string().len());
    }
}

#[test]
fn it_is_listed_verified_and_exported() {
    let served = serve("off");
    let client = served.socket();
    for key in ["app.x", "app.y", "other"] {
        client.post_json("/v1/operations/echo", &json!({ "config_key": key }).to_string()).expect("done");
    }
    let listed = client.get("/v1/audit?key=app.*&type=admin_*&limit=1").expect("entries");
    assert_eq!((&listed["entries"][0]["id"], &listed["next"]), (&json!(2), &json!(2)));
    assert_eq!(client.get("/v1/audit?before=2").expect("entries")["next"], Value::Null);
    assert_eq!(client.get("/v1/audit?tenant=t").expect("entries")["entries"], json!([]));
    let lines = |path: &str| -> Vec<Value> {
        let lines = client.lines(path).expect("lines");
        lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect()
    };
    let verdict = lines("/v1/audit/verify").pop().expect("a verdict");
    assert_eq!((&verdict["ok"], &verdict["entries"]), (&json!(true), &json!(3)));
    let head = verdict["head"].as_str().expect("a head").replace(':', "%3A");
    assert_eq!(lines(&format!("/v1/audit/verify?head={head}")).pop().expect("a verdict"), verdict);
    let other = format!("2%3A{}", "0".repeat(64));
    let broken = lines(&format!("/v1/audit/verify?head={other}")).pop().expect("a verdict");
    assert_eq!((&broken["ok"], &broken["number"]), (&json!(false), &json!(2)), "{broken}");
    let exported = lines("/v1/audit/export");
    assert_eq!((exported.len(), &exported[0]["head"]), (4, &verdict["head"]));
    assert_eq!(exported[3]["entry"]["config_key"], "other");
    for (path, code) in [
        ("/v1/audit?key=%5Bab", "bad_pattern"),
        ("/v1/audit?since=then", "bad_message"),
        ("/v1/audit?keys=x", "bad_message"),
        ("/v1/audit/verify?head=4711", "bad_message"),
    ] {
        let Err(ClientError::Refused { status: 400, code: found, .. }) = client.get(path) else {
            panic!("{path} was answered")
        };
        assert_eq!(found, code, "{path}");
    }
}

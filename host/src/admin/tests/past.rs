//! Differences, blame and the way back over HTTP, with a stand-in that commits what it is given.

use super::log::{refused, set};
use super::{Served, serve};
use crate::admin::ClientError;
use lockstep_plugin_api::{Change, Json, Record};
use serde_json::{Value, json};

fn get(served: &Served, path: &str) -> Value {
    served.socket().get(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn post(served: &Served, path: &str, body: &Value) -> Value {
    served.socket().post_json(path, &body.to_string()).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Commits these values of `app.x`, from revision 1 on.
fn with_values(values: &[Value]) -> Served {
    let served = serve("off");
    values.iter().for_each(|value| drop(set(&served.socket(), "app.x", value)));
    served
}

#[test]
fn a_key_is_shown_as_it_was() {
    let served = with_values(&[json!({"a": 1}), json!({"a": 2})]);
    set(&served.socket(), "other", &json!(0));
    for (at, expected) in [("1", 1), ("2", 2), ("3", 2), ("2999-01-01T00:00:00Z", 2)] {
        assert_eq!(get(&served, &format!("/v1/keys/app.x?at={at}"))["new_value"]["a"], expected, "{at}");
    }
    let before = refused(&served, "/v1/keys/app.x?at=2020-01-01T00:00:00Z", "");
    assert_eq!(before, (404, "not_found".to_owned()));
    assert_eq!(refused(&served, "/v1/keys/other?at=2", "").0, 404);
    assert_eq!(refused(&served, "/v1/keys/app.x?at=4", ""), (409, "unknown_base".to_owned()));
    assert_eq!(refused(&served, "/v1/keys/app.x?at=another:1", "").1, "unknown_base");
    let epoch = served.log.epoch().to_owned();
    assert_eq!(get(&served, &format!("/v1/keys/app.x?at={epoch}:1"))["revision"], 1);
    assert_eq!(refused(&served, "/v1/keys/app.x?at=yesterday", ""), (400, "bad_message".to_owned()));
}

#[test]
fn two_versions_are_compared_for_people_and_for_programs() {
    let served = with_values(&[json!({"a": 1, "b": [1]}), json!({"a": 2, "b": [1]}), json!({"b": [1, 2]})]);
    let last = get(&served, "/v1/keys/app.x/diff");
    assert_eq!((&last["from"]["revision"], &last["to"]["revision"]), (&json!(2), &json!(3)));
    assert_eq!((&last["to"]["user_id"], &last["config_key"]), (&json!("ann"), &json!("app.x")));
    assert_eq!(
        last["changes"],
        json!([{ "path": "/a", "kind": "removed", "old": 2 }, { "path": "/b/1", "kind": "added", "new": 2 }])
    );
    assert_eq!(
        last["patch"],
        json!([{ "op": "remove", "path": "/a" }, { "op": "add", "path": "/b/1", "value": 2 }])
    );
    let by_two = get(&served, "/v1/keys/app.x/diff?to=2");
    assert_eq!(by_two["changes"], json!([{ "path": "/a", "kind": "changed", "old": 1, "new": 2 }]));
    let back = get(&served, "/v1/keys/app.x/diff?from=3&to=1");
    assert_eq!(back["patch"].as_array().map(Vec::len), Some(2));
    let first = get(&served, "/v1/keys/app.x/diff?to=1");
    assert_eq!(first["from"], json!({ "revision": 0, "exists": false }));
    assert_eq!(first["patch"][0]["op"], "add");
    assert_eq!(get(&served, "/v1/keys/app.x/diff?from=2&to=2")["patch"], json!([]));
    assert_eq!(refused(&served, "/v1/keys/none/diff", "").0, 404);
    assert_eq!(refused(&served, "/v1/keys/app.x/diff?form=1", "").1, "bad_message");
}

#[test]
fn numbers_stay_as_they_were_written() {
    let served = serve("off");
    for value in ["1.10", "1e400"] {
        let body = format!(r#"{{"config_key":"app.x","new_value":{{"n":{value}}}}}"#);
        served.socket().post_json("/v1/changes", &body).expect("committed");
    }
    for path in ["history", "diff", "blame"] {
        let path = format!("/v1/keys/app.x/{path}");
        let text: Box<serde_json::value::RawValue> = served.socket().get_as(&path).expect("an answer");
        assert!(
            text.get().contains("1e400") && (path.ends_with("blame") || text.get().contains("1.10")),
            "{text}"
        );
    }
    let path = "/v1/keys/app.x/rollback";
    let done: Box<serde_json::value::RawValue> = served.socket().post_as(path, r#"{"to":1}"#).expect("done");
    assert!(done.get().contains("1e400") && done.get().contains("1.10"), "{done}");
    let shown: Box<serde_json::value::RawValue> = served.socket().get_as("/v1/keys/app.x").expect("a change");
    assert!(shown.get().contains(r#""new_value":{"n":1.10}"#), "{shown}");
}

#[test]
fn every_part_has_who_changed_it_last() {
    let served = with_values(&[json!({"a": 1, "t": "one\ntwo"}), json!({"a": 2, "t": "one\n2"})]);
    let blame = get(&served, "/v1/keys/app.x/blame");
    let parts = blame["parts"].as_array().expect("parts").iter();
    let parts: Vec<_> =
        parts.map(|part| json!([part["path"], part["line"], part["value"], part["revision"]])).collect();
    assert_eq!(parts, [json!(["/a", null, 2, 2]), json!(["/t", 1, "one\n", 1]), json!(["/t", 2, "2", 2])]);
    assert_eq!((&blame["revision"], &blame["parts"][0]["user_id"]), (&json!(2), &json!("ann")));
    served.socket().post_json("/v1/changes", r#"{"config_key":"app.x","op":"delete"}"#).expect("deleted");
    assert_eq!(refused(&served, "/v1/keys/app.x/blame", ""), (404, "not_found".to_owned()));
    assert_eq!(refused(&served, "/v1/keys/app.y/blame", "").0, 404);
}

#[test]
fn a_key_gets_back_what_it_had() {
    let served = with_values(&[json!({"a": 1}), json!({"a": 2})]);
    let path = "/v1/keys/app.x/rollback";
    let tried = post(&served, path, &json!({ "to": 1, "dry_run": true }));
    assert_eq!((&tried["dry_run"], &tried["changed"], served.log.head()), (&json!(true), &json!(true), 2));
    assert_eq!(tried["changes"], json!([{ "path": "/a", "kind": "changed", "old": 2, "new": 1 }]));
    let metadata = json!({ "why": "a test" });
    let done =
        post(&served, path, &json!({ "to": 1, "user_id": "bob", "if_revision": 2, "metadata": metadata }));
    assert_eq!(
        (&done["revision"], &done["rollback_to"], &done["base_revision"], &done["changed"]),
        (&json!(3), &json!(1), &json!(2), &json!(true))
    );
    assert_eq!((&done["success"], &done["changes"]), (&json!(true), &tried["changes"]));
    let shown = get(&served, "/v1/keys/app.x");
    assert_eq!((&shown["new_value"], &shown["user_id"]), (&json!({"a": 1}), &json!("bob")));
    assert_eq!(shown["metadata"], json!({ "why": "a test", "rollback_to": 1 }));
    assert_eq!(shown["base"], json!({ "epoch": served.log.epoch(), "revision": 2 }));
    let before = post(&served, path, &json!({ "to": "2020-01-01T00:00:00Z", "dry_run": true }));
    assert_eq!((&before["rollback_to"], &before["patch"][0]["op"]), (&json!(0), &json!("remove")));
    let again = post(&served, path, &json!({ "to": 1 }));
    assert_eq!((&again["changed"], &again["revision"], served.log.head()), (&json!(false), &json!(3), 3));
}

#[test]
fn a_deleted_key_comes_back_and_one_that_was_not_there_goes() {
    let served = serve("off");
    set(&served.socket(), "other", &json!(0));
    set(&served.socket(), "app.x", &json!(null));
    let path = "/v1/keys/app.x/rollback";
    assert_eq!(post(&served, path, &json!({ "to": 1 }))["patch"], json!([{ "op": "remove", "path": "" }]));
    assert_eq!(refused(&served, "/v1/keys/app.x", "").0, 404);
    assert_eq!(post(&served, path, &json!({ "to": 2 }))["revision"], 4);
    assert_eq!(get(&served, "/v1/keys/app.x")["new_value"], json!(null));
}

#[test]
fn a_way_back_that_is_not_there_is_refused() {
    let served = with_values(&[json!(1), json!(2)]);
    set(&served.socket(), "app.locked.not", &json!(1));
    let path = "/v1/keys/app.x/rollback";
    for (body, status, code) in [
        (r#"{"to":9}"#, 409, "unknown_base"),
        (r#"{"to":"another:1"}"#, 409, "unknown_base"),
        (r#"{"to":"yesterday"}"#, 400, "bad_message"),
        (r#"{"to":1,"if_revision":1}"#, 409, "conflict"),
        (r#"{"to":1,"user_id":""}"#, 400, "bad_message"),
        (r#"{"to":1,"metadata":[]}"#, 400, "bad_message"),
        (r#"{"to":1,"dryrun":true}"#, 400, "bad_message"),
        ("{}", 400, "bad_message"),
    ] {
        assert_eq!(refused(&served, path, body), (status, code.to_owned()), "{body}");
    }
    assert_eq!(refused(&served, "/v1/keys/none/rollback", r#"{"to":1}"#), (404, "not_found".to_owned()));
    assert_eq!(refused(&served, "/v1/keys/app..x/rollback", r#"{"to":1}"#).1, "bad_key");
    assert_eq!(served.log.head(), 3, "nothing was committed");
    let Err(ClientError::Refused { details, .. }) =
        served.socket().post_json(path, r#"{"to":1,"if_revision":1}"#)
    else {
        panic!("refused")
    };
    assert_eq!(details, json!({ "revision": 2 }));
}

#[test]
fn a_value_whose_paths_would_fill_the_memory_is_refused() {
    let long = "n".repeat(400_000);
    let of = |item: u8| json!({ long.as_str(): vec![item; 10_000] });
    let served = with_values(&[of(1), of(2)]);
    for path in ["/v1/keys/app.x/blame", "/v1/keys/app.x/diff"] {
        assert_eq!(refused(&served, path, ""), (413, "too_large".to_owned()), "{path}");
    }
    let path = "/v1/keys/app.x/rollback";
    let tried = post(&served, path, &json!({ "to": 1, "dry_run": true }));
    assert_eq!((&tried["changed"], &tried["too_large"], served.log.head()), (&json!(true), &json!(true), 2));
    let done = post(&served, path, &json!({ "to": 1 }));
    assert_eq!(
        (&done["revision"], &done["changed"], &done["too_large"]),
        (&json!(3), &json!(true), &json!(true))
    );
    assert!(done.get("changes").is_none() && done.get("patch").is_none());
    assert_eq!(post(&served, path, &json!({ "to": 1 }))["changed"], false);
    assert!(get(&served, "/v1/keys/app.x")["new_value"] == of(1), "the way back is not closed");
}

#[test]
fn what_a_transform_says_takes_no_field_of_the_answers_own() {
    let served = with_values(&[json!({"a": 1}), json!({"a": 2})]);
    let path = "/v1/keys/app.x/rollback";
    let body = r#"{"to":1,"session":"says-everything"}"#;
    let done: Box<serde_json::value::RawValue> = served.socket().post_as(path, body).expect("done");
    for name in
        ["rollback_to", "base_revision", "changed", "dry_run", "changes", "patch", "revision", "too_large"]
    {
        let n = done.get().matches(&format!("\"{name}\":")).count();
        assert!(n <= 1 && !done.get().contains("canary"), "{n} times `{name}`: {done}");
    }
    assert!(done.get().contains("resolution_method"), "{done}");
}

#[test]
fn an_answer_that_would_fill_the_memory_is_refused() {
    let served = serve("off");
    let user = "u".repeat(256);
    for item in ["1", "2"] {
        let list = vec![item; 100_000].join(",");
        let body = format!(r#"{{"config_key":"app.x","new_value":[{list}],"user_id":"{user}"}}"#);
        served.socket().post_json("/v1/changes", &body).expect("committed");
    }
    // 256 bytes of an author for each of the 100,000 parts.
    assert_eq!(refused(&served, "/v1/keys/app.x/blame", ""), (413, "too_large".to_owned()));
    assert_eq!(refused(&served, "/v1/keys/none/blame", "").0, 404, "and the host answers");
}

#[test]
fn what_the_pipeline_refuses_is_answered_as_for_every_change() {
    let served = serve("off");
    for value in [1, 2] {
        let change = Change::new("app.locked", Json::write(&value).expect("JSON"));
        served.log.commit(Default::default(), vec![Record::from_change(change)]).expect("committed");
    }
    let answer = served.socket().post_json("/v1/keys/app.locked/rollback", r#"{"to":1}"#);
    let Err(ClientError::Refused { status, code, details, .. }) = answer else { panic!("locked") };
    assert_eq!((status, code.as_str(), &details["locked_by"]), (409, "locked", &json!("ann")));
}

#[test]
fn tenants_have_their_own_past() {
    let served = with_values(&[json!(1)]);
    let change = |value: u8| format!(r#"{{"config_key":"app.x","new_value":{value},"tenant_id":"t1"}}"#);
    for value in [7, 8] {
        served.socket().post_json("/v1/changes", &change(value)).expect("committed");
    }
    assert_eq!(get(&served, "/v1/keys/app.x?at=2&tenant=t1")["new_value"], 7);
    assert_eq!(get(&served, "/v1/keys/app.x?at=2")["new_value"], 1);
    assert_eq!(get(&served, "/v1/keys/app.x/diff?tenant=t1")["tenant_id"], "t1");
    assert_eq!(get(&served, "/v1/keys/app.x/blame?tenant=t1")["revision"], 3);
    post(&served, "/v1/keys/app.x/rollback?tenant=t1", &json!({ "to": 2 }));
    assert_eq!(get(&served, "/v1/keys/app.x?tenant=t1")["new_value"], 7);
    assert_eq!(get(&served, "/v1/keys/app.x")["new_value"], 1);
    assert_eq!(refused(&served, "/v1/keys/app.x/blame?tenant=global", "").1, "bad_tenant");
}

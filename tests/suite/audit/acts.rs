//! Who did what: changes, refusals, locks, resolutions, dead letters and whatever else operators do.

use super::{done, entries, own_user, part, site};
use crate::dead_letter::{dead_letters, id_of};
use lockstep_test_support::{LIMIT, Probe, Request, WsClient, append, eventually};
use serde_json::{Value, json};
use std::fs;

#[test]
fn every_change_has_an_entry_with_who_where_and_what_it_was_made_of() {
    let (site, port) = site();
    let host = site.started();
    done(&site, "set app.port 5432 --user bob --tenant acme");
    let base = done(&site, "set app.x \"one\" --json").json()["revision"].clone();
    done(&site, &format!("set app.x \"two\" --base-revision {base}"));
    done(&site, "delete app.x");
    let mut client = WsClient::connect(port);
    assert_eq!(client.change("app.ws", &json!(7))["success"], true);
    let changes = entries(&site, "config_*");
    let names = ["event_type", "config_key", "tenant_id", "user_id", "source", "revision"];
    let shown: Vec<_> = changes.iter().map(|change| part(change, &names)).collect();
    let row = |(event_type, key, tenant, user, source, revision): (&str, &str, Value, &str, &str, u64)| {
        json!({ "event_type": event_type, "config_key": key, "tenant_id": tenant, "user_id": user,
            "source": source, "revision": revision })
    };
    let expected = [
        ("config_created", "app.port", json!("acme"), "bob", "admin", 1),
        ("config_created", "app.x", Value::Null, "ann", "admin", 2),
        ("config_updated", "app.x", Value::Null, "ann", "admin", 3),
        ("config_deleted", "app.x", Value::Null, "ann", "admin", 4),
        ("config_created", "app.ws", Value::Null, "suite", "websocket", 5),
    ];
    assert_eq!(shown, expected.map(row));
    for change in &changes {
        assert!(change["event_id"].is_string() && change["dot"]["seq"].is_u64(), "{change}");
        assert_eq!(change["source"] == "admin", change["by"] == own_user(), "{change}");
    }
    assert_eq!(changes[2]["base"]["revision"], base);
    assert_eq!(changes[1]["value_bytes"], 5, "{}", changes[1]);
    // printf '"one"' | sha256sum
    assert_eq!(
        changes[1]["value_sha256"],
        "49e9fcfb5617aad332d56d58ffd0c7020d29ec1d0d0a03b7d7c47f268820acf3"
    );
    assert!(changes[3].get("value_sha256").is_none(), "a deletion has no value");
    let token = fs::read_to_string(site.path("data/admin.token")).expect("a token");
    let request = Request::new("POST", "/v1/changes").bearer(token.trim());
    let answer = request.json(&json!({ "config_key": "app.tcp", "new_value": 1 })).send(host.admin());
    assert_eq!(answer.expect("an answer").code, 200);
    let change = entries(&site, "config_*").pop().expect("an entry");
    assert_eq!((&change["by"], &change["config_key"]), (&json!("token"), &json!("app.tcp")));
    assert!(change["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:")), "{change}");
    assert_eq!(entries(&site, "admin_*"), [Value::Null; 0], "their changes tell who they were");
    host.stop();
}

#[test]
fn a_change_that_comes_again_is_made_once_and_each_time_has_one_entry() {
    let (site, _) = site();
    let host = site.started();
    let set = "set app.x 1 --user bob --tenant acme --idempotency-key once";
    let n_at_once = 4;
    std::thread::scope(|scope| {
        (0..n_at_once).for_each(|_| drop(scope.spawn(|| done(&site, set))));
    });
    done(&site, &format!("{set} --metadata {{}}"));
    done(&site, "delete app.x --tenant acme");
    let again = done(&site, &format!("{set} --json")).json();
    assert_eq!((&again["revision"], &again["repeated"]), (&json!(1), &json!(true)));
    let back = "rollback app.x --to 1 --tenant acme --user bob --idempotency-key back --json";
    assert_eq!(done(&site, back).json()["revision"], 3);
    done(&site, "set app.x 2 --tenant acme");
    let again = done(&site, back).json();
    assert_eq!(
        (&again["revision"], &again["changed"], &again["repeated"]),
        (&json!(3), &json!(false), &json!(true))
    );
    let made: Vec<_> = entries(&site, "config_*").iter().map(|entry| entry["revision"].clone()).collect();
    assert_eq!(made, [1, 2, 3, 4]);
    let acts = entries(&site, "admin_*");
    let names = ["event_type", "target", "config_key", "tenant_id", "user_id", "repeat_of", "outcome"];
    let shown: Vec<_> = acts.iter().map(|act| part(act, &names)).collect();
    let act = |event_type: &str, revision: u64| json!({ "event_type": event_type, "target": "app.x", "config_key": "app.x", "tenant_id": "acme", "user_id": "bob", "repeat_of": revision, "outcome": "done" });
    let mut expected = vec![act("admin_change", 1); n_at_once + 1];
    expected.push(act("admin_rollback", 3));
    assert_eq!(shown, expected, "all but the first one of them");
    done(&site, "audit verify");
    host.stop();
}

#[test]
fn what_is_refused_and_what_operators_do_has_an_entry() {
    let (site, _) = site();
    let out = Probe::new(&site, "out");
    out.fail(&["app.bad", "app.worse"]);
    let host = site.started();
    site.words("set app.port --string canary").expect_code(1);
    done(&site, "metrics --reset");
    done(&site, "call lock.info {\"config_key\":\"app.x\",\"tenant_id\":\"acme\"}");
    done(&site, "call lock.acquire {\"config_key\":\"app.x\",\"tenant_id\":\"acme\"}");
    site.words("call lock.nothing").expect_code(1);
    let record =
        |key: &str| format!(r#"{{"event_type":"config_updated","config_key":"{key}","new_value":1}}"#);
    append(&site.path("in.ndjson"), ["app.bad", "app.worse"].map(record));
    eventually(LIMIT, || (dead_letters(&site).len() == 2).then_some(())).expect("two dead letters");
    let ids: Vec<_> = dead_letters(&site).iter().map(id_of).collect();
    done(&site, &format!("dlq drop {}", ids[0]));
    out.accept_all();
    done(&site, &format!("dlq retry {}", ids[1]));
    site.words("dlq drop 99").expect_code(1);
    let acts = entries(&site, "admin_*");
    let shown: Vec<_> = acts
        .iter()
        .map(|act| part(act, &["event_type", "target", "outcome", "code", "config_key"]))
        .collect();
    let act = |event_type: &str, target: &str, outcome: &str, code: Value, key: Value| json!({ "event_type": event_type, "target": target, "outcome": outcome, "code": code, "config_key": key });
    let none = Value::Null;
    let expected = [
        act("admin_change", "app.port", "refused", json!("invalid_value"), json!("app.port")),
        act("admin_metrics_reset", "metrics", "done", none.clone(), none.clone()),
        act("admin_operation", "lock.acquire", "done", none.clone(), json!("app.x")),
        act("admin_operation", "lock.nothing", "refused", json!("not_found"), none.clone()),
        act("admin_dead_letter_drop", &ids[0], "done", none.clone(), none.clone()),
        act("admin_dead_letter_retry", &ids[1], "begun", none.clone(), none.clone()),
        act("admin_dead_letter_drop", "99", "refused", json!("not_found"), none),
    ];
    assert_eq!(shown, expected);
    assert_eq!(
        (&acts[2]["arguments"], &acts[2]["tenant_id"]),
        (&json!(["config_key", "tenant_id"]), &json!("acme"))
    );
    assert_eq!((&acts[4]["pipeline"], &acts[4]["key"]), (&json!("direct"), &json!("app.bad")));
    for act in &acts {
        assert_eq!(act["by"], own_user(), "{act}");
        assert!(act["remote"].as_str().is_some_and(|remote| remote.starts_with("socket, pid ")), "{act}");
    }
    assert!(!json!(acts).to_string().contains("canary"));
    host.stop();
    // Without the host, the command writes the same into the folder.
    out.fail(&["app.worst"]);
    let host = site.started();
    append(&site.path("in.ndjson"), [record("app.worst")]);
    eventually(LIMIT, || (dead_letters(&site).len() == 1).then_some(())).expect("a dead letter");
    host.stop();
    let id = id_of(&dead_letters(&site)[0]);
    done(&site, &format!("dlq drop {id}"));
    let last = entries(&site, "admin_*").pop().expect("an entry");
    assert_eq!(
        part(&last, &["event_type", "target"]),
        json!({ "event_type": "admin_dead_letter_drop", "target": id })
    );
    assert_eq!(last["by"], own_user());
    assert!(last["remote"].as_str().is_some_and(|remote| remote.starts_with("data folder, pid ")), "{last}");
    done(&site, "audit verify");
}

#[test]
fn every_transition_of_a_lock_has_an_entry() {
    let (site, _) = site();
    let host = site.started();
    let acquired = done(&site, "locks acquire app.x --user bob --session s1 --ttl 60s --json").json();
    done(&site, "locks release app.x --session s1");
    done(&site, "locks acquire app.x --user bob --session s2 --ttl 60s");
    done(&site, "locks release app.x --force --reason holiday");
    done(&site, "locks acquire app.x --user bob --session s3 --ttl 1s");
    let expired = eventually(LIMIT, || entries(&site, "lock_*").get(5).cloned()).expect("it expires");
    let locks = entries(&site, "lock_*");
    let types: Vec<_> = locks.iter().map(|entry| entry["event_type"].as_str().expect("a type")).collect();
    let expected = [
        "lock_acquired",
        "lock_released",
        "lock_acquired",
        "lock_force_released",
        "lock_acquired",
        "lock_expired",
    ];
    assert_eq!(types, expected);
    assert_eq!(
        part(&locks[0], &["user_id", "session", "token"]),
        json!({ "user_id": "bob", "session": "s1", "token": acquired["token"] })
    );
    assert_eq!(
        part(&locks[3], &["admin_user_id", "reason", "user_id"]),
        json!({ "admin_user_id": "ann", "reason": "holiday", "user_id": "bob" })
    );
    assert_eq!(expired["session"], "s3");
    assert!(locks.iter().all(|entry| entry["timestamp"].is_string() && entry["config_key"] == "app.x"));
    assert_eq!(entries(&site, "admin_operation").len(), 5, "who called for it is beside it");
    host.stop();
}

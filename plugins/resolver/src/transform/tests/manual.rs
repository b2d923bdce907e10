//! Conflicts that a person decides.

mod deciding;
mod waiting;

use super::*;
use lockstep_plugin_api::source::OutcomeResult;
use notices::context_of;

fn manual() -> Host {
    Host::new(&json!({ "strategy": "manual" }))
}

/// A host on which `b` of eve and `c` of adam stand against each other; the revision they were made from, and the id.
fn in_conflict() -> (Host, u64, String) {
    let mut host = manual();
    let base = host.set("a", json!({})).revision;
    host.set("b", json!({ "base": base }));
    let answer = host.set("c", json!({ "base": base, "user_id": "adam" }));
    let id = answer.resolution["conflict_id"].as_str().expect("an id").to_owned();
    (host, base, id)
}

/// Asks for something that answers at once.
fn ask(host: &Host, operation: &str, arguments: &Value) -> Result<Value> {
    host.memory.call(&format!("conflicts.{operation}"), arguments)
}

fn show(host: &Host, id: &str) -> Value {
    ask(host, "show", &json!({ "conflict_id": id })).expect("a conflict")
}

/// Decides, with the pipeline at work.
fn resolve(host: &mut Host, mut arguments: Value, id: &str) -> Result<Value> {
    arguments["conflict_id"] = json!(id);
    let memory = host.memory.clone();
    let asking = std::thread::spawn(move || memory.call("conflicts.resolve", &arguments));
    while !asking.is_finished() {
        let Some(made) = host.memory.take_submitted() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let change = made.record.json().expect("JSON");
        made.answer(&match host.take(&change) {
            Ok(Some(answer)) => OutcomeResult::Applied { revision: answer.revision, details: None },
            Ok(None) => OutcomeResult::Written,
            Err(error) => OutcomeResult::Rejected(error),
        });
    }
    asking.join().expect("it ends")
}

fn ids(listed: &Value) -> Vec<&str> {
    let conflicts = listed["conflicts"].as_array().expect("a list").iter();
    conflicts.map(|one| one["conflict_id"].as_str().expect("an id")).collect()
}

#[test]
fn the_last_write_is_shown_and_flagged_and_nothing_is_decided() {
    let mut host = manual();
    let base = host.set("a", json!({})).revision;
    host.set("b", json!({ "base": base, "metadata": { "why": "x" } }));
    let answer = host.set("c", json!({ "base": base, "metadata": { "why": "y" } }));
    let id = answer.resolution["conflict_id"].clone();
    assert_eq!(
        answer.resolution,
        json!({ "resolved_value": null, "resolution_method": "manual_resolution_pending", "conflict_id": id,
            "requires_human_intervention": true, "shown_change": answer.entry["event_id"], "discarded_changes": [],
            "conflicts": [{ "path": "", "kind": "edit_edit", "base": "a", "values": ["b", "c"] }],
            "base_revision": base, "resolved_revision": null, "siblings": 2 })
    );
    assert_eq!(
        (&answer.entry["new_value"], &answer.entry["strategy"]),
        (&json!("c"), &json!("manual_resolution"))
    );
    assert_eq!(answer.entry["metadata"], json!({ "why": "y", "pending_conflict": id }));
    assert_eq!(answer.entry["siblings"].as_array().map(Vec::len), Some(2));
    let counted = |name: &str| host.memory.counter(name);
    assert_eq!((counted("conflicts_detected"), counted("conflicts_resolved")), (1, 0), "nothing is resolved");
    let next = host.set("d", json!({})).entry;
    assert!(next.get("metadata").is_none() && next.get("siblings").is_none());
    let counted = |name: &str| host.memory.counter(name);
    assert_eq!((counted("conflicts_detected"), counted("conflicts_resolved")), (1, 1));
}

#[test]
fn who_wants_the_same_has_nothing_to_decide() {
    let mut host = manual();
    let base = host.write(&json!({ "config_key": "app.x", "new_value": 1 })).revision;
    host.write(&json!({ "config_key": "app.x", "new_value": 5, "base": base }));
    let same = host.write(&json!({ "config_key": "app.x", "new_value": 5.0, "base": base }));
    assert_eq!(same.resolution["resolution_method"], "last_write_wins");
    assert_eq!(ask(&host, "list", &json!({})).expect("a list")["conflicts"], json!([]));
}

#[test]
fn d_42_a_conflict_has_the_guides_record_and_administrators_are_told_of_it() {
    let (host, _, id) = in_conflict();
    let record = show(&host, &id);
    for (field, value) in [
        ("conflict_id", json!(id)),
        ("config_key", json!("app.x")),
        ("tenant_id", Value::Null),
        ("status", json!("pending_manual_resolution")),
        ("assigned_to", Value::Null),
        ("shown_value", json!("c")),
        ("n_changes", json!(2)),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    let wanted: Vec<_> = record["competing_changes"].as_array().expect("a list").iter().collect();
    let said: Vec<_> =
        wanted.iter().map(|one| (&one["user_id"], &one["new_value"], &one["old_value"])).collect();
    assert_eq!(said, [(&json!("eve"), &json!("b"), &json!("a")), (&json!("adam"), &json!("c"), &json!("a"))]);
    assert!(wanted.iter().all(|one| one["event_id"].is_string() && one["timestamp"].is_string()));

    let [notice] = &host.notices()[..] else { panic!("one notice") };
    let metadata = &notice["metadata"];
    assert_eq!((&notice["event_type"], &notice["new_value"]), (&json!("conflict_detected"), &json!("c")));
    assert_eq!(
        (&metadata["conflict_id"], &metadata["requires_human_intervention"]),
        (&json!(id), &json!(true))
    );
    for field in ["status", "created_at", "expires_at", "assigned_to", "conflicts"] {
        assert_eq!(metadata[field], record[field], "{field}");
    }
    assert_eq!(metadata["competing_changes"][1]["user_id"], "adam");
    assert!(!metadata["competing_changes"].to_string().contains("value"), "values are told in one place");
    assert_eq!(
        (&notice["siblings"][0]["new_value"], &notice["siblings"][1]["new_value"]),
        (&json!("b"), &json!("c"))
    );
    let [entry] = &host.audit()[..] else { panic!("one entry") };
    assert_eq!(
        (&entry["event_type"], &entry["resolution_method"], &entry["conflict_id"], &entry["user_id"]),
        (&json!("conflict_detected"), &json!("manual_resolution_pending"), &json!(id), &json!("adam"))
    );
}

#[test]
fn d_42_what_is_sealed_or_large_is_in_no_notice() {
    let sealed =
        json!({ "$enc": { "v": 1, "alg": "A256GCM", "kid": "k", "dk": "x", "n": "x", "ct": "canary" } });
    let large = json!("canary".repeat(12_000));
    for (value, why) in [(sealed, "sealed"), (large, "too_large")] {
        let mut host = manual();
        let base = host.set("a", json!({})).revision;
        host.set("b", json!({ "base": base }));
        let answer = host.write(&json!({ "config_key": "app.x", "new_value": value, "base": base }));
        let id = answer.resolution["conflict_id"].as_str().expect("an id").to_owned();
        let notice = host.notices().pop().expect("a notice");
        assert!(
            !notice["metadata"].to_string().contains("canary") && notice.get("siblings").is_none(),
            "{why}"
        );
        assert_eq!(notice["metadata"]["withheld"], why);
        let shown = show(&host, &id);
        assert_eq!(shown["competing_changes"][0].get("withheld").is_none(), why == "too_large");
    }
}

#[test]
fn d_35_no_tenant_is_one_thing_however_it_is_spelled() {
    let mut host = manual();
    let change = |rest: Value| {
        let mut change = json!({ "config_key": "app.x", "new_value": 1 });
        change.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        change
    };
    let base = host.write(&change(json!({}))).revision;
    host.write(&change(json!({ "tenant_id": null, "new_value": 2, "base": base })));
    host.write(&change(json!({ "new_value": 3, "base": base })));
    let listed = ask(&host, "list", &json!({})).expect("a list");
    assert_eq!(listed["conflicts"][0]["tenant_id"], Value::Null);
    for name in ["default", "global", "status", "system", ""] {
        let error = host.take(&change(json!({ "tenant_id": name }))).expect_err(name);
        assert_eq!(error.code(), Some("bad_tenant"), "{name}: no transport's spelling of none is a tenant");
    }
}

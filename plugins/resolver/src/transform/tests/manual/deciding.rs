//! Looking at what waits, and deciding it.

use super::*;

#[test]
fn conflicts_are_listed_by_tenant_pattern_and_status_page_by_page() {
    let mut host = manual();
    let seen = host.write(&json!({ "config_key": "app.other", "new_value": 1 })).revision;
    let mut conflict = |key: &str, tenant: Option<&str>| {
        let mut change = json!({ "config_key": key, "tenant_id": tenant, "new_value": 1, "base": seen });
        host.write(&change);
        change["new_value"] = json!(2);
        host.write(&change).resolution["conflict_id"].as_str().expect("an id").to_owned()
    };
    let plain: Vec<String> = (0..5).map(|n| conflict(&format!("app.k{n}"), None)).collect();
    let acme = conflict("app.k0", Some("acme"));
    let list = |arguments: Value| ask(&host, "list", &arguments).expect("a list");
    assert_eq!(ids(&list(json!({}))), plain);
    assert_eq!(ids(&list(json!({ "tenant_id": "acme" }))), [&acme]);
    assert_eq!(ids(&list(json!({ "all_tenants": true }))).len(), 6);
    assert_eq!(ids(&list(json!({ "pattern": "app.k[13]" }))), [&plain[1], &plain[3]]);
    let (first, mut found) = (list(json!({ "limit": 2 })), Vec::new());
    let mut page = first;
    loop {
        found.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        page = list(json!({ "limit": 2, "after": next }));
    }
    assert_eq!(found, plain);
    assert_eq!(list(json!({ "status": "over" }))["conflicts"], json!([]));
    for (arguments, code) in
        [(json!({ "pattern": "[" }), "bad_pattern"), (json!({ "after": "zz" }), "bad_message")]
    {
        assert_eq!(ask(&host, "list", &arguments).expect_err("refused").code(), Some(code));
    }
}

#[test]
fn every_possible_outcome_is_shown_before_anything_is_decided() {
    let mut host = manual();
    let old = json!({ "max": 5, "text": "one two" });
    let base = host.write(&json!({ "config_key": "app.x", "new_value": old })).revision;
    let mut change =
        |value: Value| host.write(&json!({ "config_key": "app.x", "new_value": value, "base": base }));
    change(json!({ "max": 7, "text": "one two" }));
    let id = change(json!({ "max": 5, "text": "one two three" })).resolution["conflict_id"].clone();
    let before = host.memory.notices().len();
    let preview = ask(&host, "preview", &json!({ "conflict_id": id })).expect("a preview");
    let both = json!({ "max": 7, "text": "one two three" });
    let outcomes = preview["outcomes"].as_array().expect("a list");
    let told: Vec<_> =
        outcomes.iter().map(|one| (&one["use"], &one["strategy"], &one["new_value"])).collect();
    let (one, two) = (json!({ "max": 7, "text": "one two" }), json!({ "max": 5, "text": "one two three" }));
    assert_eq!(
        told,
        [
            (&json!(1), &Value::Null, &one),
            (&json!(2), &Value::Null, &two),
            (&Value::Null, &json!("last_write_wins"), &two),
            (&Value::Null, &json!("first_write_wins"), &one),
            (&Value::Null, &json!("merge_strategies"), &both),
            (&Value::Null, &json!("operational_transform"), &both),
        ]
    );
    assert_eq!(outcomes[4]["conflicts"], json!([]));
    assert_eq!(host.memory.notices().len(), before, "nothing happened");

    let (host, _, id) = in_conflict();
    let preview = ask(&host, "preview", &json!({ "conflict_id": id })).expect("a preview");
    let ways = preview["outcomes"].as_array().expect("a list").iter().map(|one| one["strategy"].clone());
    assert!(!ways.collect::<Vec<_>>().contains(&json!("operational_transform")), "nobody changed a part");
}

#[test]
fn a_strategy_decides_as_the_preview_has_shown_it() {
    let mut host = Host::new(&json!({ "strategy": "manual", "merge": { "numbers": "delta" } }));
    let set = |value: u8, base: &Value| json!({ "config_key": "app.x", "new_value": value, "base": base });
    let base = json!(host.write(&json!({ "config_key": "app.x", "new_value": 10 })).revision);
    host.write(&set(12, &base));
    let id = host.write(&set(15, &base)).resolution["conflict_id"].as_str().expect("an id").to_owned();
    let preview = ask(&host, "preview", &json!({ "conflict_id": id })).expect("a preview");
    let ways = preview["outcomes"].as_array().expect("a list");
    let merged = ways.iter().find(|way| way["strategy"] == "merge_strategies").expect("a way");
    assert_eq!(merged["new_value"], 17);
    let answer = resolve(&mut host, json!({ "strategy": "merge" }), &id).expect("resolved");
    assert_eq!(answer["resolved_value"], 17);
}

#[test]
fn d_44_a_place_that_is_left_to_a_person_makes_a_case() {
    let paths = json!([{ "match": "/limit", "x-merge": "manual" }]);
    let mut host = Host::new(&json!({ "strategy": "merge", "merge": { "paths": paths } }));
    let set = |value: Value, base: u64| json!({ "config_key": "app.x", "new_value": value, "base": base });
    let base = host.write(&json!({ "config_key": "app.x", "new_value": { "limit": 1 } })).revision;
    host.write(&set(json!({ "limit": 2 }), base));
    let both = host.write(&set(json!({ "limit": 1, "a": 1 }), base));
    assert_eq!(both.entry["new_value"], json!({ "limit": 2, "a": 1 }), "here there is nothing to decide");
    let asked = host.write(&set(json!({ "limit": 3, "b": 1 }), base));
    assert_eq!(asked.resolution["resolution_method"], "manual_resolution_pending");
    assert_eq!(
        (&asked.resolution["resolved_value"], &asked.resolution["conflicts"][0]["path"]),
        (&Value::Null, &json!("/limit"))
    );
    assert_eq!(asked.entry["new_value"], json!({ "limit": 3, "b": 1 }), "the last write, meanwhile");
    let id = asked.resolution["conflict_id"].as_str().expect("an id").to_owned();
    assert_eq!(show(&host, &id)["status"], "pending_manual_resolution");
    let preview = ask(&host, "preview", &json!({ "conflict_id": id })).expect("a preview").to_string();
    assert!(!preview.contains("merge_strategies"), "it would only ask again: {preview}");
    resolve(&mut host, json!({ "new_value": { "limit": 4 } }), &id).expect("resolved");
    assert_eq!(show(&host, &id)["status"], "resolved");
}

#[test]
fn what_is_sealed_is_in_no_preview() {
    let sealed =
        |ct: &str| json!({ "$enc": { "v": 1, "alg": "A256GCM", "kid": "k", "dk": "x", "n": "x", "ct": ct } });
    let mut host = manual();
    let base = host.set("a", json!({})).revision;
    let set = |ct: &str| json!({ "config_key": "app.x", "new_value": sealed(ct), "base": base });
    host.write(&set("canary1"));
    let id = host.write(&set("canary2")).resolution["conflict_id"].as_str().expect("an id").to_owned();
    let preview = ask(&host, "preview", &json!({ "conflict_id": id })).expect("a preview");
    let ways = preview["outcomes"].as_array().expect("a list");
    assert!(ways.len() >= 4 && ways.iter().all(|way| way["withheld"] == "sealed"), "{preview}");
    assert!(!preview.to_string().contains("canary"), "{preview}");
    assert_eq!(ways[2]["conflicts"][0]["path"], "", "where they differ is told");
}

#[test]
fn a_decision_is_a_change_of_its_author_and_ends_the_conflict() {
    for (arguments, value) in [
        (json!({ "use": 1 }), json!("b")),
        (json!({ "strategy": "last_write_wins" }), json!("c")),
        (json!({ "new_value": { "n": 1.10 } }), json!({ "n": 1.1 })),
        (json!({ "new_value": null }), Value::Null),
        (json!({ "delete": true }), Value::Null),
    ] {
        let (mut host, _, id) = in_conflict();
        let mut asked = arguments.clone();
        asked["user_id"] = json!("carol");
        asked["reason"] = json!("because");
        let answer = resolve(&mut host, asked, &id).expect("resolved");
        assert_eq!((&answer["resolved_value"], &answer["user_id"]), (&value, &json!("carol")), "{arguments}");
        assert_eq!(answer["resolution_method"], "manual_resolution");

        let record = show(&host, &id);
        assert_eq!(
            (&record["status"], &record["resolution"]["user_id"]),
            (&json!("resolved"), &json!("carol"))
        );
        assert_eq!(record["resolution"]["event_id"], answer["winning_change"]);
        assert_eq!(record["resolution"]["how"]["reason"], "because");
        assert_eq!(record["competing_changes"][0]["new_value"], "b", "what was wanted is kept");
        assert_eq!(ask(&host, "list", &json!({})).expect("a list")["conflicts"], json!([]));
        assert_eq!(ids(&ask(&host, "list", &json!({ "status": "resolved" })).expect("a list")), [&id]);

        let notice = host.notices().pop().expect("a notice");
        assert_eq!(
            (&notice["event_type"], &notice["user_id"]),
            (&json!("conflict_resolved"), &json!("carol"))
        );
        assert_eq!(notice["metadata"]["resolution"], record["resolution"]);
        assert_eq!(notice["metadata"]["status"], "resolved");
        let audit = host.audit();
        let entry = audit.last().expect("an entry");
        for (field, expected) in [
            ("event_type", json!("conflict_resolved")),
            ("resolution_strategy", json!("manual_resolution")),
            ("user_id", json!("carol")),
            ("conflict_id", json!(id)),
            ("competing_changes_count", json!(2)),
        ] {
            assert_eq!(entry[field], expected, "{field}");
        }
        let error = resolve(&mut host, arguments, &id).expect_err("decided");
        assert_eq!(error.code(), Some("conflict"));
    }
}

#[test]
fn what_cannot_be_decided_is_refused_by_name() {
    let (mut host, _, id) = in_conflict();
    for (arguments, code) in [
        (json!({}), "bad_message"),
        (json!({ "use": 1, "delete": true }), "bad_message"),
        (json!({ "use": 3 }), "bad_message"),
        (json!({ "use": 0 }), "bad_message"),
        (json!({ "use": "nobody" }), "bad_message"),
        (json!({ "strategy": "newest" }), "bad_message"),
        (json!({ "strategy": "manual" }), "bad_message"),
        (json!({ "strategy": "ot" }), "bad_message"),
        (json!({ "use": 1, "user_id": "" }), "bad_message"),
        (json!({ "use": 1, "colour": "red" }), "bad_message"),
    ] {
        let error = resolve(&mut host, arguments.clone(), &id).expect_err("refused");
        assert_eq!(error.code(), Some(code), "{arguments}: {error}");
    }
    let none = Uuid::new_v4().to_string();
    assert_eq!(resolve(&mut host, json!({ "use": 1 }), &none).expect_err("none").code(), Some("not_found"));
    assert_eq!(show(&host, &id)["status"], "pending_manual_resolution");
}

#[test]
fn who_is_to_decide_is_said_and_audited() {
    let (host, _, id) = in_conflict();
    let assign = |who: Value| json!({ "conflict_id": id, "assigned_to": who, "user_id": "boss" });
    let record = ask(&host, "assign", &assign(json!("carol"))).expect("assigned");
    assert_eq!(
        (&record["assigned_to"], &record["competing_changes"][0]["new_value"]),
        (&json!("carol"), &json!("b"))
    );
    assert_eq!(ids(&ask(&host, "list", &json!({ "assigned_to": "carol" })).expect("a list")), [&id]);
    assert_eq!(
        ask(&host, "list", &json!({ "assigned_to": "dave" })).expect("a list")["conflicts"],
        json!([])
    );
    let notice = host.notices().pop().expect("a notice");
    assert_eq!(
        (&notice["event_type"], &notice["metadata"]["assigned_to"]),
        (&json!("conflict_assigned"), &json!("carol"))
    );
    let audit = host.audit();
    let entry = audit.last().expect("an entry");
    assert_eq!((&entry["event_type"], &entry["user_id"]), (&json!("conflict_assigned"), &json!("boss")));
    let nobody = ask(&host, "assign", &assign(Value::Null)).expect("taken back");
    assert_eq!(nobody["assigned_to"], Value::Null);
}

//! Conflicts that a person decides.

use super::*;
use crate::manual::{self, Time};
use lockstep_plugin_api::source::OutcomeResult;
use notices::context_of;

const DAY_US: i64 = 86_400_000_000;

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
fn d_44b_a_late_change_reopens_and_the_old_record_says_where_it_goes_on() {
    let (mut host, base, first) = in_conflict();
    ask(&host, "assign", &json!({ "conflict_id": first, "assigned_to": "carol" })).expect("assigned");
    let second =
        host.set("d", json!({ "base": base })).resolution["conflict_id"].as_str().expect("an id").to_owned();
    assert_ne!(first, second);
    let old = show(&host, &first);
    assert_eq!((&old["status"], &old["superseded_by"]), (&json!("superseded"), &json!(second)));
    assert_eq!(old["competing_changes"][0]["withheld"], "superseded");
    let new = show(&host, &second);
    assert_eq!((&new["supersedes"], &new["assigned_to"]), (&json!(first), &json!("carol")));
    assert_eq!((&new["open_since"], &new["n_changes"]), (&old["open_since"], &json!(3)));
    let notice = host.notices().pop().expect("a notice");
    assert_eq!(notice["metadata"]["superseded_record"]["superseded_by"], json!(second));
    let error = resolve(&mut host, json!({ "use": 1 }), &first).expect_err("it goes on elsewhere");
    assert_eq!(error.code(), Some("conflict"));

    // A change that nobody knew when it was decided.
    let decided = resolve(&mut host, json!({ "use": 3 }), &second).expect("resolved");
    let third =
        host.set("e", json!({ "base": base })).resolution["conflict_id"].as_str().expect("an id").to_owned();
    let old = show(&host, &second);
    assert_eq!((&old["status"], &old["superseded_by"]), (&json!("superseded"), &json!(third)));
    assert_eq!(old["resolution"]["event_id"], decided["winning_change"], "what was decided is not forgotten");
    assert_eq!(show(&host, &third)["supersedes"], json!(second));
    assert_eq!(ids(&ask(&host, "list", &json!({})).expect("a list")), [&third]);
    assert_eq!(ids(&ask(&host, "list", &json!({ "status": "over" })).expect("a list")), [&second, &first]);
}

#[test]
fn a_decision_about_what_stands_no_more_is_refused() {
    let (mut host, base, id) = in_conflict();
    let claim = json!({ "config_key": "app.x", "new_value": "z", "metadata": { "resolves_conflict": id } });
    let late = json!({ "config_key": "app.x", "new_value": "z", "base": base, "metadata": { "resolves_conflict": id } });
    assert_eq!(host.take(&late).expect_err("it has not seen them").code(), Some("conflict"));
    host.set("d", json!({ "base": base }));
    assert_eq!(host.take(&claim).expect_err("another one stands").code(), Some("conflict"));
    let wrong = json!({ "config_key": "app.x", "new_value": 1, "metadata": { "resolves_conflict": 5 } });
    assert_eq!(host.take(&wrong).expect_err("no id").code(), Some("bad_message"));
    // Who does not say which conflict it is about decides what stands.
    assert!(host.set("z", json!({})).entry.get("siblings").is_none());
    assert_eq!(host.take(&claim).expect_err("nothing stands").code(), Some("conflict"));
}

#[test]
fn two_hosts_name_one_conflict_alike_and_a_decision_ends_it_on_both() {
    let (mut here, mut there) = (manual(), manual());
    let first = here.set("a", json!({})).entry;
    there.write(&first);
    let (one, two) = (here.set("b", json!({})).entry, there.set("c", json!({ "user_id": "adam" })).entry);
    let ids = [here.write(&two), there.write(&one)].map(|answer| answer.resolution["conflict_id"].clone());
    assert_eq!(ids[0], ids[1]);
    let id = ids[0].as_str().expect("an id");
    resolve(&mut here, json!({ "use": 2, "user_id": "carol" }), id).expect("resolved");
    let decision = here.memory.append([]);
    let context = context_of(&here.memory);
    let EntryAt::Entry(entry) = context.entry_at(None, "app.x", decision).expect("readable") else {
        panic!("an entry")
    };
    there.write(&entry.json().expect("JSON"));
    for host in [&here, &there] {
        let record = show(host, id);
        assert_eq!(
            (&record["status"], &record["resolution"]["user_id"]),
            (&json!("resolved"), &json!("carol"))
        );
    }
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

#[test]
fn d_44b_whoever_has_to_decide_is_told_again_and_urgently_before_the_record_ends() {
    let (mut host, _, id) = in_conflict();
    let context = context_of(&host.memory);
    let patience = crate::config::Patience {
        remind_every: Duration::from_secs(86_400),
        escalate_after: Duration::from_secs(6 * 86_400),
        keep_decided: Duration::from_secs(90 * 86_400),
    };
    let now_us = time::now_us();
    let look = |after_us: i64| {
        let interval = Duration::from_secs(10);
        let n = manual::look_through(&context, patience, interval, Time(now_us + after_us)).expect("looked");
        sweep::sweep(&context, interval, now_us + after_us).expect("swept");
        n
    };
    assert_eq!((look(5_000_000), host.notices().len()), (1, 1), "it has just been told");
    let told = |host: &Host| host.notices().last().expect("a notice")["metadata"].clone();
    for (after_us, n_notices, is_urgent) in [
        (11_000_000, 2, false),
        (60_000_000, 2, false),
        (DAY_US + 12_000_000, 3, false),
        (6 * DAY_US, 4, true),
        (6 * DAY_US + 2_000_000, 4, true),
        (8 * DAY_US, 5, true),
    ] {
        assert_eq!(look(after_us), 1);
        assert_eq!(host.notices().len(), n_notices, "{after_us}");
        assert!(told(&host)["open_since"].is_string() && told(&host)["expires_at"].is_string());
        assert_eq!(told(&host).get("escalated").is_some(), is_urgent, "{after_us}");
    }
    let expires = time::parse_us(told(&host)["expires_at"].as_str().expect("text")).expect("a time");
    assert!((expires - now_us - 7 * DAY_US).abs() < 60_000_000);
    assert_eq!(look(400 * DAY_US), 1, "what is not decided is never forgotten");

    resolve(&mut host, json!({ "use": 1 }), &id).expect("resolved");
    assert_eq!(look(89 * DAY_US), 0);
    assert_eq!(show(&host, &id)["status"], "resolved");
    look(91 * DAY_US);
    let error = ask(&host, "show", &json!({ "conflict_id": id })).expect_err("forgotten");
    assert_eq!(error.code(), Some("not_found"));
}

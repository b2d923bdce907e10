//! What an author hears, and what its entry says.

use super::*;

#[test]
fn a_change_gets_its_place_and_says_what_it_replaced() {
    let mut host = Host::new(&json!({}));
    let first = host.set("a", json!({})).entry;
    assert_eq!(first["event_type"], "config_created");
    assert!(first.get("old_value").is_none() && first.get("siblings").is_none());
    assert_eq!((&first["ctx"], &first["source_node"]), (&json!({}), &json!("node-test")));
    assert_eq!(first["strategy"], "last_write_wins");
    assert!(first["dot"]["node"].as_str().expect("a node").starts_with("node-test@"));
    let event_id: Uuid = first["event_id"].as_str().expect("an id").parse().expect("a UUID");
    assert_eq!(event_id.get_version_num(), 7);

    let second = host.set("b", json!({ "event_id": "mine" }));
    assert!(second.resolution.is_null(), "nobody else wrote");
    let second = second.entry;
    assert_eq!((&second["event_type"], &second["old_value"]), (&json!("config_updated"), &json!("a")));
    assert_eq!((&second["event_id"], &second["dot"]["seq"]), (&json!("mine"), &json!(2)));
    assert_eq!(second["ctx"][first["dot"]["node"].as_str().expect("a node")], 1);
    let hlc = |entry: &Value| entry["hlc"].as_str().expect("text").parse::<crate::clock::Hlc>().expect("HLC");
    assert!(hlc(&second) > hlc(&first));

    let deletion = json!({ "config_key": "app.x", "event_type": "config_deleted", "new_value": "left over" });
    let deleted = host.write(&deletion).entry;
    assert_eq!((&deleted["old_value"], &deleted["new_value"]), (&json!("b"), &Value::Null));
    assert_eq!(host.memory.gauge("resolver_tombstones"), 1);
    assert_eq!(host.set("c", json!({})).entry["event_type"], "config_created");
    assert_eq!(host.memory.gauge("resolver_tombstones"), 0);
}

#[test]
fn a_stale_base_is_resolved_and_both_sides_are_named() {
    for (strategy, won) in [("last_write_wins", true), ("first_write_wins", false)] {
        let mut host = Host::new(&json!({ "strategy": strategy }));
        let base = host.set("a", json!({})).revision;
        let theirs = host.set("b", json!({})).entry["event_id"].clone();
        let answer = host.set("c", json!({ "base": { "epoch": host.memory.epoch(), "revision": base } }));
        let mine = answer.entry["event_id"].clone();
        let (winner, loser) = if won { (&mine, &theirs) } else { (&theirs, &mine) };
        assert_eq!(
            answer.resolution,
            json!({ "resolved_value": if won { "c" } else { "b" }, "resolution_method": strategy,
                "winning_change": winner, "discarded_changes": [loser], "base_revision": base,
                "resolved_revision": answer.revision, "siblings": 2, "won": won,
                "conflicts": [{ "path": "", "kind": "edit_edit", "base": "a", "values": ["b", "c"] }] })
        );
        assert_eq!(answer.entry["new_value"], if won { "c" } else { "b" });
        assert_eq!(answer.entry["old_value"], "b");
        let siblings = answer.entry["siblings"].as_array().expect("siblings");
        let values: Vec<_> = siblings.iter().map(|one| (&one["old_value"], &one["new_value"])).collect();
        assert_eq!(values, [(&json!("a"), &json!("b")), (&json!("a"), &json!("c"))]);
    }
}

#[test]
fn a_change_under_a_lock_with_a_stale_base_is_refused_whatever_the_strategy() {
    for strategy in ["last_write_wins", "merge_strategies", "operational_transform"] {
        let mut host = Host::new(&json!({ "strategy": strategy }));
        let base = host.set("a", json!({})).revision;
        let fenced = |base: u64, rest: Value| {
            let mut change =
                json!({ "config_key": "app.x", "new_value": "c", "base": base, "fence": { "token": 1 } });
            change.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
            change
        };
        let current = host.write(&fenced(base, json!({}))).revision;
        let deletion = json!({ "event_type": "config_deleted" });
        for stale in [fenced(base, json!({})), fenced(base, deletion), fenced(0, json!({}))] {
            assert_eq!(
                host.take(&stale).expect_err("refused").code(),
                Some("conflict"),
                "{strategy} {stale}"
            );
        }
        assert!(host.notices().is_empty(), "nothing stands beside it");
        host.write(&fenced(current, json!({})));
    }
}

#[test]
fn two_changes_of_one_batch_meet_each_other() {
    let mut host = Host::new(&json!({}));
    let base = host.set("a", json!({})).revision;
    let change =
        |value: u8| Record::new(format!(r#"{{"config_key":"app.x","new_value":{value},"base":{base}}}"#));
    let applied = host.resolver.apply(vec![change(1), change(2)]).expect("applied");
    assert_eq!((applied.out.len(), applied.told.len(), applied.told[0].0), (2, 1, 2));
}

#[test]
fn a_base_that_is_current_is_an_ordinary_change() {
    let mut host = Host::new(&json!({}));
    let base = host.set("a", json!({})).revision;
    let answer = host.set("b", json!({ "base": base }));
    assert!(answer.resolution.is_null() && answer.entry.get("siblings").is_none());
    let answer = host.set("c", json!({ "base": { "revision": answer.revision }, "fence": { "token": 1 } }));
    assert!(answer.resolution.is_null());
    assert!(host.notices().is_empty() && host.audit().is_empty());
}

#[test]
fn a_base_from_before_the_key_knows_nothing_of_it() {
    let mut host = Host::new(&json!({}));
    let other = host.write(&json!({ "config_key": "app.other", "new_value": 1 })).revision;
    host.set("a", json!({}));
    let answer = host.set("b", json!({ "base": other }));
    assert_eq!(answer.resolution["siblings"], 2);
    assert_eq!(answer.entry["ctx"], json!({}));
}

#[test]
fn a_base_that_is_not_known_here_is_answered_so() {
    let mut host = Host::new(&json!({}));
    let first = host.set("a", json!({})).revision;
    let last = host.set("b", json!({})).revision;
    host.memory.compact(last);
    for base in [json!(last + 1), json!({ "epoch": "another", "revision": first }), json!(first)] {
        let change = json!({ "config_key": "app.x", "new_value": "c", "base": base });
        let error = host.take(&change).expect_err("unknown");
        assert_eq!(error.code(), Some("unknown_base"), "{base}");
    }
    let error =
        host.take(&json!({ "config_key": "app.x", "new_value": "c", "base": {} })).expect_err("no base");
    assert_eq!(error.code(), Some("bad_message"));
    assert!(host.set("c", json!({ "base": last })).resolution.is_null(), "the current one is kept");
}

#[test]
fn what_makes_no_change_is_refused_by_name() {
    let mut host = Host::new(&json!({}));
    for (change, code) in [
        (json!({ "config_key": "app.x", "event_type": "config_deleted" }), "not_found"),
        (json!({ "config_key": "app..x", "new_value": 1 }), "bad_key"),
        (json!({ "config_key": "app.x", "tenant_id": "global", "new_value": 1 }), "bad_tenant"),
        (json!({ "new_value": 1 }), "bad_message"),
    ] {
        assert_eq!(host.take(&change).expect_err("refused").code(), Some(code), "{change}");
    }
    assert!(host.memory.state("resolver", b"n").is_none(), "no number was used up");
}

#[test]
fn the_first_rule_that_fits_a_key_gives_its_strategy() {
    let rules = json!([
        { "match": "app.first.*", "strategy": "first_write_wins" },
        { "match": "app.*", "strategy": "last_write_wins" },
        { "match": "text.*", "strategy": "ot" },
        { "match": "counter.*", "strategy": "merge", "merge": { "numbers": "delta" } },
        { "match": "set.*", "strategy": "merge_strategies" },
    ]);
    let merge = json!({ "lists": "atomic" });
    let mut host = Host::new(&json!({ "strategy": "first_write_wins", "merge": merge, "strategies": rules }));
    for (key, strategy) in [
        ("app.first.x", "first_write_wins"),
        ("app.x", "last_write_wins"),
        ("x", "first_write_wins"),
        ("text.x", "operational_transform"),
        ("counter.x", "merge_strategies(numbers=delta)"),
        ("set.x", "merge_strategies(lists=atomic)"),
        ("set.port", "merge_strategies(numbers=last_write_wins,lists=atomic)"),
    ] {
        let change = json!({ "config_key": key, "new_value": 1, "strategy": "manual_resolution" });
        assert_eq!(host.write(&change).entry["strategy"], strategy, "{key}");
    }
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_its_place() {
    assert!(
        refused(&json!({ "strategy": "newest" })).message().contains("conflict resolution strategy: newest")
    );
    let misplaced =
        json!({ "strategies": [{ "match": "*", "strategy": "ot", "merge": { "numbers": "delta" } }] });
    assert_eq!(refused(&misplaced).detail(), "strategies.0.merge");
    for (field, value) in [
        ("max_clock_ahead", "2d"),
        ("escalate_after", "7d"),
        ("escalate_after", "0s"),
        ("remind_every", "1ms"),
    ] {
        let error = refused(&json!({ field: value }));
        assert_eq!((error.kind(), error.detail()), (ErrorKind::CONFIG, field), "{value}");
    }
    assert_eq!(
        refused(&json!({ "strategies": [{ "match": "[", "strategy": "last_write_wins" }] })).detail(),
        "strategies.0.match"
    );
}

#[test]
fn an_author_who_never_reads_again_does_not_fill_the_store() {
    let mut host = Host::new(&json!({}));
    let base = host.set("a", json!({})).revision;
    let change = json!({ "config_key": "app.x", "new_value": 1, "base": base });
    let taken = (0..2 * MOST_SIBLINGS).filter(|_| host.take(&change).is_ok()).count();
    assert!(taken <= MOST_SIBLINGS + 1, "{taken}");
    assert_eq!(host.take(&change).expect_err("too many").code(), Some("conflict"));
    assert!(host.set("all read", json!({})).entry.get("siblings").is_none());
}

/// Every entry of a key in conflict holds all of its siblings: a few large ones weigh as much as many small ones.
#[test]
fn an_author_that_never_reads_does_not_fill_the_store_with_large_values_either() {
    let mut host = Host::new(&json!({}));
    let base = host.write(&json!({ "config_key": "app.other", "new_value": 1 })).revision;
    let value = "x".repeat(1 << 20);
    let change = json!({ "config_key": "app.x", "new_value": value, "base": base });
    let taken = (0..20).filter(|_| host.take(&change).is_ok()).count();
    assert!((4..=8).contains(&taken), "{taken} of 1 MiB");
    assert_eq!(host.take(&change).expect_err("too much").code(), Some("conflict"));
    host.set(&value, json!({}));
    assert!(host.set("small", json!({})).resolution.is_null(), "who has read goes on");
}

#[test]
fn the_guides_call_answers_in_its_shape_and_reaches_the_audit() {
    let host = Host::new(&json!({}));
    let changes = json!([
        { "new_value": "B", "timestamp": "2024-01-01T12:00:05" },
        { "new_value": "A", "timestamp": "2024-01-01T12:00:00" },
    ]);
    let mut call =
        json!({ "config_key": "app.x", "competing_changes": changes, "strategy": "first_write_wins" });
    let result = host.memory.call("resolver.resolve_conflict", &call).expect("an answer");
    assert_eq!((&result["resolved_value"], &result["winning_change"]), (&json!("A"), &changes[1]));
    let [entry] = &host.audit()[..] else { panic!("one entry") };
    assert_eq!((&entry["competing_changes_count"], &entry["resolved_value"]), (&json!(2), &json!("A")));

    call["strategy"] = json!("newest");
    let error = host.memory.call("resolver.resolve_conflict", &call).expect_err("unknown");
    assert_eq!(error.message(), "Unknown conflict resolution strategy: newest");
    call = json!({ "config_key": "app.x", "competing_changes": [] });
    let error = host.memory.call("resolver.resolve_conflict", &call).expect_err("nothing");
    assert_eq!(error.code(), Some("no_changes"));
}

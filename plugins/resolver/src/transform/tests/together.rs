//! Values that are made of several changes: by operations, and by merging.

use super::*;

/// A host whose key `app.x` holds `value`, and that revision.
fn holding(strategy: &str, value: Value) -> (Host, u64) {
    let mut host = Host::new(&json!({ "strategy": strategy }));
    let revision = host.write(&json!({ "config_key": "app.x", "new_value": value })).revision;
    (host, revision)
}

fn change(value: Value, base: u64, author: &str) -> Value {
    json!({ "config_key": "app.x", "new_value": value, "base": base, "user_id": author,
        "timestamp": "2024-01-01T12:00:00Z" })
}

/// A stamp that is later than every one of this test so far.
fn later() -> String {
    static LATER: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(10);
    let n = LATER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{}-0", time::now_us() / 1000 + n)
}

fn operated(ops: Value, base: u64) -> Value {
    json!({ "config_key": "app.x", "ops": ops, "base": base })
}

#[test]
fn a_change_with_an_older_base_is_carried_forward_and_stands_alone() {
    let (mut host, base) = holding("ot", json!("the quick fox"));
    let theirs = host.write(&change(json!("the very quick fox"), base, "eve")).entry;
    assert_eq!(theirs["ops"], json!([{"es": [4, "very "]}]));
    let mine = host.write(&change(json!("the quick fox jumps"), base, "adam"));
    assert_eq!(mine.entry["new_value"], "the very quick fox jumps");
    assert_eq!(mine.entry["old_value"], "the very quick fox");
    assert_eq!(mine.entry["ops"], json!([{"es": [18, " jumps"]}]));
    assert!(mine.entry.get("siblings").is_none(), "nothing stands beside it");
    assert_eq!(
        (&mine.entry["user_id"], &mine.entry["timestamp"]),
        (&json!("adam"), &json!("2024-01-01T12:00:00.000000Z")),
        "it keeps its author and its time"
    );
    assert_eq!(
        mine.resolution,
        json!({ "resolved_value": "the very quick fox jumps", "resolution_method": "operational_transform",
            "operations_applied": 2, "base_value": "the quick fox", "base_revision": base, "conflicts": [],
            "resolved_revision": mine.revision,
            "applied_changes": [theirs["event_id"], mine.entry["event_id"]], "discarded_changes": [], "siblings": 1 })
    );
    assert!(host.notices().is_empty(), "there is no open conflict");
    let [entry] = &host.audit()[..] else { panic!("one entry") };
    assert_eq!(
        (&entry["resolution_method"], &entry["competing_changes_count"]),
        (&json!("operational_transform"), &json!(2))
    );
    assert_eq!(
        (host.memory.counter("conflicts_detected"), host.memory.counter("conflicts_resolved")),
        (1, 1)
    );
}

#[test]
fn a_change_is_carried_over_everything_that_was_committed_since() {
    let (mut host, base) = holding("ot", json!({ "list": [1, 2, 3], "text": "abc", "n": 1 }));
    host.write(&operated(json!(["list", 0, {"i": 9}]), base));
    let other = json!({ "config_key": "app.other", "new_value": 1 });
    host.write(&other);
    host.write(&json!({ "config_key": "app.x", "ops": ["text", {"es": [{"d": 1}]}] }));
    host.write(&operated(json!(["n", {"ena": 4}]), base));
    let mine = host.write(&operated(
        json!([["list", 2, {"r": true}], ["text", {"es": [3, "d"]}], ["n", {"ena": 2}]]),
        base,
    ));
    assert_eq!(mine.entry["new_value"], json!({ "list": [9, 1, 2], "text": "bcd", "n": 7 }));
    assert_eq!(
        (&mine.resolution["operations_applied"], &mine.resolution["conflicts"]),
        (&json!(4), &json!([]))
    );
}

#[test]
fn two_operations_of_one_batch_meet_each_other() {
    let (mut host, base) = holding("ot", json!("abc"));
    let change = |ops: Value| Record::new(operated(ops, base).to_string());
    let applied =
        host.resolver.apply(vec![change(json!([1, "x"])), change(json!([1, "y"])), change(json!([3, "z"]))]);
    let last = applied.expect("applied").out.pop().expect("an entry");
    let entry: Value = serde_json::from_slice(&last.value().expect("a value")).expect("JSON");
    assert_eq!((&entry["new_value"], entry.get("siblings")), (&json!("axybcz"), None));
}

#[test]
fn clashes_while_it_is_carried_are_told_and_open_nothing() {
    let (mut host, base) = holding("ot", json!({ "a": 1, "b": 1 }));
    host.write(&change(json!({ "a": 2, "b": 1 }), base, "eve"));
    let mine = host.write(&change(json!({ "a": 3, "b": 5 }), base, "adam"));
    assert_eq!(mine.entry["new_value"], json!({ "a": 2, "b": 5 }));
    assert_eq!(
        mine.resolution["conflicts"],
        json!([{ "path": "/a", "kind": "edit_edit", "base": 1, "values": [2, 3] }])
    );
    assert!(mine.entry.get("siblings").is_none());
}

#[test]
fn d_40_a_whole_value_is_not_carried_and_the_last_one_wins() {
    let (mut host, base) = holding("ot", json!("some text"));
    host.write(&change(json!([1]), base, "eve"));
    let mine = host.write(&change(json!("some text!"), base, "adam"));
    assert_eq!((&mine.entry["new_value"], &mine.resolution["siblings"]), (&json!("some text!"), &json!(2)));
    assert_eq!(mine.resolution["resolution_method"], "operational_transform");
    assert_eq!(mine.resolution["conflicts"][0]["values"], json!([[1], "some text!"]));
    assert_eq!(host.notices().len(), 1, "the other author hears of it");
}

#[test]
fn whoever_edits_wins_over_whoever_deletes_and_both_are_told() {
    for strategy in ["ot", "merge"] {
        let (mut host, base) = holding(strategy, json!({ "a": 1 }));
        host.write(&change(json!({ "a": 1, "b": 2 }), base, "eve"));
        let gone = json!({ "config_key": "app.x", "event_type": "config_deleted", "base": base });
        let mine = host.write(&gone);
        assert_eq!(mine.entry["new_value"], json!({ "a": 1, "b": 2 }), "{strategy}");
        assert_eq!(mine.resolution["conflicts"][0]["kind"], "delete_edit");
        assert_eq!(mine.resolution["discarded_changes"], json!([mine.entry["event_id"]]));
    }
}

#[test]
fn nobody_closes_a_conflict_that_it_has_not_seen() {
    let (mut host, base) = holding("ot", json!("text"));
    host.write(&change(json!([1]), base, "eve"));
    host.write(&change(json!("text of adam"), base, "adam"));
    let late = host.write(&change(json!("my text"), base, "carol"));
    assert_eq!(
        (&late.entry["new_value"], &late.resolution["siblings"]),
        (&json!("my text of adam"), &json!(3))
    );
    let read = host.write(&json!({ "config_key": "app.x", "ops": [0, "!"] }));
    assert_eq!((&read.entry["new_value"], read.entry.get("siblings")), (&json!("!my text of adam"), None));
}

#[test]
fn a_change_is_carried_over_siblings_that_all_had_their_way() {
    let (mut host, mut other) =
        (Host::new(&json!({ "strategy": "ot" })), Host::new(&json!({ "strategy": "ot" })));
    let first = host.write(&json!({ "config_key": "app.x", "new_value": "one two" }));
    other.write(&first.entry);
    let foreign = other.write(&json!({ "config_key": "app.x", "new_value": "one two three" })).entry;
    let own = host.write(&json!({ "config_key": "app.x", "new_value": "zero one two" }));
    let joined = host.write(&foreign).entry;
    assert_eq!(joined["new_value"], "zero one two three");
    assert_eq!(joined["siblings"].as_array().map(Vec::len), Some(2));
    // Made from what only this host's author had written.
    let late = host.write(&change(json!("zero 1 two"), own.revision, "carol"));
    assert_eq!((&late.entry["new_value"], late.entry.get("siblings")), (&json!("zero 1 two three"), None));
    assert_eq!(other.write(&late.entry).entry["new_value"], "zero 1 two three");
}

#[test]
fn siblings_of_one_base_are_transformed_alike_on_every_host() {
    let config = json!({ "strategy": "ot" });
    let mut hosts = [Host::new(&config), Host::new(&config), Host::new(&config)];
    let first = hosts[0].write(&json!({ "config_key": "app.x", "new_value": ["a", "b", "c"] })).entry;
    hosts[1].write(&first);
    hosts[2].write(&first);
    let ops = [json!([1, {"i": "x"}]), json!([1, {"i": "y"}]), json!([0, {"r": true}])];
    let entries: Vec<Value> = hosts
        .iter_mut()
        .zip(ops)
        .map(|(host, ops)| host.write(&json!({ "config_key": "app.x", "ops": ops, "hlc": later() })).entry)
        .collect();
    let shown = |host: &mut Host, order: [usize; 3]| {
        let mut last = Value::Null;
        for at in order {
            if let Some(answer) = host.take(&entries[at]).expect("taken in") {
                last = answer.entry;
            }
        }
        last
    };
    let [one, two, three] = &mut hosts;
    let entries = [shown(one, [1, 2, 0]), shown(two, [2, 0, 1]), shown(three, [0, 1, 2])];
    assert_eq!(entries[0]["new_value"], json!(["x", "y", "b", "c"]));
    assert!(entries.iter().all(|entry| entry["new_value"] == entries[0]["new_value"]));
    assert!(entries.iter().all(|entry| entry["siblings"] == entries[0]["siblings"]));
}

#[test]
fn siblings_of_one_base_are_merged_and_the_notice_names_them() {
    let (mut host, base) = holding("merge_strategies", json!({ "pool": { "min": 1, "max": 5 }, "gone": 1 }));
    let one = host.write(&change(json!({ "pool": { "min": 2, "max": 5 }, "gone": 1 }), base, "eve"));
    assert!(one.resolution.is_null());
    let two = host.write(&change(json!({ "pool": { "min": 1, "max": 9 } }), base, "adam"));
    assert_eq!(two.entry["new_value"], json!({ "pool": { "min": 2, "max": 9 } }));
    assert_eq!(
        two.resolution,
        json!({ "resolved_value": { "pool": { "min": 2, "max": 9 } }, "resolution_method": "dictionary_merge",
            "merged_sources": 2, "base_revision": base, "resolved_revision": two.revision, "conflicts": [],
            "siblings": 2,
            "applied_changes": [one.entry["event_id"], two.entry["event_id"]], "discarded_changes": [] })
    );
    let [notice] = &host.notices()[..] else { panic!("one notice") };
    assert_eq!(notice["metadata"]["applied_changes"], two.resolution["applied_changes"]);
    assert_eq!(notice["new_value"], two.entry["new_value"]);
    let [entry] = &host.audit()[..] else { panic!("one entry") };
    assert_eq!(
        (&entry["resolution_strategy"], &entry["resolution_method"], &entry["merged_sources"]),
        (&json!("merge_strategies"), &json!("dictionary_merge"), &json!(2))
    );
    let next = host.write(&json!({ "config_key": "app.x", "new_value": {} }));
    assert_eq!(next.entry["old_value"], two.entry["new_value"], "it was made from the merged value");
    assert!(next.entry.get("siblings").is_none());
}

#[test]
fn the_policy_travels_with_the_change() {
    let mut host = Host::new(&json!({ "strategy": "merge", "merge": { "numbers": "delta" } }));
    let base = host.write(&json!({ "config_key": "app.x", "new_value": 10 })).revision;
    let one = host.write(&change(json!(12), base, "eve")).entry;
    let two = host.write(&change(json!(12), base, "adam"));
    assert_eq!(
        (&two.entry["new_value"], &two.resolution["resolution_method"]),
        (&json!(14), &json!("numeric_delta"))
    );
    assert_eq!(two.entry["strategy"], "merge_strategies(numbers=delta)");
    // Another host has another configuration, and shows the same.
    let mut other = Host::new(&json!({}));
    other.write(&one);
    assert_eq!(other.write(&two.entry).entry["new_value"], 14);
}

#[test]
fn a_change_that_is_carried_forward_and_of_which_nothing_is_left_is_discarded() {
    let (mut host, base) = holding("ot", json!({ "n": 1 }));
    let one = host.write(&change(json!({ "n": 2 }), base, "eve")).entry["event_id"].clone();
    let two = host.write(&change(json!({ "n": 3 }), base, "adam"));
    assert_eq!(
        (&two.resolution["resolved_value"], &two.resolution["operations_applied"]),
        (&json!({ "n": 2 }), &json!(1))
    );
    let fates = (&two.resolution["applied_changes"], &two.resolution["discarded_changes"]);
    assert_eq!(fates, (&json!([one]), &json!([two.entry["event_id"]])));
}

#[test]
fn d_44_rules_for_places_travel_with_the_change() {
    let paths = json!([{ "match": "/workers", "type": "integer", "x-merge": "average" }, { "match": "/max", "x-merge": "max" }]);
    let mut host = Host::new(&json!({ "strategy": "merge", "merge": { "paths": paths } }));
    let of = |workers: u8, max: u8| json!({ "workers": workers, "max": max });
    let base = host.write(&json!({ "config_key": "app.x", "new_value": of(0, 0) })).revision;
    let one = host.write(&change(of(2, 9), base, "eve")).entry;
    let two = host.write(&change(of(3, 8), base, "adam"));
    assert_eq!(two.entry["new_value"], of(2, 9), "half to even, and the greatest");
    let stamped = two.entry["strategy"].as_str().expect("a strategy");
    assert!(
        stamped.starts_with("merge_strategies({") && stamped.contains("\"x-merge\":\"max\""),
        "{stamped}"
    );
    // Another host has another configuration, and shows the same.
    let mut other = Host::new(&json!({}));
    other.write(&one);
    assert_eq!(other.write(&two.entry).entry["new_value"], of(2, 9));
    assert_eq!(
        host.write(&change(of(1, 1), base, "carol")).entry["new_value"],
        of(2, 9),
        "it is read as it was stored"
    );
}

#[test]
fn a_merge_tells_everybody_who_is_in_it_and_who_is_not() {
    let (mut host, base) = holding("merge", json!({ "n": 1 }));
    let one = host.write(&change(json!({ "n": 2 }), base, "eve")).entry["event_id"].clone();
    let two = host.write(&change(json!({ "n": 3 }), base, "adam"));
    assert_eq!(two.entry["new_value"], json!({ "n": 3 }));
    let fates = (json!([two.entry["event_id"]]), json!([one]));
    let of = |told: &Value| (told["applied_changes"].clone(), told["discarded_changes"].clone());
    assert_eq!(of(&two.resolution), fates, "the author");
    assert_eq!(of(&host.notices().pop().expect("a notice")["metadata"]), fates, "subscribers");
    assert_eq!(of(host.audit().last().expect("an entry")), fates, "the audit");
}

#[test]
fn d_44_numbers_that_name_something_have_no_mean() {
    for (key, shown) in [("app.db.pool", json!(5932.5)), ("app.db.port", json!(6433))] {
        let mut host = Host::new(&json!({ "strategy": "merge" }));
        let seen = host.write(&json!({ "config_key": "app.other", "new_value": 1 })).revision;
        let create = |value: u16| json!({ "config_key": key, "new_value": value, "base": seen });
        host.write(&create(5432));
        assert_eq!(host.write(&create(6433)).entry["new_value"], shown, "{key}");
    }
}

#[test]
fn d_33_changes_of_different_bases_are_named_and_the_last_one_wins() {
    let mut host = Host::new(&json!({ "strategy": "ot" }));
    let mut other = Host::new(&json!({ "strategy": "ot" }));
    let first = host.write(&json!({ "config_key": "app.x", "new_value": "one" })).entry;
    other.write(&first);
    host.write(&json!({ "config_key": "app.x", "new_value": "one two" }));
    let here = host.write(&json!({ "config_key": "app.x", "new_value": "one two three" })).entry;
    let there = json!({ "config_key": "app.x", "new_value": "zero one", "hlc": later() });
    let there = other.write(&there).entry;
    let (mine, theirs) = (host.write(&there), other.write(&here));
    assert_eq!(mine.entry["new_value"], theirs.entry["new_value"]);
    assert_eq!(mine.entry["new_value"], "zero one");
    let expected = json!([{ "path": "", "kind": "edit_edit", "values": ["one two three", "zero one"] }]);
    assert_eq!(mine.resolution["conflicts"], expected);
    assert_eq!(mine.resolution["resolution_method"], "last_write_wins");
}

#[test]
fn operations_that_do_not_fit_are_refused_and_leave_no_trace() {
    let (mut host, base) = holding("ot", json!("abc"));
    let numbers = host.memory.state("resolver", b"n");
    for ops in [json!([9, "x"]), json!(["a", {"r": true}]), json!("x"), json!([{"p": 0}])] {
        let error = host.take(&operated(ops.clone(), base)).expect_err("refused");
        assert_eq!(error.code(), Some("bad_message"), "{ops}");
    }
    assert_eq!(host.memory.state("resolver", b"n"), numbers);
}

#[test]
fn operations_make_no_value_that_is_longer_than_one_may_be() {
    for strategy in ["ot", "last_write_wins"] {
        let (mut host, base) = holding(strategy, json!("x"));
        let half = "y".repeat(600_000);
        host.write(&operated(json!([half]), base));
        // From the one that is there, and carried forward onto it.
        let newest = json!({ "config_key": "app.x", "ops": [half] });
        let code = |refused: Error| refused.code().map(str::to_owned);
        assert_eq!(host.take(&newest).map_err(code).expect_err("too long"), Some("too_large".to_owned()));
        if strategy == "ot" {
            let carried = host.take(&operated(json!([half]), base)).map_err(code);
            assert_eq!(carried.expect_err("too long"), Some("too_large".to_owned()));
        }
        // What is too long for other reasons can be made shorter.
        let long = "z".repeat(1_500_000);
        host.write(&json!({ "config_key": "app.x", "new_value": long }));
        host.write(&json!({ "config_key": "app.x", "ops": [{"d": 100_000}] }));
    }
}

//! The guide's call against the contract's golden vectors, and what its answer must not tell.

use super::*;
use serde_json::json;

const T: &str = "2024-01-01T12:00:00";
const T5: &str = "2024-01-01T12:00:05Z";

fn resolved(changes: &[Value], strategy: Strategy) -> Value {
    let (changes, resolution) = resolve_conflict(changes.to_vec(), &strategy).expect("resolved");
    let changes: Vec<&Value> = changes.iter().collect();
    let conflict_id = || conflict_id("app.x", &changes);
    serde_json::to_value(Fields::of(&resolution, &changes, None, conflict_id).expect("JSON")).expect("JSON")
}

/// The fields that the guide's result has.
fn guides(changes: &[Value], strategy: &str, fields: &[&str]) -> Value {
    let result = resolved(changes, strategy.parse().expect("a strategy"));
    let taken = fields.iter().map(|field| ((*field).to_owned(), result[*field].clone()));
    Value::Object(taken.collect())
}

fn change(value: Value, timestamp: &str) -> Value {
    json!({"new_value": value, "timestamp": timestamp})
}

/// The contract's golden vectors; the two forms of a timestamp are compared as instants.
#[test]
fn the_contracts_vectors_hold_for_last_and_first_write() {
    let (a, b) = (change(json!("A"), T), change(json!("B"), T5));
    let fields = ["resolved_value", "resolution_method", "winning_change", "discarded_changes"];
    for changes in [[b.clone(), a.clone()], [a.clone(), b.clone()]] {
        assert_eq!(
            guides(&changes, "last_write_wins", &fields),
            json!({"resolved_value": "B", "resolution_method": "last_write_wins",
                "winning_change": b, "discarded_changes": [a]})
        );
        assert_eq!(
            guides(&changes, "first_write_wins", &fields),
            json!({"resolved_value": "A", "resolution_method": "first_write_wins",
                "winning_change": a, "discarded_changes": [b]})
        );
    }
}

#[test]
fn the_contracts_vectors_hold_for_merges() {
    let merged = |values: [Value; 2], fields: &[&str]| {
        let [one, other] = values;
        guides(&[change(one, T), change(other, T5)], "merge", fields)
    };
    assert_eq!(
        merged(
            [json!({"a": 1}), json!({"b": 2})],
            &["resolved_value", "resolution_method", "merged_sources"]
        ),
        json!({"resolved_value": {"a": 1, "b": 2}, "resolution_method": "dictionary_merge", "merged_sources": 2})
    );
    let fields = ["resolved_value", "resolution_method", "original_length", "deduplicated_length"];
    assert_eq!(
        merged([json!([1, 2]), json!([2, 3])], &fields),
        json!({"resolved_value": [1, 2, 3], "resolution_method": "list_merge", "original_length": 4,
            "deduplicated_length": 3})
    );
    let fields = ["resolved_value", "resolution_method", "original_values", "min_value", "max_value"];
    assert_eq!(
        merged([json!(10), json!(20)], &fields),
        json!({"resolved_value": 15, "resolution_method": "numeric_average", "original_values": [10, 20],
            "min_value": 10, "max_value": 20})
    );
    for [one, other] in [[json!(true), json!(false)], [json!(1), json!("x")]] {
        assert_eq!(
            merged([one, other.clone()], &["resolved_value", "resolution_method"]),
            json!({"resolved_value": other, "resolution_method": "last_write_wins"})
        );
    }
}

#[test]
fn the_contracts_vector_holds_for_a_person_who_has_to_decide() {
    let (a, b) = (change(json!("A"), T), change(json!("B"), T5));
    let result = resolved(&[b.clone(), a.clone()], Strategy::ManualResolution);
    let id = result["conflict_id"].as_str().expect("an id").to_owned();
    assert_eq!(id.parse::<Uuid>().expect("a UUID").get_version_num(), 5);
    assert_eq!(
        result,
        json!({"resolved_value": null, "resolution_method": "manual_resolution_pending", "conflict_id": id,
            "requires_human_intervention": true, "shown_change": b, "discarded_changes": [],
            "base_revision": null,
            "conflicts": [{"path": "", "kind": "edit_edit", "values": ["A", "B"]}]})
    );
    let again = resolved(&[a.clone(), b], Strategy::ManualResolution);
    assert_eq!(again, result, "the order of the list has no say");
    let agreed = resolved(&[a.clone(), change(json!("A"), T5)], "manual".parse().expect("an alias"));
    assert_eq!(
        (&agreed["resolved_value"], &agreed["resolution_method"]),
        (&json!("A"), &json!("last_write_wins")),
        "everybody wants the same"
    );
}

/// The audit keeps the id, also of keys whose values it does not show.
#[test]
fn a_conflicts_id_tells_nothing_of_the_values() {
    let id = |one: Value, other: Value| {
        let changes = [change(one, T), change(other, T5)];
        resolved(&changes, Strategy::ManualResolution)["conflict_id"].clone()
    };
    assert_eq!(id(json!("1234"), json!("4321")), id(json!("hunter2"), json!({"a": 1})));
    let named = |names: Value| {
        let mut one = change(json!(1), T);
        one.as_object_mut().expect("an object").extend(names.as_object().expect("names").clone());
        conflict_id("app.x", &[&one, &change(json!(2), T5)])
    };
    let derived = lockstep_plugin_api::wire::derived_event_id(&[b"hunter2"]);
    assert_eq!(named(json!({})), named(json!({ "event_id": derived.as_str(), "ops": [], "why": "x" })));
    let others = [
        json!({}),
        json!({ "event_id": "a" }),
        json!({ "user_id": "a" }),
        json!({ "source_node": "a" }),
        json!({ "timestamp": T5 }),
        json!({ "hlc": "a" }),
    ];
    let ids: std::collections::BTreeSet<Uuid> = others.into_iter().map(named).collect();
    assert_eq!(ids.len(), 6, "who made them, when, and which");
}

#[test]
fn the_contracts_vectors_hold_for_operations() {
    let operated = |old: Value, ops: [Value; 2]| {
        let [one, other] = ops;
        let one = json!({"old_value": old, "ops": one, "timestamp": T});
        let other = json!({"old_value": old, "ops": other, "timestamp": T5});
        let forth = [one.clone(), other.clone()];
        let fields = ["resolved_value", "resolution_method", "operations_applied", "base_value"];
        let result = guides(&forth, "ot", &fields);
        assert_eq!(result, guides(&[other, one], "ot", &fields), "the order of the list has no say");
        result
    };
    let delete = |position: u8| json!({"op_type": "delete", "position": position, "length": 3});
    assert_eq!(
        operated(json!("abcdef"), [delete(0), delete(2)]),
        json!({"resolved_value": "f", "resolution_method": "operational_transform", "operations_applied": 2,
            "base_value": "abcdef"})
    );
    let insert = |content: u8| json!({"op_type": "insert", "position": 1, "content": content});
    let result = operated(json!([1, 2, 3]), [insert(9), insert(8)]);
    assert_eq!(result["resolved_value"], json!([1, 9, 8, 2, 3]));
}

/// The guide's own call has whole values and no operations: it took the first of them.
#[test]
fn d_36_changes_without_operations_are_compared_with_what_they_were_made_from() {
    let old = json!({"pool": {"min": 1, "max": 5}});
    let one = json!({"old_value": old, "new_value": {"pool": {"min": 2, "max": 5}}, "timestamp": T});
    let other = json!({"old_value": old, "new_value": {"pool": {"min": 1, "max": 9}}, "timestamp": T5});
    let result = resolved(&[one, other], Strategy::OperationalTransform);
    assert_eq!(result["resolved_value"], json!({"pool": {"min": 2, "max": 9}}));
    let whole = resolved(&[change(json!("A"), T), change(json!("B"), T5)], Strategy::OperationalTransform);
    assert_eq!((&whole["resolved_value"], &whole["base_value"]), (&json!("B"), &json!({})));
    assert_eq!(whole["resolution_method"], "operational_transform");
}

#[test]
fn d_21_timestamps_of_every_form_are_compared_as_instants() {
    let changes = [
        change(json!("naive"), "2024-01-01T12:00:00.5"),
        change(json!("zulu"), "2024-01-01T12:00:00Z"),
        change(json!("offset"), "2024-01-01T15:00:00+02:00"),
        json!({"new_value": "none"}),
    ];
    assert_eq!(resolved(&changes, Strategy::LastWriteWins)["resolved_value"], "offset");
    assert_eq!(resolved(&changes, Strategy::FirstWriteWins)["resolved_value"], "zulu");
}

#[test]
fn d_23_an_equal_change_of_somebody_else_is_discarded_and_not_forgotten() {
    let twice = json!({"new_value": 1, "timestamp": T});
    let result = resolved(&[twice.clone(), twice.clone()], Strategy::LastWriteWins);
    assert_eq!(result["discarded_changes"], json!([twice]));
}

#[test]
fn d_22_equal_timestamps_do_not_leave_the_choice_to_the_list() {
    let (x, y) = (json!({"new_value": "X", "timestamp": T}), json!({"new_value": "Y", "timestamp": T}));
    for strategy in [Strategy::LastWriteWins, Strategy::FirstWriteWins] {
        let forth = resolved(&[x.clone(), y.clone()], strategy.clone());
        assert_eq!(forth, resolved(&[y.clone(), x.clone()], strategy));
    }
}

#[test]
fn a_change_that_says_nothing_is_refused_and_not_taken_for_null() {
    for silent in [json!({"timestamp": T}), json!({"new_valu": 1}), json!({"ops": null}), json!(5)] {
        let changes = vec![change(json!(1), T), silent];
        let error = resolve_conflict(changes, &Strategy::LastWriteWins).expect_err("nothing is said");
        assert_eq!(error.code(), Some("bad_message"));
        assert!(error.message().contains("`competing_changes[1]` needs `new_value` or `ops`"), "{error}");
    }
    assert_eq!(resolved(&[change(Value::Null, T)], Strategy::LastWriteWins)["resolved_value"], Value::Null);
}

#[test]
fn a_merge_names_who_is_in_it_and_who_is_not() {
    let made = |n: u8, at: &str| json!({"old_value": {"n": 1}, "new_value": {"n": n}, "timestamp": at});
    let (one, other) = (made(2, T), made(3, T5));
    let told = resolved(&[one.clone(), other.clone()], "merge".parse().expect("an alias"));
    assert_eq!(
        (&told["resolved_value"], &told["resolution_method"]),
        (&json!({"n": 3}), &json!("dictionary_merge"))
    );
    assert_eq!((&told["applied_changes"], &told["discarded_changes"]), (&json!([other]), &json!([one])));
}

#[test]
fn d_41_one_change_is_a_result_and_none_is_an_error() {
    let alone = json!({"old_value": {}, "new_value": {"a": 1}});
    for (strategy, method) in [
        ("last_write_wins", "last_write_wins"),
        ("first_write_wins", "first_write_wins"),
        ("operational_transform", "operational_transform"),
        ("merge_strategies", "dictionary_merge"),
        ("manual_resolution", "last_write_wins"),
    ] {
        let strategy: Strategy = strategy.parse().expect("a strategy");
        let result = resolved(std::slice::from_ref(&alone), strategy.clone());
        assert_eq!(
            (&result["resolved_value"], &result["resolution_method"]),
            (&json!({"a": 1}), &json!(method))
        );
        assert_eq!((&result["discarded_changes"], &result["conflicts"]), (&json!([]), &json!([])));
        let error = resolve_conflict(Vec::new(), &strategy).expect_err("nothing");
        assert_eq!(error.code(), Some("no_changes"));
    }
}

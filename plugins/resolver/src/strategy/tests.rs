use super::*;
use crate::{
    merge::{Lists, Numbers, Strings},
    ot::diff::diff,
    value::Value,
};
use serde_json::{Value as Json, json};
use std::borrow::Borrow;

/// A change of a value from before, with what its author did; JSON `null` for a deletion.
struct Change {
    value: Option<Text>,
    old_value: Option<Text>,
    ops: Option<Text>,
}

fn text(json: &Json) -> Option<Text> {
    (!json.is_null()).then(|| json.to_string().into())
}

fn change(old: &Json, new: &Json) -> Change {
    let read = |json: &Json| Value::parse(&json.to_string()).expect("JSON");
    let op = diff(Some(&read(old)), Some(&read(new)));
    let ops = (!op.is_whole()).then(|| op.to_value().to_json().into());
    Change { value: text(new), old_value: text(old), ops: ops.filter(|_| !new.is_null()) }
}

fn contenders(changes: &[Change]) -> Vec<Contender<'_>> {
    changes
        .iter()
        .map(|change| Contender {
            value: change.value.as_ref(),
            old_value: change.old_value.as_ref(),
            base_hash: None,
            ops: change.ops.as_ref(),
        })
        .collect()
}

/// What several authors make of one value, in the order of their stamps.
fn resolved(strategy: impl Borrow<Strategy>, old: &Json, new: &[Json]) -> (Json, Resolution) {
    let changes: Vec<Change> = new.iter().map(|new| change(old, new)).collect();
    resolve(strategy, &changes)
}

fn resolve(strategy: impl Borrow<Strategy>, changes: &[Change]) -> (Json, Resolution) {
    let strategy = strategy.borrow();
    let contenders = contenders(changes);
    let resolution = strategy.resolve(&contenders).expect("changes");
    assert_eq!(strategy.value(&contenders), resolution.value);
    let value =
        resolution.value.as_ref().map_or(Json::Null, |value| serde_json::from_str(value).expect("JSON"));
    (value, resolution)
}

const OT: Strategy = Strategy::OperationalTransform;
const MERGE: Strategy = Strategy::MergeStrategies(Policy::DEFAULT);

/// Operations are compared pair by pair: more of them than anybody means are not, and the last write wins.
#[test]
fn what_would_be_too_much_work_is_decided_by_the_last_write() {
    let began = std::time::Instant::now();
    let words = |n: usize| -> String { (0..n).map(|at| format!("word{at} ")).collect() };
    let texts = |n_bytes: usize, n: usize| -> (Json, Vec<Json>) {
        let old = words(n_bytes / 8);
        (json!(old), (0..n).map(|at| json!(format!("{at} {old}"))).collect())
    };
    for (n_bytes, n, is_much) in
        [(800, 100, false), (80_000, 10, false), (800, 400, true), (8_000, 200, true)]
    {
        let (old, new) = texts(n_bytes, n);
        let merging = Strategy::MergeStrategies(Policy { strings: Strings::Text, ..Policy::DEFAULT });
        for (strategy, together) in [(OT, "operational_transform"), (merging, "text_merge")] {
            let (value, resolution) = resolved(&strategy, &old, &new);
            let method = if is_much { "last_write_wins" } else { together };
            assert_eq!(resolution.method.name(), method, "{n_bytes} {n}");
            let has_all = new
                .iter()
                .enumerate()
                .all(|(at, _)| value.as_str().expect("text").contains(&format!("{at} ")));
            assert!(is_much || has_all);
            assert!(!is_much || value == new[n - 1]);
        }
    }
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

/// Operations that do nothing have next to no bytes, and are compared pair by pair all the same.
#[test]
fn very_many_changes_that_do_nothing_are_decided_by_the_last_write() {
    let (began, nothing, value) = (std::time::Instant::now(), Text::from("[]"), Text::from("1"));
    let contender =
        Contender { value: Some(&value), old_value: Some(&value), base_hash: None, ops: Some(&nothing) };
    for (n, method) in [(100, "operational_transform"), (4000, "last_write_wins")] {
        let resolution = OT.resolve(&vec![contender; n]).expect("changes");
        assert_eq!(resolution.method.name(), method, "{n}");
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

#[test]
fn last_and_first_write_win_by_their_places() {
    for (strategy, shown, winner) in [(Strategy::LastWriteWins, "c", 2), (Strategy::FirstWriteWins, "a", 0)] {
        let (value, resolution) = resolved(&strategy, &json!("x"), &[json!("a"), json!("b"), json!("c")]);
        assert_eq!((value, resolution.winner), (json!(shown), Some(winner)));
        assert_eq!(resolution.discarded.len(), 2);
        let conflict = serde_json::to_value(&resolution.conflicts).expect("JSON");
        assert_eq!(
            conflict,
            json!([{ "path": "", "kind": "edit_edit", "base": "x", "values": ["a", "b", "c"] }])
        );
        assert!(strategy.resolve(&[]).is_none() && strategy.value(&[]).is_none());
    }
}

#[test]
fn d_23_an_equal_change_of_somebody_else_is_discarded_and_not_forgotten() {
    let (_, resolution) = resolved(Strategy::LastWriteWins, &json!(0), &[json!(1), json!(1)]);
    assert_eq!((resolution.winner, resolution.discarded, resolution.conflicts.len()), (Some(1), vec![0], 0));
}

#[test]
fn d_36_operations_of_one_value_are_all_applied() {
    let old = json!("the quick brown fox");
    let new =
        [json!("the very quick brown fox"), json!("the quick red fox"), json!("the quick brown fox jumps")];
    let (value, resolution) = resolved(OT, &old, &new);
    assert_eq!(value, json!("the very quick red fox jumps"));
    assert_eq!((resolution.winner, &resolution.discarded, &resolution.conflicts), (None, &vec![], &vec![]));
    let base_value = Some(Value::from("the quick brown fox"));
    assert_eq!(resolution.method, Method::OperationalTransform { operations_applied: 3, base_value });

    let old = json!({"list": [1, 2, 3], "name": "a", "gone": 1});
    let new = [
        json!({"list": [1, 9, 2, 3], "name": "a", "gone": 1}),
        json!({"list": [1, 8, 2, 3], "name": "b", "gone": 1}),
        json!({"list": [1, 2], "name": "a"}),
    ];
    assert_eq!(resolved(OT, &old, &new).0, json!({"list": [1, 9, 8, 2], "name": "b"}));
}

#[test]
fn d_40_the_last_write_wins_between_whole_values_and_whoever_edits_over_whoever_deletes() {
    let (old, edited, other) = (json!({"a": 1}), json!({"a": 1, "b": 2}), json!([5]));
    let (value, resolution) = resolved(OT, &old, &[edited.clone(), other.clone()]);
    assert_eq!((&value, resolution.winner, resolution.discarded), (&other, Some(1), vec![0]));
    let (value, resolution) = resolved(OT, &old, &[other.clone(), edited.clone(), json!({"a": 2})]);
    assert_eq!((value, resolution.applied), (json!({"a": 2, "b": 2}), vec![1, 2]));
    let conflict = serde_json::to_value(&resolution.conflicts).expect("JSON");
    assert_eq!(conflict[0]["values"], json!([[5], {"a": 2}]));

    for order in [[Json::Null, edited.clone()], [edited.clone(), Json::Null]] {
        let (value, resolution) = resolved(OT, &old, &order);
        assert_eq!(value, edited);
        let conflict = serde_json::to_value(&resolution.conflicts).expect("JSON");
        assert_eq!((&conflict[0]["kind"], &conflict[0]["path"]), (&json!("delete_edit"), &json!("")));
    }
    let (value, resolution) = resolved(OT, &old, &[Json::Null, Json::Null]);
    assert_eq!((value, resolution.conflicts.len(), resolution.applied.len()), (Json::Null, 0, 2));
}

#[test]
fn clashes_below_the_whole_value_are_told_with_what_was_wanted() {
    let old = json!({"db": {"host": "a"}, "port": 1});
    let new = [
        json!({"db": {"host": "a"}, "port": 2}),
        json!({"port": 3}),
        json!({"db": {"host": "a", "x": 1}, "port": 1}),
    ];
    let (value, resolution) = resolved(OT, &old, &new);
    assert_eq!(value, json!({"port": 2}));
    let told = serde_json::to_value(&resolution.conflicts).expect("JSON");
    assert_eq!(
        told,
        json!([
            { "path": "/port", "kind": "edit_edit", "base": 1, "values": [2, 3] },
            { "path": "/db", "kind": "delete_edit", "base": {"host": "a"}, "values": [null, {"host": "a", "x": 1}] },
        ])
    );
}

#[test]
fn an_operation_of_which_nothing_is_left_is_discarded() {
    let n = |n: u8| json!({ "n": n });
    for (old, new, applied, discarded) in [
        (n(1), vec![n(2), n(3)], vec![0], vec![1]),
        (n(1), vec![n(2), n(2)], vec![0, 1], vec![]),
        (n(1), vec![n(2), json!({ "n": 3, "m": 1 })], vec![0, 1], vec![]),
        (n(1), vec![json!({ "n": 2, "m": 1 }), json!({ "n": 2, "m": 5 })], vec![0, 1], vec![]),
        (json!({ "a": { "x": 1 } }), vec![json!({ "a": { "x": 2 } }), json!({})], vec![1], vec![0]),
        (json!({ "a": { "x": 1 } }), vec![json!({}), json!({ "a": { "x": 2 } })], vec![0], vec![1]),
        (json!("abc"), vec![json!("ac"), json!("ac")], vec![0, 1], vec![]),
    ] {
        let (_, resolution) = resolved(OT, &old, &new);
        assert_eq!((resolution.applied, resolution.discarded), (applied.clone(), discarded), "{old} {new:?}");
        let Method::OperationalTransform { operations_applied, .. } = resolution.method else {
            panic!("{old}")
        };
        assert_eq!(operations_applied, applied.len());
    }
}

#[test]
fn d_40_operations_on_different_values_are_a_conflict_and_the_last_write_wins() {
    let changes = [change(&json!("one"), &json!("one 1")), change(&json!("two"), &json!("two 2"))];
    let (value, resolution) = resolve(OT, &changes);
    assert_eq!((value, resolution.method), (json!("two 2"), Method::LastWriteWins));
    let told = serde_json::to_value(&resolution.conflicts).expect("JSON");
    assert_eq!(told, json!([{ "path": "", "kind": "edit_edit", "values": ["one 1", "two 2"] }]));
}

#[test]
fn operations_that_do_not_make_the_value_that_came_with_them_count_as_the_value() {
    for ops in [r#"[99,"x"]"#, r#"["a",{"i":1}]"#, "nonsense", r#"[{"es":[3,"!"]}]"#] {
        let wrong = Change { ops: Some(ops.into()), ..change(&json!("old"), &json!("new")) };
        let (value, resolution) = resolve(OT, &[change(&json!("old"), &json!("older")), wrong]);
        assert_eq!((value, resolution.winner), (json!("new"), Some(1)), "{ops}");
    }
}

#[test]
fn merges_have_the_guides_shapes() {
    let told = |strategy: Strategy, old: &Json, new: &[Json]| {
        let (value, resolution) = resolved(&strategy, old, new);
        let mut told = serde_json::to_value(&resolution.method).expect("JSON");
        told["resolved_value"] = value;
        told
    };
    let none = Json::Null;
    assert_eq!(
        told(MERGE, &none, &[json!({"a": 1}), json!({"b": 2})]),
        json!({"resolved_value": {"a": 1, "b": 2}, "resolution_method": "dictionary_merge", "merged_sources": 2})
    );
    assert_eq!(
        told(MERGE, &none, &[json!([1, 2]), json!([2, 3])]),
        json!({"resolved_value": [1, 2, 3], "resolution_method": "list_merge", "original_length": 4,
            "deduplicated_length": 3})
    );
    let numbers = json!({"resolved_value": 15, "resolution_method": "numeric_average", "min_value": 10,
        "max_value": 20, "original_values": [10, 20]});
    assert_eq!(told(MERGE, &none, &[json!(10), json!(20)]), numbers);
    for different in [[json!(true), json!(false)], [json!(1), json!("x")]] {
        let told = told(MERGE, &none, &different);
        assert_eq!(
            (&told["resolution_method"], &told["resolved_value"]),
            (&json!("last_write_wins"), &different[1])
        );
    }
    let sum = Strategy::MergeStrategies(Policy { numbers: Some(Numbers::Delta), ..Policy::DEFAULT });
    let told = told(sum, &json!(10), &[json!(12), json!(12)]);
    assert_eq!((&told["resolved_value"], &told["resolution_method"]), (&json!(14), &json!("numeric_delta")));
}

#[test]
fn what_is_sealed_is_one_value_for_every_strategy() {
    let sealed = |ct: &str| json!({"$enc": {"v": 1, "ct": ct}});
    for strategy in [OT, MERGE] {
        let (value, resolution) = resolved(&strategy, &sealed("a"), &[sealed("b"), sealed("c")]);
        assert_eq!((value, resolution.winner), (sealed("c"), Some(1)), "{strategy}");
        assert_eq!((resolution.method, resolution.conflicts.len()), (Method::LastWriteWins, 1));
        let (value, _) = resolved(&strategy, &json!({"a": 1}), &[json!({"a": 1, "b": 2}), sealed("c")]);
        assert_eq!(value, sealed("c"));
    }
}

#[test]
fn a_merge_names_who_is_in_it_and_who_is_not() {
    let (value, resolution) =
        resolved(MERGE, &json!({"a": 1}), &[json!({"a": 2}), Json::Null, json!({"a": 1, "b": 1})]);
    assert_eq!((value, resolution.winner), (json!({"a": 2, "b": 1}), None));
    assert_eq!((resolution.applied, resolution.discarded), (vec![0, 2], vec![1]));
    let (value, resolution) = resolved(MERGE, &json!(5), &[json!(6), json!(7)]);
    assert_eq!((value, resolution.winner, resolution.discarded), (json!(7), Some(1), vec![0]));
    assert_eq!(resolution.method, Method::LastWriteWins, "a base is known");
}

#[test]
fn d_44_a_place_that_is_left_to_a_person_leaves_the_whole_value_to_one() {
    let strategy: Strategy =
        r#"merge_strategies({"paths":[{"match":"/max","x-merge":"manual"}]})"#.parse().expect("a strategy");
    assert!(strategy.may_ask() && !MERGE.may_ask());
    let (value, resolution) =
        resolved(&strategy, &json!({"max": 1}), &[json!({"max": 1, "a": 1}), json!({"max": 2})]);
    assert_eq!((value, resolution.is_pending()), (json!({"max": 2, "a": 1}), false));
    let (value, resolution) =
        resolved(&strategy, &json!({"max": 1}), &[json!({"max": 3, "a": 1}), json!({"max": 2})]);
    assert_eq!(
        (value, resolution.is_pending()),
        (json!({"max": 2}), true),
        "the last write is shown meanwhile"
    );
    assert_eq!((resolution.applied, resolution.discarded), (vec![], vec![]), "and nothing is discarded");
    assert_eq!(resolution.conflicts[0].path, "/max");
}

#[test]
fn every_name_and_alias_is_read_and_others_are_named() {
    let policy = Policy { numbers: Some(Numbers::Delta), lists: Lists::Atomic, ..Policy::DEFAULT };
    for strategy in Strategy::ALL.into_iter().chain([Strategy::MergeStrategies(policy.clone())]) {
        assert_eq!(strategy.to_string().parse::<Strategy>().expect("a strategy"), strategy);
        assert_eq!(strategy.number().and_then(Strategy::from_number), Some(strategy));
    }
    assert_eq!(Strategy::MergeStrategies(policy).to_string(), "merge_strategies(numbers=delta,lists=atomic)");
    assert_eq!("merge".parse::<Strategy>().expect("an alias"), MERGE);
    for name in [
        "newest",
        "merge_strategies()",
        "merge_strategies(numbers=sum)",
        "ot(numbers=delta)",
        "merge_strategies({})x",
    ] {
        let error = name.parse::<Strategy>().expect_err("unknown");
        assert_eq!(error.to_string(), format!("Unknown conflict resolution strategy: {name}"));
    }
    for number in [5, 8, 3 | 6 << 3, 3 | 64 << 3] {
        assert_eq!(Strategy::from_number(number), None, "{number}");
    }
}

#[test]
fn what_is_sealed_is_one_piece_and_the_last_write_wins() {
    let sealed = |text: &str| json!({ "$enc": { "v": 1, "kid": "k", "ct": text } });
    let (base, one, two) = (json!({ "a": 1 }), json!({ "a": 2 }), json!({ "a": 1, "b": 3 }));
    for strategy in [OT, MERGE] {
        // Whichever of the authors has it sealed, and if it is only what they all saw.
        for (old, new) in [
            (sealed("0"), [sealed("1"), sealed("2")]),
            (base.clone(), [one.clone(), sealed("2")]),
            (base.clone(), [sealed("1"), two.clone()]),
            (sealed("0"), [one.clone(), two.clone()]),
        ] {
            let (value, resolution) = resolved(&strategy, &old, &new);
            assert_eq!((value, resolution.winner), (new[1].clone(), Some(1)), "{old} {new:?}");
            assert_eq!(resolution.method, Method::LastWriteWins);
            assert_eq!((resolution.applied, resolution.discarded), (vec![1], vec![0]));
            assert_eq!(resolution.conflicts.len(), 1, "both values are told");
            assert_eq!(resolution.conflicts[0].values.len(), 2);
        }
    }
    let (value, _) = resolved(MERGE, &base, &[one, two]);
    assert_eq!(value, json!({ "a": 2, "b": 3 }), "what is not sealed is merged");
}

#[test]
fn operations_that_are_sealed_are_no_operations() {
    let sealed: Text = r#"{"$enc":{"v":1}}"#.into();
    let mut changes = [change(&json!("abc"), &json!("abcd")), change(&json!("abc"), &json!("xabc"))];
    changes[0].ops = Some(sealed);
    let (value, resolution) = resolve(OT, &changes);
    assert_eq!((value, resolution.winner), (json!("xabc"), Some(1)));
}

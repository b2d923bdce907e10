use super::*;
use crate::{conflict::ConflictKind, value::value};
use serde_json::{Value as Json, json};
use std::borrow::Borrow;

mod properties;

/// A change with its stamp; `None` is a deletion.
type Change = (u64, Option<Value>);

fn merged(base: Option<&Value>, changes: &[Change], policy: impl Borrow<Policy>) -> Merged {
    let mut changes = changes.to_vec();
    changes.sort_by_key(|(stamp, _)| *stamp);
    changes.dedup_by_key(|(stamp, _)| *stamp);
    let values: Vec<Option<&Value>> = changes.iter().map(|(_, value)| value.as_ref()).collect();
    merge(base, &values, policy.borrow())
}

fn of(base: Option<Json>, changes: &[Json], policy: impl Borrow<Policy>) -> Merged {
    let base = base.as_ref().map(value);
    let changes: Vec<Change> =
        changes.iter().enumerate().map(|(stamp, json)| (stamp as u64, Some(value(json)))).collect();
    merged(base.as_ref(), &changes, policy)
}

fn shown(merged: &Merged) -> Json {
    merged.value.as_ref().map_or(Json::Null, |value| serde_json::from_str(&value.to_json()).expect("JSON"))
}

#[test]
fn fields_that_different_authors_changed_are_all_changed() {
    let base = json!({"db": {"host": "a", "port": 1, "old": true}, "pool": {"min": 1, "max": 5}});
    let changes = [
        json!({"db": {"host": "b", "port": 1, "old": true}, "pool": {"min": 1, "max": 5}}),
        json!({"db": {"host": "a", "port": 2}, "pool": {"min": 1, "max": 9}}),
    ];
    let merged = of(Some(base), &changes, Policy::default());
    assert_eq!(shown(&merged), json!({"db": {"host": "b", "port": 2}, "pool": {"min": 1, "max": 9}}));
    assert!(merged.conflicts.is_empty());
    assert_eq!(merged.shape, Shape::Objects { merged_sources: 2 });
}

#[test]
fn conflicts_are_named_by_pointer_with_what_was_wanted() {
    let base = json!({"a/b": {"x": 1}, "gone": {"y": 1}});
    let changes = [
        json!({"a/b": {"x": 2}, "gone": {"y": 2}}),
        json!({"a/b": {"x": 3}}),
        json!({"a/b": {"x": 2}, "gone": {"y": 1}}),
    ];
    let merged = of(Some(base), &changes, Policy::default());
    assert_eq!(shown(&merged), json!({"a/b": {"x": 2}, "gone": {"y": 2}}));
    assert_eq!(
        serde_json::to_value(&merged.conflicts).expect("JSON"),
        json!([
            {"path": "/a~1b/x", "kind": "edit_edit", "base": 1, "values": [2, 3]},
            {"path": "/gone", "kind": "delete_edit", "base": {"y": 1}, "values": [{"y": 2}, null]},
        ])
    );
}

#[test]
fn d_34_objects_are_merged_deeply_and_by_stamp() {
    let changes = [json!({"pool": {"min": 2}}), json!({"pool": {"min": 1, "max": 5}})];
    let deep = of(None, &changes, Policy::default());
    assert_eq!(shown(&deep), json!({"pool": {"min": 1, "max": 5}}));
    let base = json!({"pool": {"min": 0, "max": 5}});
    let changes = [json!({"pool": {"min": 2, "max": 5}}), json!({"pool": {"min": 0, "max": 9}})];
    assert_eq!(
        shown(&of(Some(base.clone()), &changes, Policy::default())),
        json!({"pool": {"min": 2, "max": 9}})
    );
    let shallow = Policy { depth: Depth::Shallow, ..Policy::default() };
    assert_eq!(shown(&of(Some(base), &changes, shallow)), json!({"pool": {"min": 0, "max": 9}}));
}

#[test]
fn d_43_items_are_told_apart_as_json_and_what_was_removed_stays_removed() {
    let merged = of(None, &[json!([1, {"a": 1}]), json!([true, 1.0, {"a": 1}, false, 0])], Policy::default());
    assert_eq!(shown(&merged), json!([1, {"a": 1}, true, false, 0]));
    let merged = of(Some(json!([1, 2, 3])), &[json!([1, 3]), json!([1, 2, 3, 4])], Policy::default());
    assert_eq!(shown(&merged), json!([1, 3, 4]));
    assert_eq!(merged.shape, Shape::Lists { original_length: 6, deduplicated_length: 3 });
    let with_repeats = of(Some(json!([1, 1])), &[json!([1, 1, 2]), json!([1])], Policy::default());
    assert_eq!(shown(&with_repeats), json!([1]), "the last one");
    assert_eq!((with_repeats.shape, with_repeats.conflicts.len()), (Shape::One(1), 1));
}

#[test]
fn d_44_booleans_are_no_numbers() {
    let merged = of(None, &[json!(true), json!(false)], Policy::default());
    assert_eq!((shown(&merged), merged.shape), (json!(false), Shape::One(1)));
    let merged = of(None, &[json!(true), json!(2)], Policy::default());
    assert_eq!((shown(&merged), merged.shape), (json!(2), Shape::One(1)));
}

#[test]
fn the_contracts_vectors_hold_where_no_base_is_known() {
    let merged = of(None, &[json!({"a": 1}), json!({"b": 2})], Policy::default());
    assert_eq!(
        (shown(&merged), merged.shape),
        (json!({"a": 1, "b": 2}), Shape::Objects { merged_sources: 2 })
    );
    let merged = of(None, &[json!([1, 2]), json!([2, 3])], Policy::default());
    let shape = Shape::Lists { original_length: 4, deduplicated_length: 3 };
    assert_eq!((shown(&merged), merged.shape), (json!([1, 2, 3]), shape));
    let merged = of(None, &[json!(10), json!(20)], Policy::default());
    let numbers = [10, 20].map(|number: i128| Number::from(number));
    let [min, max] = numbers.clone();
    let shape = Shape::Numbers { rule: Numbers::Average, original_values: numbers.to_vec(), min, max };
    assert_eq!((shown(&merged), merged.shape), (json!(15), shape));
    let merged = of(None, &[json!(1), json!("x")], Policy::default());
    assert_eq!((shown(&merged), merged.shape), (json!("x"), Shape::One(1)));
}

#[test]
fn numbers_are_merged_as_the_policy_says() {
    let with = |numbers| Policy { numbers, ..Policy::default() };
    let result = |base: Option<Json>, changes: &[Json], rule| shown(&of(base, changes, with(rule)));
    let (base, changes) = (Some(json!({"n": 10})), [json!({"n": 12}), json!({"n": 5}), json!({"n": 12})]);
    assert_eq!(result(base.clone(), &changes, None), json!({"n": 12}));
    assert_eq!(
        result(base.clone(), &changes, Some(Numbers::Delta)),
        json!({"n": 9}),
        "equal increments are two"
    );
    assert_eq!(result(base.clone(), &changes, Some(Numbers::Max)), json!({"n": 12}));
    assert_eq!(result(base.clone(), &changes, Some(Numbers::Min)), json!({"n": 5}));
    assert_eq!(result(base, &[json!({"n": 1}), json!({"n": 2})], Some(Numbers::Average)), json!({"n": 1.5}));
    assert_eq!(result(Some(json!(10)), &[json!(12), json!(12)], Some(Numbers::Delta)), json!(14));
    assert_eq!(result(None, &[json!(5432), json!(5433)], Some(Numbers::LastWriteWins)), json!(5433));
    assert_eq!(
        result(None, &[json!(1), json!(2), json!(9)], None),
        json!(4),
        "all at once, not pair by pair"
    );
}

/// A policy as a configuration has it.
fn policy(json: Json) -> Policy {
    serde_json::from_value(json).expect("a policy")
}

#[test]
fn d_44_a_place_of_a_value_has_rules_of_its_own() {
    let policy = policy(json!({"numbers": "average", "paths": [
        {"match": "/workers", "type": "integer"},
        {"match": "/*/max", "x-merge": "max"},
        {"match": "/*/min", "x-merge": "min"},
        {"match": "/*/hits", "x-merge": "sum"},
        {"match": "/*/port", "x-merge": "lww"},
        {"match": "/hosts", "x-merge": "lww"},
    ]}));
    let value = |n: u64, hosts: &[&str]| json!({"workers": n, "load": n, "hosts": hosts, "db": {"max": n, "min": n, "hits": n, "port": n}});
    let base = value(1, &["a"]);
    let merged = of(Some(base.clone()), &[value(5, &["b"]), value(4, &["a", "c"])], &policy);
    let db = json!({"max": 5, "min": 4, "hits": 8, "port": 4});
    assert_eq!(shown(&merged), json!({"workers": 4, "load": 4.5, "hosts": ["a", "c"], "db": db}));
    assert!(!merged.is_left);
    let told: Vec<&str> = merged.conflicts.iter().map(|conflict| conflict.path.as_str()).collect();
    assert_eq!(told, ["/db/max", "/db/min", "/db/port", "/hosts", "/load", "/workers"]);
    let alone = of(Some(base), &[value(5, &["b"])], &policy);
    assert_eq!((shown(&alone), alone.conflicts.len()), (value(5, &["b"]), 0));
}

#[test]
fn d_44_a_place_may_be_left_to_a_person() {
    let policy = policy(json!({"paths": [{"match": "/limit", "x-merge": "manual"}]}));
    let base = Some(json!({"limit": 1, "n": 1}));
    for (other, is_left) in [
        (json!({"limit": 1, "n": 2}), false),
        (json!({"limit": 5, "n": 2}), false),
        (json!({"limit": 6, "n": 1}), true),
        (json!({"n": 1}), true),
    ] {
        let merged = of(base.clone(), &[json!({"limit": 5, "n": 1}), other.clone()], &policy);
        assert_eq!((merged.is_left, merged.conflicts.len()), (is_left, usize::from(is_left)), "{other}");
    }
    let whole: Policy =
        serde_json::from_value(json!({"paths": [{"match": "", "x-merge": "manual"}]})).expect("one");
    assert!(of(None, &[json!([1]), json!([2])], &whole).is_left);
}

#[test]
fn d_44_whole_numbers_are_integers_where_that_is_said() {
    let integer = policy(json!({"paths": [{"match": "", "type": "integer"}]}));
    let merged = of(None, &[json!(1), json!(2)], &integer);
    assert_eq!(shown(&merged), json!(2));
    assert!(matches!(merged.shape, Shape::Numbers { rule: Numbers::Average, .. }));
    assert_eq!(shown(&of(None, &[json!(1), json!(2)], Policy::default())), json!(1.5));
}

#[test]
fn a_number_that_nobody_could_write_is_a_conflict() {
    let great = |text: &str| Value::parse(text).expect("JSON");
    let of = |base: Option<&str>, changes: [&str; 2], policy: Json| {
        let changes: Vec<Change> =
            changes.iter().enumerate().map(|(at, text)| (at as u64, Some(great(text)))).collect();
        merged(base.map(great).as_ref(), &changes, self::policy(policy))
    };
    let mean = of(None, ["1e308", "1.7e308"], json!({}));
    assert_eq!(mean.value, Some(great("1.35e308")));
    let sum = of(Some("1e308"), ["1.5e308", "1.6e308"], json!({"numbers": "delta"}));
    assert_eq!((sum.value, sum.shape, sum.conflicts.len()), (Some(great("1.6e308")), Shape::One(1), 1));
    let field =
        of(Some(r#"{"n":1e308}"#), [r#"{"n":1.5e308}"#, r#"{"n":1.6e308}"#], json!({"numbers": "delta"}));
    assert_eq!((field.value, field.applied), (Some(great(r#"{"n":1.6e308}"#)), vec![1]));
    assert_eq!(field.conflicts[0].path, "/n");
    let mean = of(None, ["1e400", "1"], json!({}));
    assert_eq!((mean.value, mean.shape, mean.conflicts.len()), (Some(great("1")), Shape::One(1), 1));
}

#[test]
fn a_change_is_applied_if_something_that_its_author_did_stands() {
    let applied = |base: Json, changes: &[Json], policy: Json| {
        let base = Some(base).filter(|base| !base.is_null());
        of(base, changes, self::policy(policy)).applied
    };
    let n = |n: u64| json!({"n": n});
    for (base, changes, policy, expected) in [
        (n(1), vec![n(2), n(3)], json!({}), vec![1]),
        (n(1), vec![n(3), n(2), n(3)], json!({}), vec![0, 2]),
        (n(1), vec![n(3), n(1)], json!({}), vec![0, 1]),
        (n(1), vec![json!({"n": 2, "m": 1}), n(3)], json!({}), vec![0, 1]),
        (n(1), vec![n(5), n(3)], json!({"numbers": "max"}), vec![0]),
        (n(1), vec![n(5), n(3)], json!({"numbers": "min"}), vec![1]),
        (n(1), vec![n(5), n(3)], json!({"numbers": "delta"}), vec![0, 1]),
        (n(1), vec![n(5), n(3)], json!({"numbers": "average"}), vec![0, 1]),
        (
            json!({"a": [1]}),
            vec![json!({"a": [1, 2]}), json!({"a": [1, 2, 3]})],
            json!({"lists": "atomic"}),
            vec![1],
        ),
        (json!({"a": [1]}), vec![json!({"a": [2, 1]}), json!({"a": [3]})], json!({}), vec![0, 1]),
        (json!([1, 2]), vec![json!([2, 1]), json!([1, 2, 3])], json!({}), vec![1]),
        (json!({"a": {"x": 1}}), vec![json!({"a": {"x": 2}}), json!({})], json!({}), vec![0]),
        (json!({"a": 1, "b": 1}), vec![json!({"b": 1}), json!({"a": 1})], json!({}), vec![0, 1]),
        (Json::Null, vec![json!({}), json!({"a": 1})], json!({}), vec![0, 1]),
        (Json::Null, vec![json!({"a": 2}), json!({"a": 1})], json!({}), vec![1]),
        (Json::Null, vec![json!(2), json!(1)], json!({"numbers": "max"}), vec![0]),
        (Json::Null, vec![json!([1]), json!([2])], json!({}), vec![0, 1]),
        (json!("one"), vec![json!("one 1"), json!("0 one")], json!({"strings": "text"}), vec![0, 1]),
    ] {
        assert_eq!(applied(base.clone(), &changes, policy.clone()), expected, "{base} {changes:?} {policy}");
    }
}

#[test]
fn texts_are_merged_if_the_policy_says_so() {
    let text = Policy { strings: Strings::Text, ..Policy::default() };
    let (base, changes) = (json!("one two three"), [json!("one 2 three"), json!("one two three four")]);
    let merged = of(Some(base.clone()), &changes, &text);
    assert_eq!(shown(&merged), json!("one 2 three four"));
    assert_eq!((merged.shape, merged.conflicts.len()), (Shape::Text { operations_applied: 2 }, 0));
    let other = of(Some(base.clone()), &[json!("none of it"), json!("something quite different")], &text);
    assert_eq!((shown(&other), other.conflicts.len()), (json!("something quite different"), 1));
    assert_eq!(other.shape, Shape::One(1));
    assert_eq!(of(Some(base), &changes, Policy::default()).shape, Shape::One(1));
}

#[test]
fn who_changes_wins_over_who_deletes() {
    let (base, edit) = (value(&json!({"a": 1})), value(&json!({"a": 2})));
    let merged = merged(Some(&base), &[(1, Some(edit.clone())), (2, None)], Policy::default());
    assert_eq!(merged.value, Some(edit));
    assert_eq!(merged.conflicts[0].kind, ConflictKind::DeleteEdit);
    let gone = super::merge(Some(&base), &[None, Some(&base), None], &Policy::default());
    assert_eq!(
        (gone.value, gone.shape, gone.conflicts.len()),
        (None, Shape::Objects { merged_sources: 1 }, 0)
    );
}

#[test]
fn sealed_values_are_not_merged_field_by_field() {
    let sealed = |text: &str| json!({ "$enc": { "v": 1, "ct": text } });
    for base in [None, Some(sealed("0")), Some(json!({ "$enc": { "v": 1 }, "a": 1 }))] {
        let merged = of(base, &[sealed("1"), sealed("2")], Policy::DEFAULT);
        assert_eq!((shown(&merged), merged.shape), (sealed("2"), Shape::One(1)));
        assert_eq!(merged.conflicts.len(), 1);
    }
    let merged = of(None, &[json!({ "$enc": 1 }), json!({ "b": 2 })], Policy::DEFAULT);
    assert_eq!(shown(&merged), json!({ "$enc": 1, "b": 2 }), "this one is not sealed");
}

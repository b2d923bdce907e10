use super::*;
use crate::{conflict::ConflictKind, value::value};
use serde_json::{Value as Json, json};

mod properties;

/// A change with its stamp; `None` is a deletion.
type Change = (u64, Option<Value>);

fn merged(base: Option<&Value>, changes: &[Change], policy: Policy) -> Merged {
    let mut changes = changes.to_vec();
    changes.sort_by_key(|(stamp, _)| *stamp);
    changes.dedup_by_key(|(stamp, _)| *stamp);
    let values: Vec<Option<&Value>> = changes.iter().map(|(_, value)| value.as_ref()).collect();
    merge(base, &values, policy)
}

fn of(base: Option<Json>, changes: &[Json], policy: Policy) -> Merged {
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

#[test]
fn texts_are_merged_if_the_policy_says_so() {
    let text = Policy { strings: Strings::Text, ..Policy::default() };
    let (base, changes) = (json!("one two three"), [json!("one 2 three"), json!("one two three four")]);
    let merged = of(Some(base.clone()), &changes, text);
    assert_eq!(shown(&merged), json!("one 2 three four"));
    assert_eq!((merged.shape, merged.conflicts.len()), (Shape::Text { operations_applied: 2 }, 0));
    let other = of(Some(base.clone()), &[json!("none of it"), json!("something quite different")], text);
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
    let gone = super::merge(Some(&base), &[None, Some(&base), None], Policy::default());
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

use super::*;
use crate::{conflict::ConflictKind, value::value};
use serde_json::{Value as Json, json};

/// How many random cases each property is tried on.
const CASES: u64 = 4000;

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

fn any_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth == 0 { 5 } else { 10 }) {
        0 => Value::Bool(random.bool()),
        1 => Value::Null,
        2 | 3 => Value::from(random.u64(0..4)),
        4 => Value::from(random.choice(["x", "y", "é"]).expect("one")),
        5 | 6 => Value::List((0..random.usize(0..4)).map(|_| any_value(random, 0)).collect()),
        _ => {
            let mut fields = std::collections::BTreeMap::new();
            for name in ["a", "b", "c/d", "e~f"] {
                if random.bool() {
                    fields.insert(name.to_owned(), any_value(random, depth - 1));
                }
            }
            Value::Object(fields)
        }
    }
}

/// The value with some of it changed.
fn changed(random: &mut fastrand::Rng, base: &Value) -> Value {
    match base {
        Value::Object(fields) if random.u8(0..8) > 0 => {
            let mut fields = fields.clone();
            for name in ["a", "b", "c/d", "e~f"] {
                match (random.u8(0..6), fields.get(name)) {
                    (0, Some(_)) => drop(fields.remove(name)),
                    (1 | 2, Some(value)) => {
                        let value = changed(random, value);
                        fields.insert(name.to_owned(), value);
                    }
                    (3, None) => drop(fields.insert(name.to_owned(), any_value(random, 1))),
                    _ => {}
                }
            }
            Value::Object(fields)
        }
        Value::List(items) if random.u8(0..8) > 0 => {
            let mut items: Vec<Value> = items.iter().filter(|_| random.u8(0..4) > 0).cloned().collect();
            if random.bool() {
                items.insert(random.usize(0..=items.len()), any_value(random, 0));
            }
            Value::List(items)
        }
        Value::Number(_) if random.bool() => Value::from(random.u64(0..6)),
        _ if random.bool() => base.clone(),
        _ => any_value(random, 2),
    }
}

fn policy(random: &mut fastrand::Rng) -> Policy {
    let rules = [Numbers::LastWriteWins, Numbers::Delta, Numbers::Average, Numbers::Max, Numbers::Min];
    Policy {
        numbers: random.bool().then(|| *random.choice(&rules).expect("one")),
        lists: if random.u8(0..4) == 0 { Lists::Atomic } else { Lists::Set },
        strings: if random.bool() { Strings::Text } else { Strings::LastWriteWins },
        depth: if random.u8(0..4) == 0 { Depth::Shallow } else { Depth::Deep },
    }
}

struct Case {
    base: Option<Value>,
    changes: Vec<Change>,
    policy: Policy,
    random: fastrand::Rng,
}

fn case(seed: u64) -> Case {
    let mut random = fastrand::Rng::with_seed(seed);
    let from = any_value(&mut random, 3);
    let changes = (0..random.u64(2..5)).map(|stamp| {
        let is_deletion = random.u8(0..8) == 0;
        (stamp, (!is_deletion).then(|| changed(&mut random, &from)))
    });
    let changes = changes.collect();
    let base = (random.u8(0..5) > 0).then_some(from);
    Case { base, changes, policy: policy(&mut random), random }
}

/// How many cases are merged differently in another order.
fn n_dependent(merge: impl Fn(&Case, &[Change]) -> Option<Value>) -> usize {
    let depends = |seed: &u64| {
        let mut case = case(*seed);
        let mut changes = case.changes.clone();
        case.random.shuffle(&mut changes);
        merge(&case, &case.changes) != merge(&case, &changes)
    };
    (0..CASES).filter(depends).count()
}

#[test]
fn the_order_in_which_changes_come_does_not_matter() {
    for seed in 0..CASES {
        let mut case = case(seed);
        let forth = merged(case.base.as_ref(), &case.changes, case.policy);
        case.random.shuffle(&mut case.changes);
        let back = merged(case.base.as_ref(), &case.changes, case.policy);
        assert_eq!(forth, back, "seed {seed}");
    }
    assert_eq!(n_dependent(|case, changes| merged(case.base.as_ref(), changes, case.policy).value), 0);
}

#[test]
fn the_test_of_that_fails_with_the_guides_algorithm_and_with_a_fold_of_pairs() {
    let n = n_dependent(|_, changes| Some(guides(changes)));
    assert!(n > 500, "{n}");
    let n = n_dependent(|case, changes| {
        let first = changes.first().and_then(|(_, value)| value.clone());
        changes.iter().skip(1).fold(first, |merged, (_, next)| {
            merge(case.base.as_ref(), &[merged.as_ref(), next.as_ref()], case.policy).value
        })
    });
    assert!(n > 300, "{n}");
}

/// The guide's: of the kind that all are of, objects updated in the order of the list, lists united, numbers averaged; else
/// the last one of the list. What was there before is not looked at.
fn guides(changes: &[Change]) -> Value {
    let values: Vec<&Value> = changes.iter().filter_map(|(_, value)| value.as_ref()).collect();
    let all = |is: fn(&Value) -> bool| !values.is_empty() && values.iter().all(|value| is(value));
    if all(|value| value.as_object().is_some()) {
        let fields = values.iter().filter_map(|value| value.as_object()).flatten();
        return Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    if all(|value| value.as_list().is_some()) {
        let mut items: Vec<Value> = Vec::new();
        for item in values.iter().filter_map(|value| value.as_list()).flatten() {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
        return Value::List(items);
    }
    if all(|value| value.as_number().is_some()) {
        let numbers: Vec<Number> = values.iter().filter_map(|value| value.as_number().cloned()).collect();
        let mean = numbers::together(Numbers::Average, None, &numbers);
        return mean.map_or(Value::Null, Value::Number);
    }
    values.last().map_or(Value::Null, |value| (*value).clone())
}

/// In how many cases something that should make no difference makes one.
fn n_differing(differs: impl Fn(&Case) -> bool) -> usize {
    (0..CASES).filter(|seed| differs(&case(*seed))).count()
}

fn twice(case: &Case) -> Vec<Change> {
    let again = case.changes.iter().take(2).cloned();
    case.changes.iter().cloned().chain(again).collect()
}

#[test]
fn a_change_that_comes_twice_counts_once() {
    let n = n_differing(|case| {
        let merged = |changes: &[Change]| merged(case.base.as_ref(), changes, case.policy);
        merged(&case.changes) != merged(&twice(case))
    });
    assert_eq!(n, 0);
    let n = n_differing(|case| guides(&case.changes) != guides(&twice(case)));
    assert!(n > 300, "{n}: the cases do not tell the guide's algorithm from this one");
}

/// Somebody changed the value before, and others did not.
fn one_sided(case: &Case) -> Option<(&Value, Option<&Value>, [Change; 3])> {
    let (base, (_, change)) = (case.base.as_ref()?, &case.changes[0]);
    let changes = [(0, Some(base.clone())), (7, change.clone()), (9, Some(base.clone()))];
    Some((base, change.as_ref(), changes))
}

#[test]
fn what_only_one_changed_is_what_that_one_made_of_it() {
    let n = n_differing(|case| {
        let Some((base, change, changes)) = one_sided(case) else { return false };
        let merged = merged(Some(base), &changes, case.policy);
        (merged.value.as_ref(), &merged.conflicts[..]) != (change, &[][..])
    });
    assert_eq!(n, 0);
    let n = n_differing(|case| {
        one_sided(case).is_some_and(|(_, change, changes)| Some(&guides(&changes)) != change)
    });
    assert!(n > 1000, "{n}: the cases do not tell the guide's algorithm from this one");
}

fn alike(case: &Case) -> (Option<&Value>, [Change; 3]) {
    let change = &case.changes[0].1;
    (change.as_ref(), [0, 1, 2].map(|stamp| (stamp, change.clone())))
}

#[test]
fn what_all_made_of_it_alike_is_that() {
    let n = n_differing(|case| {
        let (change, changes) = alike(case);
        let merged = merged(case.base.as_ref(), &changes, Policy { numbers: None, ..case.policy });
        (merged.value.as_ref(), &merged.conflicts[..]) != (change, &[][..])
    });
    assert_eq!(n, 0);
    let n = n_differing(|case| {
        let (change, changes) = alike(case);
        Some(&guides(&changes)) != change
    });
    assert!(n > 300, "{n}: the cases do not tell the guide's algorithm from this one");
}

#[test]
fn the_cases_hold_conflicts_of_every_kind_and_none() {
    let mut counts = [0; 4];
    for seed in 0..CASES {
        let case = case(seed);
        let conflicts = merged(case.base.as_ref(), &case.changes, case.policy).conflicts;
        counts[0] += usize::from(conflicts.is_empty());
        for (at, kind) in
            [ConflictKind::EditEdit, ConflictKind::DeleteEdit, ConflictKind::Order].into_iter().enumerate()
        {
            counts[at + 1] += usize::from(conflicts.iter().any(|conflict| conflict.kind == kind));
        }
    }
    assert!(counts[0] > 100 && counts[1] > 500 && counts[2] > 200 && counts[3] >= 1, "{counts:?}");
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

//! What holds for every merge, on random values; and that it does not hold for the guide's algorithm.

use super::*;

/// How many random cases each property is tried on.
const CASES: u64 = 4000;

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
        paths: if random.bool() { Paths::NONE } else { paths(random) },
    }
}

fn paths(random: &mut fastrand::Rng) -> Paths {
    let mut rule = || {
        let place = *random.choice(&["", "/a", "/*", "/c~1d/e~0f", "/a/*"]).expect("one");
        let way = *random.choice(&["lww", "max", "min", "sum", "average", "manual"]).expect("one");
        match random.bool() {
            true => json!({"match": place, "x-merge": way}),
            false => json!({"match": place, "x-merge": way, "type": "integer"}),
        }
    };
    serde_json::from_value(json!([rule(), rule()])).expect("rules")
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
        let forth = merged(case.base.as_ref(), &case.changes, &case.policy);
        case.random.shuffle(&mut case.changes);
        let back = merged(case.base.as_ref(), &case.changes, &case.policy);
        assert_eq!(forth, back, "seed {seed}");
    }
    assert_eq!(n_dependent(|case, changes| merged(case.base.as_ref(), changes, &case.policy).value), 0);
}

#[test]
fn the_test_of_that_fails_with_the_guides_algorithm_and_with_a_fold_of_pairs() {
    let n = n_dependent(|_, changes| Some(guides(changes)));
    assert!(n > 500, "{n}");
    let n = n_dependent(|case, changes| {
        let first = changes.first().and_then(|(_, value)| value.clone());
        changes.iter().skip(1).fold(first, |merged, (_, next)| {
            merge(case.base.as_ref(), &[merged.as_ref(), next.as_ref()], &case.policy).value
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
        let mean = numbers::together(Numbers::Average, paths::Here::default(), None, &numbers);
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
        let merged = |changes: &[Change]| merged(case.base.as_ref(), changes, &case.policy);
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
        let merged = merged(Some(base), &changes, &case.policy);
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
        let merged = merged(
            case.base.as_ref(),
            &changes,
            Policy { numbers: None, paths: Paths::NONE, ..case.policy.clone() },
        );
        (merged.value.as_ref(), &merged.conflicts[..]) != (change, &[][..])
    });
    assert_eq!(n, 0);
    let n = n_differing(|case| {
        let (change, changes) = alike(case);
        Some(&guides(&changes)) != change
    });
    assert!(n > 300, "{n}: the cases do not tell the guide's algorithm from this one");
}

/// Whether something that was done to the value before stands, field by field.
fn stands(base: Option<&Value>, change: Option<&Value>, result: Option<&Value>) -> bool {
    if change == result {
        return true;
    }
    let objects = [base, change, result].map(|value| value.and_then(Value::as_object));
    let [before, Some(own), Some(_)] = objects else { return false };
    if base.is_none() && own.is_empty() {
        return true;
    }
    let names = own.keys().chain(before.into_iter().flat_map(|base| base.keys()));
    names.into_iter().any(|name| {
        let [before, own, now] = [base, change, result].map(|value| value.and_then(|value| value.get(name)));
        own != before && stands(before, own, now)
    })
}

#[test]
fn a_change_is_applied_exactly_if_something_of_it_stands() {
    let mut counts = [0; 2];
    for seed in 0..CASES {
        let case = case(seed);
        // Where no part is made of several, what stands can be seen.
        let whole = Policy { numbers: Some(Numbers::Max), lists: Lists::Atomic, ..Policy::DEFAULT };
        let merged = merged(case.base.as_ref(), &case.changes, &whole);
        if let Shape::One(_) = merged.shape {
            continue;
        }
        for (at, (_, change)) in case.changes.iter().enumerate() {
            let (base, change) = (case.base.as_ref(), change.as_ref());
            let is_applied = merged.applied.contains(&at);
            let is_seen = change == base || stands(base, change, merged.value.as_ref());
            counts[usize::from(is_applied)] += 1;
            assert!(is_seen || !is_applied, "seed {seed}: {at} is nowhere");
            assert!(is_applied || change != merged.value.as_ref(), "seed {seed}: {at} is all of it");
        }
    }
    assert!(counts[0] > 100 && counts[1] > 1000, "{counts:?}");
}

#[test]
fn the_cases_hold_conflicts_of_every_kind_and_none() {
    let mut counts = [0; 4];
    for seed in 0..CASES {
        let case = case(seed);
        let conflicts = merged(case.base.as_ref(), &case.changes, &case.policy).conflicts;
        counts[0] += usize::from(conflicts.is_empty());
        for (at, kind) in
            [ConflictKind::EditEdit, ConflictKind::DeleteEdit, ConflictKind::Order].into_iter().enumerate()
        {
            counts[at + 1] += usize::from(conflicts.iter().any(|conflict| conflict.kind == kind));
        }
    }
    assert!(counts[0] > 100 && counts[1] > 500 && counts[2] > 200 && counts[3] >= 1, "{counts:?}");
}

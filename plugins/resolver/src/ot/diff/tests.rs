use super::*;
use crate::value::value;
use serde_json::json;

fn check(old: serde_json::Value, new: serde_json::Value, op: serde_json::Value) {
    let (old, new) = (value(&old), value(&new));
    let made = diff(Some(&old), Some(&new));
    assert_eq!(made.to_value(), value(&op));
    assert_eq!(made.apply(Some(old)), Ok(Some(new)));
}

#[test]
fn text_is_edited_where_it_differs_and_replaced_if_little_is_left_of_it() {
    check(json!("hello world"), json!("hello big world"), json!([{"es": [6, "big "]}]));
    check(json!("one two three"), json!("one 2 three!"), json!([{"es": [4, {"d": 3}, "2", 6, "!"]}]));
    check(json!("a😀b"), json!("a😀cb"), json!([{"es": [2, "c"]}]));
    check(json!(""), json!("x"), json!([{"es": ["x"]}]));
    check(json!("dark"), json!("light"), json!([{"r": true, "i": "light"}]));
}

#[test]
fn objects_differ_field_by_field() {
    check(
        json!({"pool": {"min": 1, "max": 5}, "old": 1, "same": [1]}),
        json!({"pool": {"min": 2, "max": 5}, "new": {"a": 1}, "same": [1.0]}),
        json!([["new", {"i": {"a": 1}}], ["old", {"r": true}], ["pool", "min", {"r": true, "i": 2}]]),
    );
}

#[test]
fn items_are_found_again_and_alike_ones_edited() {
    check(json!([1, 2, 3]), json!([1, 9, 2, 3]), json!([1, {"i": 9}]));
    check(json!([1, 2, 3]), json!([1, 3]), json!([1, {"r": true}]));
    check(json!([{"a": 1, "b": 2}]), json!([{"a": 1, "b": 3}]), json!([0, "b", {"r": true, "i": 3}]));
    check(
        json!([{"id": 1, "n": "x"}, 7]),
        json!([0, {"id": 1, "n": "y"}, 7]),
        json!([[0, {"i": 0}, "n", {"r": true}], [1, "n", {"i": "y"}]]),
    );
}

#[test]
fn values_of_another_type_are_replaced() {
    check(json!({"a": 1}), json!([1]), json!([{"r": true, "i": [1]}]));
    check(json!(true), json!(1), json!([{"r": true, "i": 1}]));
    assert!(diff(Some(&value(&json!(1))), Some(&value(&json!(1.0)))).is_noop());
    assert_eq!(diff(None, Some(&value(&json!(1)))).apply(None), Ok(Some(value(&json!(1)))));
    assert_eq!(diff(Some(&value(&json!(1))), None).apply(Some(value(&json!(1)))), Ok(None));
}

fn any_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth == 0 { 4 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(random.bool()),
        2 => Value::from(random.u64(0..4)),
        3 => Value::Text(
            (0..random.usize(0..6)).map(|_| random.choice(['a', 'b', '😀']).expect("one")).collect(),
        ),
        4 | 5 => Value::List((0..random.usize(0..5)).map(|_| any_value(random, depth - 1)).collect()),
        _ => {
            let fields = (0..random.usize(0..4))
                .map(|_| (random.alphabetic().to_string(), any_value(random, depth - 1)));
            Value::Object(fields.collect())
        }
    }
}

#[test]
fn the_difference_always_leads_from_one_to_the_other() {
    for seed in 0..5000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (old, new) = (any_value(&mut random, 3), any_value(&mut random, 3));
        let op = diff(Some(&old), Some(&new));
        assert_eq!(op.apply(Some(old.clone())), Ok(Some(new.clone())), "seed {seed}: {old:?} {new:?} {op:?}");
        assert_eq!(TreeOp::parse(&op.to_value()), Ok(op), "seed {seed}");
    }
}

/// Looking for what became of what takes no longer than somebody waits.
#[test]
fn lists_of_many_large_items_that_all_differ_are_compared_in_no_time() {
    let began = std::time::Instant::now();
    let lists = |from: u64, n: u64| {
        let list = |i| Value::List((0..500).map(|k| Value::from(from + 500 * i + k)).collect());
        Value::List((0..n).map(list).collect())
    };
    let (old, new) = (lists(100_000, 60), lists(500_000, 61));
    assert_eq!(diff(Some(&old), Some(&new)).apply(Some(old)), Ok(Some(new)));
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn a_sealed_value_is_replaced_as_a_whole() {
    let read = |json: &str| Value::parse(json).expect("JSON");
    let (one, other) = (read(r#"{"$enc":{"ct":"AAAA","v":1}}"#), read(r#"{"$enc":{"ct":"AAAB","v":1}}"#));
    assert!(diff(Some(&one), Some(&other)).is_whole());
    assert!(diff(Some(&one), Some(&read(r#"{"a":1}"#))).is_whole());
    assert!(diff(Some(&one), Some(&one)).is_noop());
}

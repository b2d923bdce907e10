use super::{transform::Class, *};
use crate::{ot::Side, value::value};
use serde_json::json;

mod cases;

use cases::{CASES, case, op_on};

fn op(json: serde_json::Value) -> TreeOp {
    TreeOp::parse(&value(&json)).expect("an operation")
}

fn after(value: &Value, ops: &[&TreeOp]) -> Result<Option<Value>, Mismatch> {
    ops.iter().try_fold(Some(value.clone()), |value, op| op.apply(value))
}

/// Transforms each by the other and gives what is left of both, with the value they lead to.
fn converged(doc: &serde_json::Value, left: serde_json::Value, right: serde_json::Value) -> [Value; 3] {
    let (doc, left, right) = (value(doc), op(left), op(right));
    let left_after = left.transformed(&right, Side::Left).expect("of one value").op;
    let right_after = right.transformed(&left, Side::Right).expect("of one value").op;
    let one = after(&doc, &[&left, &right_after]).expect("fits").unwrap_or(Value::Null);
    assert_eq!(after(&doc, &[&right, &left_after]).expect("fits").unwrap_or(Value::Null), one);
    [left_after.to_value(), right_after.to_value(), one]
}

type Transform = fn(&TreeOp, &TreeOp, Side) -> TreeOp;

fn n_diverging(transform: Transform) -> usize {
    let diverges = |seed: &u64| {
        let (doc, left, right) = case(*seed);
        let one = after(&doc, &[&left, &transform(&right, &left, Side::Right)]);
        one.is_err() || one != after(&doc, &[&right, &transform(&left, &right, Side::Left)])
    };
    (0..CASES).filter(diverges).count()
}

fn transformed(own: &TreeOp, other: &TreeOp, side: Side) -> TreeOp {
    own.transformed(other, side).expect("of one value").op
}

#[test]
fn either_may_be_applied_first() {
    assert_eq!(n_diverging(transformed), 0);
}

#[test]
fn the_test_of_that_fails_without_one_rule_for_ties_or_with_the_guides_answer() {
    let n = n_diverging(|own, other, _| transformed(own, other, Side::Left));
    assert!(n > 100, "{n}");
    let n = n_diverging(|_, other, _| other.clone());
    assert!(n > 1000, "{n}");
}

type Compose = fn(&TreeOp, &TreeOp) -> Result<TreeOp, Mismatch>;

/// In how many cases the composed operation does not do what both do, one after the other.
fn n_other_than_both(compose: Compose) -> usize {
    let is_other = |seed: &u64| {
        let (doc, one, _) = case(*seed);
        let between = one.apply(Some(doc.clone())).expect("fits");
        let next = op_on(&mut fastrand::Rng::with_seed(!*seed), between.as_ref());
        compose(&one, &next).and_then(|op| op.apply(Some(doc))) != next.apply(between)
    };
    (0..CASES).filter(is_other).count()
}

#[test]
fn composed_operations_do_what_they_do_one_after_the_other() {
    assert_eq!(n_other_than_both(TreeOp::composed), 0);
}

#[test]
fn the_test_of_that_fails_in_the_other_order_and_with_the_guides_answer() {
    let n = n_other_than_both(|one, next| next.composed(one));
    assert!(n > 1000, "{n}: the cases do not tell one order from the other");
    // The guide's operation is always a `replace` of the whole: the one before it is forgotten.
    let n = n_other_than_both(|_, next| Ok(next.clone()));
    assert!(n > 1000, "{n}: the cases do not tell both from the last one");
}

/// In how many cases the inverted operation does not bring the value back.
fn n_not_undone(invert: impl Fn(&TreeOp, &Value) -> Result<TreeOp, Mismatch>) -> usize {
    let is_undone = |seed: &u64| {
        let (doc, op, _) = case(*seed);
        let after = op.apply(Some(doc.clone())).expect("fits");
        assert_ne!(after, Some(doc.clone()), "seed {seed}: the case shows nothing");
        invert(&op, &doc).and_then(|inverted| inverted.apply(after)) == Ok(Some(doc))
    };
    (0..CASES).filter(|seed| !is_undone(seed)).count()
}

#[test]
fn what_is_inverted_is_undone() {
    assert_eq!(n_not_undone(|op, doc| op.inverted(Some(doc))), 0);
}

#[test]
fn the_test_of_that_fails_where_what_was_there_is_not_kept() {
    // The guide's operations do not hold it: of a value that was taken away or replaced, nothing can be put back.
    let n = n_not_undone(|op, doc| {
        let removed = op.inverted(Some(doc))?;
        Ok(TreeOp { put: Put::default(), ..removed })
    });
    assert!(n > 1000, "{n}");
}

#[test]
fn operations_are_read_as_they_are_written() {
    for seed in 0..CASES {
        let (_, left, right) = case(seed);
        for op in [transformed(&left, &right, Side::Left), left] {
            assert_eq!(TreeOp::parse(&op.to_value()), Ok(op), "seed {seed}");
        }
    }
}

#[test]
fn the_rules_of_clashes_hold() {
    let doc = json!({"t": "abc", "list": [1, 2, 3]});
    // What is removed stays removed.
    let [left, right, value_after] = converged(&doc, json!(["t", {"es": ["x"]}]), json!(["t", {"r": true}]));
    assert_eq!((left, right), (Value::Null, value(&json!(["t", {"r": true}]))));
    assert_eq!(value_after, value(&json!({"list": [1, 2, 3]})));
    // The left one sets the key.
    let [left, right, value_after] = converged(&doc, json!(["k", {"i": 1}]), json!(["k", {"i": 2}]));
    assert_eq!((left, right), (value(&json!(["k", {"r": true, "i": 1}])), Value::Null));
    assert_eq!(value_after.get("k"), Some(&Value::from(1)));
    // Equal insertions are one, and what is put into them meets.
    let tags = |tag: &str| json!([["t", {"r": true}], ["tags", {"i": []}, 0, {"i": tag}]]);
    let [.., value_after] = converged(&doc, tags("rock"), tags("roll"));
    assert_eq!(value_after.get("tags"), Some(&value(&json!(["rock", "roll"]))));
    // Numbers add up.
    let [.., value_after] = converged(&json!(10), json!([{"ena": 2}]), json!([{"ena": -5}]));
    assert_eq!(value_after, Value::from(7));
}

#[test]
fn d_38_the_contracts_vector_of_lists_holds() {
    let [.., value_after] = converged(&json!([1, 2, 3]), json!([1, {"i": 9}]), json!([1, {"i": 8}]));
    assert_eq!(value_after, value(&json!([1, 9, 8, 2, 3])));
}

#[test]
fn clashes_are_named_by_place_and_class() {
    let left = op(json!([["a", {"r": true}], ["k", {"i": 1}], ["s", "t", {"es": ["x"]}]]));
    let right = op(json!([["a", "b", {"i": 5}], ["k", {"i": 2}], ["s", {"r": true}]]));
    let named = |own: &TreeOp, other: &TreeOp, side: Side| {
        let clashes = own.transformed(other, side).expect("of one value").clashes;
        clashes.into_iter().map(|clash| (clash.path, clash.class)).collect::<Vec<_>>()
    };
    let expected = [("/a", Class::RemovedContent), ("/k", Class::Collision), ("/s", Class::RemovedContent)];
    let expected: Vec<(String, Class)> = expected.map(|(path, class)| (path.to_owned(), class)).to_vec();
    assert_eq!(named(&left, &right, Side::Left), expected);
    let mut other_way = named(&right, &left, Side::Right);
    other_way.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(other_way, expected);
}

/// Whoever sends operations must not be able to keep the host busy with them.
#[test]
fn very_many_items_that_one_inserts_among_what_the_other_removes_are_placed_in_no_time() {
    const N: usize = 8_000;
    let began = std::time::Instant::now();
    let doc = Value::List((0..N as u64).map(Value::from).collect());
    let each = |steps: &dyn Fn(usize) -> serde_json::Value, at: std::ops::Range<usize>| {
        at.map(steps).collect::<Vec<_>>()
    };
    let removed = op(each(&|at| json!([at, { "r": true }]), 0..N).into());
    for is_in_front in [true, false] {
        let (new, edited) = if is_in_front { (0..N, N..2 * N) } else { (N..2 * N, 0..N) };
        let new = each(&|at| json!([at, { "i": "x" }]), new);
        let edited = each(&|at| json!([at, { "ena": 1 }]), edited);
        let inserted = op(if is_in_front { [new, edited] } else { [edited, new] }.concat().into());
        for side in [Side::Left, Side::Right] {
            let left = transformed(&inserted, &removed, side);
            let right = transformed(&removed, &inserted, side.other());
            let (one, other) = (after(&doc, &[&removed, &left]), after(&doc, &[&inserted, &right]));
            assert_eq!(one, other);
            assert_eq!(one.expect("fits").and_then(|made| made.as_list().map(<[Value]>::len)), Some(N));
        }
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn keys_are_in_the_order_of_javascript() {
    let op = op(json!([["\u{ffff}", {"i": 1}], ["😀", {"i": 2}], ["a", {"i": 3}]]));
    assert_eq!(op.to_value().to_json(), "[[\"a\",{\"i\":3}],[\"😀\",{\"i\":2}],[\"\u{ffff}\",{\"i\":1}]]");
}

#[test]
fn what_is_no_operation_or_does_not_fit_is_refused() {
    use crate::ot::Malformed;
    for (json, error) in [
        (json!([["a", {"p": 0}], ["b", {"d": 0}]]), Malformed::Move),
        (json!(["a", {"et": "rich", "e": 1}]), Malformed::Subtype),
        (json!([{"x": 1}]), Malformed::Tree),
        (json!([-1, {"i": 1}]), Malformed::Tree),
        (json!("a"), Malformed::Tree),
        (json!(["a", {"es": [null]}]), Malformed::Text),
        (json!(vec!["a"; 300]), Malformed::TooDeep(MAX_DEPTH)),
    ] {
        assert_eq!(TreeOp::parse(&value(&json)), Err(error), "{json}");
    }
    let doc = value(&json!({"a": [1], "t": "x"}));
    for (json, error) in [
        (json!(["b", {"r": true}]), Mismatch::NotThere),
        (json!(["a", {"i": 1}]), Mismatch::Occupied),
        (json!(["a", 3, {"i": 1}]), Mismatch::BeyondEnd),
        (json!(["a", 1, {"r": true}]), Mismatch::BeyondEnd),
        (json!(["a", {"es": ["x"]}]), Mismatch::OtherType),
        (json!(["t", {"ena": 1}]), Mismatch::OtherType),
        (json!(["a", "b", {"i": 1}]), Mismatch::OtherType),
        (json!([{"i": 1}]), Mismatch::Occupied),
    ] {
        assert_eq!(op(json.clone()).apply(Some(doc.clone())), Err(error), "{json}");
    }
}

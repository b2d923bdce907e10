use super::*;
use crate::{ot::Side, value::value};
use serde_json::json;

/// How many random cases each property is tried on.
const CASES: u64 = 4000;

fn op(json: serde_json::Value) -> TextOp {
    TextOp::parse(&value(&json)).expect("an operation")
}

fn letters(random: &mut fastrand::Rng, n: usize) -> String {
    (0..n).map(|_| random.choice(['a', 'b', 'c', 'd', 'é', '😀', '𝕏']).expect("one")).collect()
}

/// An operation on the text that changes it.
fn any_op(random: &mut fastrand::Rng, text: &str) -> TextOp {
    loop {
        let mut op = TextOp::default();
        let mut left = text.chars().count();
        for _ in 0..random.usize(2..9) {
            let n = random.usize(0..=left.min(3));
            match random.u8(0..3) {
                0 => op.push(Piece::Insert(&letters(random, n + 1))),
                1 => {
                    op.push(Piece::Skip(n));
                    left -= n;
                }
                _ => {
                    op.push(Piece::Delete(n, None));
                    left -= n;
                }
            }
        }
        let op = op.trimmed();
        if op.apply(text).is_ok_and(|after| after != text) {
            return op;
        }
    }
}

/// A text and two operations that were made from it.
fn case(seed: u64) -> (String, TextOp, TextOp) {
    let mut random = fastrand::Rng::with_seed(seed);
    let n = random.usize(0..12);
    let text = letters(&mut random, n);
    let (one, other) = (any_op(&mut random, &text), any_op(&mut random, &text));
    (text, one, other)
}

type Transform = fn(&TextOp, &TextOp, Side) -> TextOp;

/// How many cases end in two texts, depending on which operation came first.
fn n_diverging(transform: Transform) -> usize {
    let diverges = |seed: &u64| {
        let (text, left, right) = case(*seed);
        let after = |first: &TextOp, then: TextOp| then.apply(&first.apply(&text).expect("fits"));
        let one = after(&left, transform(&right, &left, Side::Right));
        one != after(&right, transform(&left, &right, Side::Left)) || one.is_err()
    };
    (0..CASES).filter(diverges).count()
}

#[test]
fn either_may_be_applied_first() {
    assert_eq!(n_diverging(TextOp::transformed), 0);
}

#[test]
fn the_test_of_that_fails_without_one_rule_for_ties() {
    let n = n_diverging(|own, other, _| own.transformed(other, Side::Left));
    assert!(n > 100, "{n}");
    let n = n_diverging(|own, other, side| own.transformed(other, side.other()));
    assert_eq!(n, 0, "flipped on both sides it is a rule as well: only another implementation tells");
}

#[test]
fn d_36_to_d_39_the_test_of_that_fails_with_the_guides_algorithm() {
    let n = n_diverging(|own, other, _| the_guides(own, other));
    assert!(n > CASES as usize / 20, "{n}");
}

/// The parts of an operation as the guide has them: each at its place in the text before; what is inserted, or how much is
/// deleted.
fn simple(op: &TextOp) -> Vec<(usize, Result<usize, String>)> {
    let mut at = 0;
    let mut all = Vec::new();
    for part in &op.parts {
        match part {
            Part::Skip(n) => at += n,
            Part::Insert(text) => all.push((at, Err(text.clone()))),
            Part::Delete(n, _) => {
                all.push((at, Ok(*n)));
                at += n;
            }
        }
    }
    all
}

/// The guide's `transform_against`: a cross product, and what comes out of it is the other operation.
fn the_guides(own: &TextOp, other: &TextOp) -> TextOp {
    let mut all: Vec<TextOp> = Vec::new();
    for (at, one) in simple(own) {
        for (position, two) in simple(other) {
            let n_inserted = one.as_ref().err().map(|text| text.chars().count());
            let moved = match (n_inserted, &one, &two) {
                (Some(n), ..) if at <= position => (position + n, two),
                (None, Ok(n), Err(_)) if at < position => (at.max(position.saturating_sub(*n)), two),
                (None, Ok(n), Ok(_)) if at + n <= position => (position - n, two),
                (None, Ok(_), Ok(m)) if position + m <= at => (position, two),
                (None, Ok(n), Ok(m)) => (at.min(position), Ok((at + n).max(position + m) - at.min(position))),
                _ => (position, two),
            };
            all.push(match moved {
                (at, Ok(n)) => TextOp::at(at, &[Piece::Delete(n, None)]),
                (at, Err(text)) => TextOp::at(at, &[Piece::Insert(&text)]),
            });
        }
    }
    all.into_iter().reduce(|all, next| all.composed(&next)).unwrap_or_default()
}

#[test]
fn composed_operations_do_what_they_do_one_after_the_other() {
    let check = |compose: fn(&TextOp, &TextOp) -> TextOp, seed: u64| {
        let (text, one, _) = case(seed);
        let between = one.apply(&text).expect("fits");
        let next = any_op(&mut fastrand::Rng::with_seed(!seed), &between);
        compose(&one, &next).apply(&text) == next.apply(&between)
    };
    let n_wrong = |compose| (0..CASES).filter(|seed| !check(compose, *seed)).count();
    assert_eq!(n_wrong(TextOp::composed), 0);
    let n = n_wrong(|one, next| next.composed(one));
    assert!(n > 1000, "{n}: the cases do not tell one order from the other");
    // The guide takes what comes next for concurrent, and what comes out of that is the operation before.
    let n = n_wrong(|one, next| one.composed(&the_guides(one, next)));
    assert!(n > 1000, "{n}: the cases do not tell the guide's algorithm from this one");
}

/// In how many cases the inverted operation does not bring the text back.
fn n_not_undone(invert: impl Fn(&TextOp, &str) -> TextOp) -> usize {
    let is_undone = |seed: &u64| {
        let (text, op, _) = case(*seed);
        let after = op.apply(&text).expect("fits");
        assert_ne!(after, text, "seed {seed}: the case shows nothing");
        invert(&op, &text).apply(&after) == Ok(text)
    };
    (0..CASES).filter(|seed| !is_undone(seed)).count()
}

#[test]
fn what_is_inverted_is_undone() {
    assert_eq!(n_not_undone(|op, text| op.inverted(text).expect("fits")), 0);
}

/// The guide's operations name a place and a length: what was deleted is in none of them, and each place is the one from
/// before everything.
#[test]
fn the_test_of_that_fails_with_the_guides_operations() {
    let opposite = |(at, part): (usize, Result<usize, String>)| match part {
        Ok(n) => TextOp::at(at, &[Piece::Insert(&" ".repeat(n))]),
        Err(text) => TextOp::at(at, &[Piece::Delete(text.chars().count(), None)]),
    };
    let n = n_not_undone(|op, _| {
        let all = simple(op).into_iter().rev().map(opposite);
        all.reduce(|all, next| all.composed(&next)).unwrap_or_default()
    });
    assert!(n > 1000, "{n}");
}

#[test]
fn every_operation_is_in_normal_form() {
    for seed in 0..CASES {
        let (text, left, right) = case(seed);
        for op in [left.transformed(&right, Side::Left), left.inverted(&text).expect("fits"), left] {
            assert_eq!(TextOp::parse(&op.to_value()), Ok(op.clone()), "seed {seed}");
            assert!(!matches!(op.parts.last(), Some(Part::Skip(_))), "seed {seed}: {op:?}");
        }
    }
}

#[test]
fn d_37_an_operation_stays_one_however_many_parts_the_other_one_has() {
    let (one, other) = (op(json!(["a", 2, {"d": 1}])), op(json!([1, "b", 2, {"d": 1}])));
    assert_eq!(one.transformed(&other, Side::Left).to_value(), value(&json!(["a", 3, {"d": 1}])));
    assert_eq!(other.transformed(&one, Side::Right).to_value(), value(&json!([2, "b", 1, {"d": 1}])));
}

#[test]
fn d_38_of_two_that_insert_at_one_place_the_left_one_goes_first() {
    let (one, other) = (op(json!([2, "x"])), op(json!([2, "yy"])));
    assert_eq!(one.transformed(&other, Side::Left).apply("abyyc"), Ok("abxyyc".into()));
    assert_eq!(other.transformed(&one, Side::Right).apply("abxc"), Ok("abxyyc".into()));
}

#[test]
fn d_39_what_both_delete_is_deleted_once_in_both_orders() {
    let (one, other) = (op(json!([{"d": 3}])), op(json!([2, {"d": 3}])));
    assert_eq!(one.transformed(&other, Side::Left).apply("abf"), Ok("f".into()));
    assert_eq!(other.transformed(&one, Side::Right).apply("def"), Ok("f".into()));
}

#[test]
fn the_documents_example_holds() {
    let (world, mark) = (op(json!([5, " world"])), op(json!([5, "!"])));
    assert_eq!(world.transformed(&mark, Side::Left).to_value(), value(&json!([5, " world"])));
    assert_eq!(mark.transformed(&world, Side::Right).to_value(), value(&json!([11, "!"])));
}

#[test]
fn what_was_deleted_is_kept_as_long_as_it_is_known() {
    let known = op(json!([{"d": "ab"}, 1, {"d": "d"}]));
    assert_eq!(
        known.transformed(&op(json!([1, "x"])), Side::Left).to_value(),
        value(&json!([{"d": "a"}, 1, {"d": "b"}, 1, {"d": "d"}]))
    );
    assert_eq!(known.composed(&op(json!([{"d": 1}]))).to_value(), value(&json!([{"d": 4}])));
    assert_eq!(op(json!([{"d": "a"}, {"d": 1}])).to_value(), value(&json!([{"d": 2}])));
}

#[test]
fn what_is_no_operation_or_does_not_fit_is_refused() {
    for json in [
        json!({"d": 1}),
        json!([-1]),
        json!([1.5]),
        json!([{"d": 1, "x": 2}]),
        json!([null]),
        json!([{"d": []}]),
    ] {
        assert_eq!(TextOp::parse(&value(&json)), Err(Malformed::Text), "{json}");
    }
    for json in [json!([4, "x"]), json!([{"d": 4}]), json!([4, {"d": 1}])] {
        assert_eq!(op(json.clone()).apply("abc"), Err(Mismatch::BeyondEnd), "{json}");
        assert_eq!(op(json.clone()).inverted("abc"), Err(Mismatch::BeyondEnd), "{json}");
    }
    assert_eq!(op(json!([3, "x"])).apply("abc"), Ok("abcx".into()));
}

#[test]
fn every_character_is_found_where_it_begins() {
    let mut random = fastrand::Rng::with_seed(5);
    for n in 0..200 {
        let text = letters(&mut random, n);
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.enumerate().for_each(|(number, at)| assert_eq!(byte_of(&text, number), Some(at), "{text}"));
        assert_eq!(byte_of(&text, n + 1), None);
    }
}

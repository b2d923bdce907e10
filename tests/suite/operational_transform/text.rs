//! Random pairs of operations on a text, as `ot-text-unicode` writes them.

use super::{Case, assert_share};
use serde_json::{Value, json};
use std::ops::RangeInclusive;

const LETTERS: [&str; 12] = ["a", "b", "c", " ", "\n", "é", "ß", "中", "😀", "𝄞", "👩‍👩‍👧", "e\u{301}"];

/// Cases in which both operations do something.
pub fn cases(random: &mut fastrand::Rng, n: usize) -> Vec<Case> {
    let mut cases = Vec::with_capacity(n);
    while cases.len() < n {
        let doc = letters(random, 0..24);
        let chars: Vec<char> = doc.chars().collect();
        let ops = [any_op(random, chars.len()), any_op(random, chars.len())];
        if ops.iter().all(|op| applied(&chars, op) != doc) {
            cases.push(Case { doc: Value::from(doc), ops });
        }
    }
    cases
}

fn letters(random: &mut fastrand::Rng, n: std::ops::Range<usize>) -> String {
    let n = random.usize(n);
    (0..n).map(|_| random.choice(LETTERS).expect("a letter")).collect()
}

/// An operation in normal form: its parts are neither empty nor followed by one of their kind.
pub fn any_op(random: &mut fastrand::Rng, len: usize) -> Value {
    let (mut parts, mut at): (Vec<Value>, usize) = (Vec::new(), 0);
    for _ in 0..random.usize(2..5) {
        let skipped = random.usize(0..=(len - at).min(6));
        if skipped > 0 {
            parts.push(json!(skipped));
            at += skipped;
        }
        let (inserted, deleted) = (letters(random, 1..4), random.usize(0..=(len - at).min(5)));
        let is_last_an_insert = parts.last().is_some_and(Value::is_string);
        let is_last_a_deletion = parts.last().is_some_and(Value::is_object);
        let mut edits: Vec<Value> = Vec::new();
        if random.u8(0..3) > 0 && !is_last_an_insert {
            edits.push(json!(inserted));
        }
        if deleted > 0 && !is_last_a_deletion && random.u8(0..3) > 0 {
            edits.push(json!({ "d": deleted }));
            at += deleted;
        }
        // Whether it deletes or inserts first is a part of the normal form.
        if edits.len() == 2 && !is_last_an_insert && !is_last_a_deletion && random.bool() {
            edits.reverse();
        }
        parts.extend(edits);
    }
    while parts.last().is_some_and(Value::is_number) {
        parts.pop();
    }
    joined(parts)
}

/// Skips beside each other become one.
fn joined(parts: Vec<Value>) -> Value {
    let mut joined: Vec<Value> = Vec::with_capacity(parts.len());
    for part in parts {
        match (joined.last_mut(), part.as_u64()) {
            (Some(last), Some(skipped)) if last.is_number() => {
                *last = json!(last.as_u64().expect("a count") + skipped);
            }
            _ => joined.push(part),
        }
    }
    Value::Array(joined)
}

fn parts(op: &Value) -> &[Value] {
    op.as_array().expect("a list")
}

fn n_deleted(part: &Value) -> usize {
    part["d"].as_u64().unwrap_or(0) as usize
}

/// The text after the operation.
pub fn applied(chars: &[char], op: &Value) -> String {
    let (mut text, mut at) = (String::new(), 0);
    for part in parts(op) {
        match part {
            Value::Number(n) => {
                let skipped = n.as_u64().expect("a count") as usize;
                text.extend(&chars[at..at + skipped]);
                at += skipped;
            }
            Value::String(inserted) => text.push_str(inserted),
            deletion => at += n_deleted(deletion),
        }
    }
    text.extend(&chars[at..]);
    text
}

/// The places of the text that the operation touches.
fn touched(op: &Value) -> Vec<RangeInclusive<usize>> {
    let mut at = 0;
    let mut ranges = Vec::new();
    for part in parts(op) {
        let n = part.as_u64().map_or_else(|| n_deleted(part), |n| n as usize);
        if !part.is_number() {
            ranges.push(at..=at + n);
        }
        at += n;
    }
    ranges
}

fn is_close([one, other]: &[Value; 2]) -> bool {
    let others = touched(other);
    touched(one)
        .iter()
        .any(|one| others.iter().any(|other| one.start() <= other.end() && other.start() <= one.end()))
}

fn is_wide(text: &str) -> bool {
    text.chars().any(|char| char > '\u{ffff}')
}

/// Whether the cases can tell one rule from another.
pub fn assert_strong(cases: &[Case]) {
    let n = |holds: fn(&Case) -> bool| cases.iter().filter(|case| holds(case)).count();
    let is_many = |case: &Case| case.ops.iter().all(|op| parts(op).len() >= 3);
    assert_share("overlapping or adjacent", n(|case| is_close(&case.ops)), cases.len(), 50);
    assert_share("beyond U+FFFF", n(|case| is_wide(&format!("{}{:?}", case.doc, case.ops))), cases.len(), 20);
    assert_share("at least three parts on both sides", n(is_many), cases.len(), 50);
}

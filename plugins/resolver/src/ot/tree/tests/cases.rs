//! Random values and operations on them.

use super::super::{transform::Class, *};
use std::collections::BTreeMap;

/// How many random cases each property is tried on.
pub const CASES: u64 = 4000;

const NAMES: [&str; 4] = ["a", "b", "é", "😀"];

/// A value and two operations that were made from it; each changes it.
pub fn case(seed: u64) -> (Value, TreeOp, TreeOp) {
    let mut random = fastrand::Rng::with_seed(seed);
    let doc = loop {
        // With something in it to meet at.
        let doc = any_value(&mut random, 4);
        let n_below = doc.as_object().map_or(0, BTreeMap::len).max(doc.as_list().map_or(0, <[Value]>::len));
        if n_below >= 2 {
            break doc;
        }
    };
    let (one, other) = (op_on(&mut random, Some(&doc)), op_on(&mut random, Some(&doc)));
    (doc, one, other)
}

fn letters(random: &mut fastrand::Rng) -> String {
    (0..random.usize(0..6)).map(|_| random.choice(['a', 'b', 'c', '😀']).expect("one")).collect()
}

fn any_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth == 0 { 4 } else { 10 }) {
        0 => Value::Bool(random.bool()),
        1 => Value::from(random.u64(0..4)),
        2 | 3 => Value::Text(letters(random)),
        4..=6 => Value::List((0..random.usize(0..6)).map(|_| any_value(random, depth - 1)).collect()),
        _ => {
            let mut fields = BTreeMap::new();
            for name in NAMES {
                if random.bool() {
                    fields.insert(name.to_owned(), any_value(random, depth - 1));
                }
            }
            Value::Object(fields)
        }
    }
}

/// An operation that changes the value; `None` is no value.
pub fn op_on(random: &mut fastrand::Rng, value: Option<&Value>) -> TreeOp {
    loop {
        let mut op = TreeOp::default();
        (op.removal, op.put) = any_op(random, value, true);
        if !op.is_noop() && op.apply(value.cloned()).is_ok_and(|after| after.as_ref() != value) {
            return op;
        }
    }
}

fn any_op(random: &mut fastrand::Rng, value: Option<&Value>, is_root: bool) -> (Removal, Put) {
    let Some(value) = value else { return (Removal::default(), inserted(random)) };
    if random.u8(0..if is_root { 60 } else { 6 }) == 0 {
        let put = if random.bool() { inserted(random) } else { Put::default() };
        return (Removal::whole(), put);
    }
    let (mut removal, mut put) = (Removal::default(), Put::default());
    match value {
        Value::Text(text) => {
            put.edit = Some(Edit::Text(any_text_op(random, text))).filter(|edit| !edit.is_noop())
        }
        Value::Number(_) if random.bool() => put.edit = Some(Edit::Add(Number::from(random.i128(-3..4)))),
        Value::Object(fields) => {
            for name in NAMES {
                let field = fields.get(name);
                if random.bool() && (field.is_some() || random.bool()) {
                    continue;
                }
                let (removed, changed) = any_op(random, field, false);
                removal.set(Key::Name(name.to_owned()), removed);
                put.set(Key::Name(name.to_owned()), changed);
            }
        }
        Value::List(items) => any_op_on_items(random, items, &mut removal, &mut put),
        _ => {}
    }
    (removal, put)
}

fn any_op_on_items(random: &mut fastrand::Rng, items: &[Value], removal: &mut Removal, put: &mut Put) {
    let mut after = 0;
    for before in 0..=items.len() {
        while random.u8(0..4) == 0 {
            put.set(Key::Index(after), inserted(random));
            after += 1;
        }
        let Some(item) = items.get(before) else { break };
        let (removed, changed) = match random.bool() {
            true => any_op(random, Some(item), false),
            _ => Default::default(),
        };
        if !removed.is_whole {
            put.set(Key::Index(after), changed);
            after += 1;
        }
        removal.set(Key::Index(before), removed);
    }
}

/// An insertion; now and then something is put into what is inserted.
fn inserted(random: &mut fastrand::Rng) -> Put {
    let insert = any_value(random, 1);
    let mut put = Put::default();
    if random.u8(0..3) == 0 {
        (_, put) = loop {
            let (removal, put) = any_op(random, Some(&insert), false);
            if removal.is_empty() {
                break (removal, put);
            }
        };
    }
    Put { insert: Some(insert), ..put }
}

fn any_text_op(random: &mut fastrand::Rng, text: &str) -> TextOp {
    use crate::ot::text::Piece;
    let mut op = TextOp::default();
    let mut left = text.chars().count();
    for _ in 0..random.usize(1..5) {
        let n = random.usize(0..=left.min(2));
        match random.u8(0..3) {
            0 => {
                op.push(Piece::Insert(&letters(random)));
                continue;
            }
            1 => op.push(Piece::Skip(n)),
            _ => op.push(Piece::Delete(n, None)),
        }
        left -= n;
    }
    op.trimmed()
}

#[test]
fn the_cases_hold_what_matters() {
    let (mut counts, mut n_parts) = (BTreeMap::<&str, u64>::new(), 0);
    for seed in 0..CASES {
        let (_, one, other) = case(seed);
        n_parts += u64::from(n_edits(&one) >= 3 && n_edits(&other) >= 3);
        for clash in one.transformed(&other, crate::ot::Side::Left).expect("of one value").clashes {
            let class = match clash.class {
                Class::RemovedContent => "removed",
                Class::Collision => "collision",
            };
            *counts.entry(class).or_default() += 1;
        }
    }
    assert!(
        counts["removed"] > CASES / 10 && counts["collision"] > CASES / 20 && n_parts > CASES / 4,
        "{counts:?} {n_parts}"
    );
}

/// How many removals, insertions and edits it has.
fn n_edits(op: &TreeOp) -> usize {
    fn removals(removal: &Removal) -> usize {
        usize::from(removal.is_whole) + removal.below.values().map(removals).sum::<usize>()
    }
    fn puts(put: &Put) -> usize {
        let own = usize::from(put.insert.is_some()) + usize::from(put.edit.is_some());
        own + put.below.values().map(puts).sum::<usize>()
    }
    removals(&op.removal) + puts(&op.put)
}

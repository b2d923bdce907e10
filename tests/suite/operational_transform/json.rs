//! Random pairs of operations on JSON, as `ot-json1` writes them, without its moves.

use super::{Case, assert_share, text};
use serde_json::{Map, Value, json};
use std::{cmp::Ordering, collections::BTreeMap};

const NAMES: [&str; 6] = ["a", "b", "é", "😀", "\u{e000}", "0"];

/// Cases in which both operations do something.
pub fn cases(random: &mut fastrand::Rng, n: usize) -> Vec<Case> {
    let mut cases = Vec::with_capacity(n);
    while cases.len() < n {
        let doc = if random.u8(0..10) == 0 { any_value(random, 3) } else { any_object(random, 3) };
        let ops = [any_op(random, &doc), any_op(random, &doc)];
        if ops.iter().all(|op| !op.is_null()) {
            cases.push(Case { doc, ops });
        }
    }
    cases
}

fn any_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth == 0 { 4 } else { 12 }) {
        0 => json!(random.bool()),
        1 => json!(random.i32(-9..100)),
        2 | 3 => json!(any_text(random)),
        4..=6 => (0..random.usize(0..5)).map(|_| any_value(random, depth - 1)).collect(),
        _ => any_object(random, depth),
    }
}

fn any_object(random: &mut fastrand::Rng, depth: usize) -> Value {
    let mut fields = Map::new();
    for name in NAMES {
        if random.u8(0..4) > 0 {
            fields.insert(name.to_owned(), any_value(random, depth - 1));
        }
    }
    Value::Object(fields)
}

fn any_text(random: &mut fastrand::Rng) -> String {
    (0..random.usize(1..8)).map(|_| random.choice(["x", "y", "ü", "🎈"]).expect("a letter")).collect()
}

/// A step into a value; indexes come before names, and names are in JavaScript's order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Index(usize),
    Name(&'static str),
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Index(one), Self::Index(other)) => one.cmp(other),
            (Self::Name(one), Self::Name(other)) => one.encode_utf16().cmp(other.encode_utf16()),
            (Self::Index(_), Self::Name(_)) => Ordering::Less,
            (Self::Name(_), Self::Index(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    fn json(&self) -> Value {
        match self {
            Self::Index(index) => json!(index),
            Self::Name(name) => json!(name),
        }
    }
}

/// An operation while it is made: what happens at a place, and below it.
#[derive(Debug, Default)]
struct Tree {
    component: Map<String, Value>,
    below: BTreeMap<Key, Tree>,
}

impl Tree {
    fn set(&mut self, path: &[Key], what: &str, value: Value) {
        let place = path.iter().fold(self, |at, key| at.below.entry(key.clone()).or_default());
        place.component.insert(what.to_owned(), value);
    }

    fn write(&self, steps: &mut Vec<Value>) {
        if !self.component.is_empty() {
            steps.push(Value::Object(self.component.clone()));
        }
        for (key, below) in &self.below {
            if self.below.len() == 1 {
                steps.push(key.json());
                below.write(steps);
            } else {
                let mut branch = vec![key.json()];
                below.write(&mut branch);
                steps.push(Value::Array(branch));
            }
        }
    }
}

/// `null` if it came to nothing.
fn any_op(random: &mut fastrand::Rng, doc: &Value) -> Value {
    let mut tree = Tree::default();
    if random.u8(0..40) == 0 {
        replace(random, &[], &[], &mut tree);
    } else {
        change(random, doc, (&mut Vec::new(), &mut Vec::new()), &mut tree);
    }
    let mut steps = Vec::new();
    tree.write(&mut steps);
    if steps.is_empty() { Value::Null } else { Value::Array(steps) }
}

/// Another value in the place of one: no value of the document is like it.
fn replace(random: &mut fastrand::Rng, before: &[Key], after: &[Key], tree: &mut Tree) {
    tree.set(before, "r", json!(true));
    // Few different ones, so that two authors sometimes want the same.
    tree.set(after, "i", json!(format!("new {}", random.u8(0..4))));
}

/// Changes of a value. A place is where it was for what is removed, and where it is afterwards for the rest.
fn change(
    random: &mut fastrand::Rng,
    value: &Value,
    (before, after): (&mut Vec<Key>, &mut Vec<Key>),
    tree: &mut Tree,
) {
    match value {
        Value::String(text) => {
            let chars: Vec<char> = text.chars().collect();
            let op = text::any_op(random, chars.len());
            if text::applied(&chars, &op) != *text {
                tree.set(after, "es", op);
            }
        }
        Value::Number(_) => {
            tree.set(after, "ena", json!(random.i32(1..9) * if random.bool() { 1 } else { -1 }))
        }
        Value::Object(fields) => {
            for name in NAMES.into_iter().filter(|_| random.u8(0..2) == 0).collect::<Vec<_>>() {
                before.push(Key::Name(name));
                after.push(Key::Name(name));
                match fields.get(name) {
                    Some(field) => change_one(random, field, (&mut *before, &mut *after), tree),
                    None => tree.set(after, "i", json!(format!("new {}", random.u8(0..4)))),
                }
                before.pop();
                after.pop();
            }
        }
        Value::Array(items) => change_items(random, items, (before, after), tree),
        _ => {}
    }
}

fn change_one(
    random: &mut fastrand::Rng,
    value: &Value,
    (before, after): (&mut Vec<Key>, &mut Vec<Key>),
    tree: &mut Tree,
) {
    match random.u8(0..6) {
        0 => tree.set(before, "r", json!(true)),
        1 => replace(random, before, after, tree),
        _ => change(random, value, (before, after), tree),
    }
}

/// Some items are removed, some are put between the rest, and some of the rest are changed.
fn change_items(
    random: &mut fastrand::Rng,
    items: &[Value],
    (before, after): (&mut Vec<Key>, &mut Vec<Key>),
    tree: &mut Tree,
) {
    let mut left: Vec<Option<usize>> = Vec::new();
    for at in 0..items.len() {
        if random.u8(0..4) == 0 {
            before.push(Key::Index(at));
            tree.set(before, "r", json!(true));
            before.pop();
        } else {
            left.push(Some(at));
        }
    }
    for _ in 0..random.usize(0..3) {
        left.insert(random.usize(0..=left.len()), None);
    }
    for (to, from) in left.into_iter().enumerate() {
        after.push(Key::Index(to));
        match from {
            None => tree.set(after, "i", json!(format!("new {}", random.u8(0..4)))),
            Some(from) if random.bool() => {
                before.push(Key::Index(from));
                change(random, &items[from], (&mut *before, &mut *after), tree);
                before.pop();
            }
            Some(_) => {}
        }
        after.pop();
    }
}

/// How many places an operation does something at.
fn n_parts(op: &Value) -> usize {
    match op {
        Value::Array(steps) => steps.iter().map(n_parts).sum(),
        Value::Object(component) => component.len(),
        _ => 0,
    }
}

/// Where an operation does something, and what.
fn places(op: &Value) -> Vec<(Vec<&Value>, &Map<String, Value>)> {
    let mut path = Vec::new();
    let mut places = Vec::new();
    for step in op.as_array().into_iter().flatten() {
        match step {
            Value::Object(component) => places.push((path.clone(), component)),
            Value::Array(_) => {
                let under = |place: Vec<_>| path.iter().copied().chain(place).collect();
                places.extend(self::places(step).into_iter().map(|(place, what)| (under(place), what)));
            }
            key => path.push(key),
        }
    }
    places
}

/// What an operation does, without removals below what it removes anyway.
pub fn effects(op: &Value) -> Vec<Value> {
    let places = places(op);
    let removed: Vec<_> =
        places.iter().filter(|(_, what)| what.contains_key("r")).map(|(at, _)| at).collect();
    let mut effects = Vec::new();
    for (at, what) in &places {
        for (name, value) in *what {
            let is_gone = removed.iter().any(|above| above.len() < at.len() && at.starts_with(above));
            if name != "r" || !is_gone {
                effects.push(json!([at, name, value]));
            }
        }
    }
    effects.sort_by_key(Value::to_string);
    effects
}

/// Whether two operations do something to one value, to something in it, or to items of one list.
fn is_close([one, other]: &[Value; 2]) -> bool {
    let (one, other) = (places(one), places(other));
    let is_near = |one: &[&Value], other: &[&Value]| {
        let apart = one.iter().zip(other).find(|(one, other)| one != other);
        apart.is_none_or(|(one, other)| one.is_number() && other.is_number())
    };
    one.iter().any(|(one, _)| other.iter().any(|(other, _)| is_near(one, other)))
}

/// Whether the cases can tell one rule from another; `expected` says which of them clash.
pub fn assert_strong(cases: &[Case], expected: &[Value]) {
    let n_clashes = |class: u64| expected.iter().filter(|answer| answer["conflict"] == class).count();
    assert_share("remove against edit", n_clashes(1), cases.len(), 10);
    assert_share("collisions", n_clashes(2), cases.len(), 5);
    let close = cases.iter().filter(|case| is_close(&case.ops));
    assert_share("overlapping or adjacent", close.count(), cases.len(), 50);
    let wide = cases.iter().filter(|case| format!("{case:?}").chars().any(|char| char > '\u{ffff}'));
    assert_share("beyond U+FFFF", wide.count(), cases.len(), 20);
    let many = cases.iter().filter(|case| case.ops.iter().all(|op| n_parts(op) >= 3));
    assert_share("at least three parts on both sides", many.count(), cases.len(), 50);
}

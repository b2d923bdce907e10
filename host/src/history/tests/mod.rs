//! Random values and changes of them, and what differences and blame have to hold for all of them.

mod differing;
mod blaming;

use super::*;
use serde_json::{Map, Value, json};

/// How many random cases each property is tried on.
const CASES: u64 = 3000;

const NAMES: [&str; 5] = ["a", "b/c", "d~e", "é 😀", ""];

fn any_text(random: &mut fastrand::Rng) -> String {
    let n_lines = random.usize(1..5);
    (0..n_lines)
        .map(|_| random.choice(["one", "two words", "é", ""]).expect("a line"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn any_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth == 0 { 5 } else { 10 }) {
        0 => json!(random.bool()),
        1 => json!(null),
        2 => json!(random.u8(0..4)),
        3 => json!(random.i8(..) as f64 / 4.0),
        4 => json!(any_text(random)),
        5..=7 => (0..random.usize(0..5)).map(|_| any_value(random, depth - 1)).collect(),
        _ => {
            let fields = NAMES.into_iter().filter(|_| random.bool());
            let fields: Vec<_> = fields.map(str::to_owned).collect();
            fields.into_iter().map(|name| (name, any_value(random, depth - 1))).collect::<Map<_, _>>().into()
        }
    }
}

/// The value with some of it changed, or all of it.
fn changed(random: &mut fastrand::Rng, value: &Value) -> Value {
    match value {
        _ if random.u8(0..12) == 0 => any_value(random, 2),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            for name in NAMES {
                match (random.u8(0..6), fields.get(name)) {
                    (0, Some(_)) => drop(fields.remove(name)),
                    (1 | 2, Some(field)) => {
                        let field = changed(random, field);
                        fields.insert(name.to_owned(), field);
                    }
                    (3, None) => drop(fields.insert(name.to_owned(), any_value(random, 1))),
                    _ => {}
                }
            }
            Value::Object(fields)
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().filter(|_| random.u8(0..5) > 0).cloned().collect();
            for item in &mut items {
                if random.u8(0..4) == 0 {
                    *item = changed(random, item);
                }
            }
            for _ in 0..random.usize(0..3) {
                items.insert(random.usize(0..=items.len()), any_value(random, 1));
            }
            items.into()
        }
        Value::String(_) => json!(any_text(random)),
        other if random.bool() => other.clone(),
        _ => any_value(random, 1),
    }
}

//! What authors want of a value.

use serde_json::{Map, Value, json};

const NAMES: [&str; 4] = ["a", "b", "é", "x/y"];
const WORDS: [&str; 5] = ["one", "zwei", "trois", "四", "😀"];

fn word(random: &mut fastrand::Rng) -> &'static str {
    random.choice(WORDS).expect("a word")
}

fn text(random: &mut fastrand::Rng) -> String {
    (0..random.usize(3..8)).map(|_| word(random)).collect::<Vec<_>>().join(" ")
}

fn simple(random: &mut fastrand::Rng) -> Value {
    match random.u8(0..4) {
        0 => json!(random.u8(0..10)),
        1 => json!(random.bool()),
        2 => json!(text(random)),
        _ => json!(null),
    }
}

/// Some value.
pub fn value(random: &mut fastrand::Rng) -> Value {
    match random.u8(0..6) {
        0 => json!(text(random)),
        1 => json!(random.u8(0..100)),
        2 => Value::Array((0..random.usize(2..6)).map(|i| json!(i)).collect()),
        _ => {
            let names = NAMES.into_iter().filter(|_| random.u8(0..4) > 0).collect::<Vec<_>>();
            let field = |name: &str| (name.to_owned(), simple(random));
            let mut fields: Map<String, Value> = names.into_iter().map(field).collect();
            fields.insert("deep".to_owned(), json!({ "list": [1, 2, 3], "text": "one two three four" }));
            Value::Object(fields)
        }
    }
}

/// The value with something of it changed.
pub fn changed(random: &mut fastrand::Rng, old: &Value) -> Value {
    if random.u8(0..12) == 0 {
        return value(random);
    }
    match old {
        Value::String(text) => {
            let mut words: Vec<&str> = text.split(' ').collect();
            let at = random.usize(0..words.len());
            match random.u8(0..3) {
                0 => words.insert(at, word(random)),
                1 => words[at] = word(random),
                _ => drop(words.remove(at)),
            }
            json!(words.join(" "))
        }
        Value::Number(number) => json!(number.as_i64().unwrap_or(0) + random.i64(-5..10)),
        Value::Array(items) => {
            let mut items = items.clone();
            let at = random.usize(0..=items.len());
            match items.get_mut(at) {
                Some(_) if random.bool() => drop(items.remove(at)),
                Some(item) if random.bool() => *item = json!(random.u8(10..90)),
                _ => items.insert(at, json!(random.u8(10..90))),
            }
            Value::Array(items)
        }
        Value::Object(fields) => {
            let mut fields = fields.clone();
            for _ in 0..random.usize(1..3) {
                change_field(random, &mut fields);
            }
            Value::Object(fields)
        }
        _ => simple(random),
    }
}

fn change_field(random: &mut fastrand::Rng, fields: &mut Map<String, Value>) {
    let name = if random.u8(0..3) == 0 { "deep" } else { *random.choice(&NAMES).expect("a name") };
    match fields.get(name) {
        Some(_) if random.u8(0..4) == 0 => drop(fields.remove(name)),
        Some(old) => {
            let new = changed(random, &old.clone());
            fields.insert(name.to_owned(), new);
        }
        None => drop(fields.insert(name.to_owned(), simple(random))),
    }
}

/// Operations on the value, in one of their forms.
pub fn operations(random: &mut fastrand::Rng, old: &Value) -> Value {
    match old {
        Value::String(text) => {
            let n = text.chars().count();
            let (at, word) = (random.usize(0..=n), word(random));
            match random.u8(0..3) {
                0 if at < n => json!([at, { "d": 1 }, word]),
                1 => json!({ "op_type": "insert", "position": at, "content": word }),
                _ => json!([at, word]),
            }
        }
        Value::Number(_) => json!([{ "ena": random.i64(-5..10) }]),
        Value::Array(items) => {
            let at = random.usize(0..=items.len());
            match random.bool() && at < items.len() {
                true => json!([at, { "r": true }]),
                false => json!({ "op_type": "insert", "position": at, "content": random.u8(10..90) }),
            }
        }
        Value::Object(fields) => {
            let name = if random.u8(0..3) == 0 { "deep" } else { *random.choice(&NAMES).expect("a name") };
            match fields.get(name) {
                Some(_) if random.u8(0..4) == 0 => json!([name, { "r": true }]),
                Some(below @ (Value::Object(_) | Value::Array(_))) => under(name, &operations(random, below)),
                Some(_) => json!([name, { "r": true, "i": simple(random) }]),
                None => json!([name, { "i": simple(random) }]),
            }
        }
        _ => json!([{ "r": true, "i": simple(random) }]),
    }
}

/// The operation one step further down; the guide's have no form for that.
fn under(name: &str, operation: &Value) -> Value {
    let Value::Array(steps) = operation else {
        return json!([name, operation["position"], { "i": operation["content"] }]);
    };
    let mut below = vec![json!(name)];
    below.extend(steps.iter().cloned());
    Value::Array(below)
}

/// The method as a name that lives as long as the tests.
pub fn known_method(method: &str) -> &'static str {
    const METHODS: [&str; 10] = [
        "last_write_wins",
        "first_write_wins",
        "operational_transform",
        "dictionary_merge",
        "list_merge",
        "numeric_average",
        "numeric_delta",
        "numeric_max",
        "text_merge",
        "manual_resolution_pending",
    ];
    METHODS.into_iter().find(|known| *known == method).expect("a method")
}

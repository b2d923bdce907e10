//! The guide's own algorithms on the same histories: they show different values on hosts that have heard the same, and the
//! test of the histories notices.

use super::*;

/// The changes that stand in the end, in the order in which this host came to know them.
fn heard(node: &Node) -> Vec<&Value> {
    let Some((_, last)) = node.entries.last() else { return Vec::new() };
    let Some(standing) = last["siblings"].as_array() else { return vec![last] };
    let first_heard = |sibling: &Value| {
        node.entries.iter().position(|(_, entry)| {
            let beside = entry["siblings"].as_array().into_iter().flatten();
            entry["dot"] == sibling["dot"] || beside.into_iter().any(|one| one["dot"] == sibling["dot"])
        })
    };
    let mut heard: Vec<&Value> = standing.iter().collect();
    heard.sort_by_key(|sibling| first_heard(sibling));
    heard
}

/// `_operational_transform`: changes sorted by their clocks, each of them a `replace` that becomes the one before it.
fn operational_transform(mut changes: Vec<&Value>) -> Value {
    changes.sort_by_key(|change| change["timestamp"].as_str());
    changes.first().map_or(Value::Null, |change| change["new_value"].clone())
}

/// `_merge_strategies`: what is later in the list wins, field by field; the mean of numbers, the union of lists.
fn merge_strategies(changes: Vec<&Value>) -> Value {
    let values: Vec<&Value> = changes.iter().map(|change| &change["new_value"]).collect();
    if values.iter().all(|value| value.is_object()) {
        let fields = values.iter().filter_map(|value| value.as_object()).flatten();
        return Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    if values.iter().all(|value| value.is_array()) {
        let mut items: Vec<Value> = Vec::new();
        for item in values.iter().filter_map(|value| value.as_array()).flatten() {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
        return Value::Array(items);
    }
    if values.iter().all(|value| value.is_number()) {
        let sum: f64 = values.iter().filter_map(|value| value.as_f64()).sum();
        return json!(sum / values.len() as f64);
    }
    last_write(changes)
}

/// `_last_write_wins`: the latest timestamp, of equal ones the first in the list.
fn last_write(changes: Vec<&Value>) -> Value {
    let latest = changes.iter().rev().max_by_key(|change| change["timestamp"].as_str());
    latest.map_or(Value::Null, |change| change["new_value"].clone())
}

fn n_diverged(strategy: &str, offset: u64, resolve: fn(Vec<&Value>) -> Value) -> usize {
    let is_diverged = |seed: &u64| {
        let history = History::new(*seed, &[strategy]).run();
        let shown: Vec<Value> = history.nodes.iter().map(|node| resolve(heard(node))).collect();
        shown.iter().any(|value| *value != shown[0])
    };
    (offset..offset + 100).filter(is_diverged).count()
}

#[test]
fn the_test_of_histories_fails_with_the_guides_operational_transform() {
    assert!(n_diverged("operational_transform", 0, operational_transform) > 5);
}

#[test]
fn the_test_of_histories_fails_with_the_guides_merge() {
    assert!(n_diverged("merge_strategies", 100_000, merge_strategies) > 5);
}

#[test]
fn the_test_of_histories_fails_with_the_guides_last_write() {
    assert!(n_diverged("last_write_wins", 200_000, last_write) > 5);
}

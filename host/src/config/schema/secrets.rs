//! Which values a schema calls secret.

use std::collections::BTreeSet;

use serde_json::Value;

use super::resolve;
use crate::config::source_text::{SourceText, path};

/// Masks every value that the schema calls a secret, and unknown fields beside one, which may be a secret misspelt.
pub(super) fn mask_secrets(source: &SourceText, at: &str, value: &Value, schema: &Value) {
    secrets(at, value, schema).iter().for_each(|path| source.mask(path));
}

/// The paths, from `at` on, of every value that the schema calls a secret.
pub(in crate::config) fn secrets(at: &str, value: &Value, schema: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    each_secret(schema, schema, value, at, &mut |path| {
        paths.insert(path.to_owned());
    });
    paths
}

/// Calls `found` with the path of every secret in `value`.
fn each_secret(root: &Value, node: &Value, value: &Value, at: &str, found: &mut dyn FnMut(&str)) {
    if names_secret(root, node) {
        return each_leaf(value, at, found);
    }
    let Some(node) = resolve(root, node) else { return };
    for keyword in ["anyOf", "oneOf", "allOf"] {
        for branch in node.get(keyword).and_then(Value::as_array).into_iter().flatten() {
            each_secret(root, branch, value, at, found);
        }
    }
    match value {
        Value::Object(fields) => {
            let known = node.get("properties").and_then(Value::as_object);
            let has_secret = known.is_some_and(|known| known.values().any(|field| names_secret(root, field)));
            for (name, value) in fields {
                let at = path::join(at, name);
                match known.and_then(|known| known.get(name)).or_else(|| node.get("additionalProperties")) {
                    Some(field) if field.is_object() => each_secret(root, field, value, &at, found),
                    _ if has_secret => each_leaf(value, &at, found),
                    _ => {}
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = node.get("items") else { return };
            for (n, value) in items.iter().enumerate() {
                each_secret(root, item, value, &path::join(at, &n.to_string()), found);
            }
        }
        _ => {}
    }
}

fn names_secret(root: &Value, field: &Value) -> bool {
    is_secret(field) || resolve(root, field).is_some_and(is_secret)
}

fn is_secret(node: &Value) -> bool {
    node.get("writeOnly").and_then(Value::as_bool) == Some(true)
        || node.get("format").and_then(Value::as_str) == Some("password")
}

fn each_leaf(value: &Value, at: &str, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| each_leaf(value, &path::join(at, name), found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, value)| each_leaf(value, &path::join(at, &n.to_string()), found));
        }
        _ => found(at),
    }
}

//! Types, options and counts in the words of an operator.

use std::fmt::Write as _;

use jsonschema::error::TypeKind;
use serde_json::Value;

/// How null is called.
pub(super) const NOTHING: &str = "nothing";

pub(super) fn type_names(kind: &TypeKind) -> Vec<String> {
    let types: Vec<String> = match kind {
        TypeKind::Single(only) => vec![only.to_string()],
        TypeKind::Multiple(set) => set.iter().map(|each| each.to_string()).collect(),
    };
    let worded = |name: &String| match name.as_str() {
        "object" => "a map".to_owned(),
        "array" => "a list".into(),
        "string" => "a string".into(),
        "integer" => "a whole number".into(),
        "number" => "a number".into(),
        "boolean" => "`true` or `false`".into(),
        _ => NOTHING.into(),
    };
    types.iter().filter(|name| *name != "null" || types.len() == 1).map(worded).collect()
}

pub(super) fn either(names: &[String]) -> String {
    let mut text = String::new();
    for (n, name) in names.iter().enumerate() {
        let joint = if n == 0 {
            ""
        } else if n + 1 == names.len() {
            " or "
        } else {
            ", "
        };
        let _ = write!(text, "{joint}{name}");
    }
    text
}

pub(super) fn either_of(options: &[&str]) -> String {
    either(&options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>())
}

pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

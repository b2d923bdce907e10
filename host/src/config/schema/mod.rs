//! A value against a JSON Schema, told in the words of the file: every mistake with its place and what was expected.
//!
//! The same rules serve plugin configurations, the pipeline format and the host settings.

mod telling;
mod words;
mod secrets;

use std::sync::Arc;

use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::quantity::{duration, size};
use super::source_text::{Anchor, SourceText, path};
use secrets::mask_secrets;
pub(super) use secrets::secrets;
use telling::Telling;

/// One mistake, at a path relative to the checked value.
#[derive(Debug)]
pub(super) struct Violation {
    pub path: String,
    pub anchor: Anchor,
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
}

/// Checks what stands at `path` of a file against `schema`, and points at everything that is wrong.
///
/// `config` is the value after `${...}` was replaced. Values of fields that the schema marks as secret
/// (`writeOnly: true`, or `format: password`) are masked in the file's text from here on.
pub fn check_against_schema(
    source: &Arc<SourceText>,
    at: &str,
    config: &Value,
    schema: &Value,
) -> Vec<Diagnostic> {
    mask_secrets(source, at, config, schema);
    let absolute = |relative: &str| path::append(at, relative);
    let mut problems: Diagnostics =
        violations(config, schema, &|relative| source.is_hidden(&absolute(relative)))
            .into_iter()
            .map(|violation| {
                let at = absolute(&violation.path);
                let wants_text = violation.message.starts_with("expected a string, found");
                let quoting = (wants_text && source.is_interpolated(&at))
                    .then(|| "quote the `${...}` if its text is meant, whatever it looks like".to_owned());
                let help = violation.help.or(quoting);
                source.diagnostic(&at, violation.anchor, violation.message, help).code(violation.code)
            })
            .collect();
    problems.sort();
    problems.into_iter().collect()
}

/// Everything in `value` that `schema` refuses; values for which `hidden` holds are not quoted.
pub(super) fn violations(value: &Value, schema: &Value, hidden: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let validator = match validator(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![unusable(&error)],
    };
    let mut telling = Telling::new(schema, hidden);
    for error in validator.iter_errors(value) {
        telling.error(&error);
    }
    telling.without_consequences()
}

/// The schema of the field at `path`, following `$ref`; `None` where the schema does not name it.
pub(super) fn field<'a>(schema: &'a Value, at: &str) -> Option<&'a Value> {
    at.split('.').filter(|segment| !segment.is_empty()).try_fold(resolve(schema, schema)?, |node, segment| {
        resolve(schema, node.get("properties")?.get(segment)?)
    })
}

/// Follows `$ref` into the same document, also where an optional field wraps it in `anyOf`.
pub(super) fn resolve<'a>(root: &'a Value, mut node: &'a Value) -> Option<&'a Value> {
    for _ in 0..16 {
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            node = root.pointer(reference.strip_prefix('#')?)?;
        } else if let Some(wrapped) = optional(node) {
            node = wrapped;
        } else {
            return Some(node);
        }
    }
    None
}

/// `anyOf: [X, null]` is how an optional X is written.
fn optional(node: &Value) -> Option<&Value> {
    let [some, none] = node.get("anyOf")?.as_array()?.as_slice() else { return None };
    (none.get("type").and_then(Value::as_str) == Some("null")).then_some(some)
}

fn validator(schema: &Value) -> Result<Validator, Box<ValidationError<'static>>> {
    jsonschema::options()
        .should_validate_formats(true)
        .with_format("duration-text", |text: &str| duration::parse(text).is_ok())
        .with_format("size-text", |text: &str| size::parse(text).is_ok())
        .build(schema)
        .map_err(Box::new)
}

fn unusable(error: &ValidationError<'_>) -> Violation {
    Violation {
        path: String::new(),
        anchor: Anchor::Key,
        code: "plugin-schema",
        message: format!("the plugin's own schema cannot be used: {error}"),
        help: Some("this is a defect of the plugin, not of the file".into()),
    }
}

//! A value against a JSON Schema, told in the words of the file: every mistake with its place and what was expected.
//!
//! The same rules serve plugin configurations, the pipeline format and the host settings.

use std::fmt::Write as _;
use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value};

use super::diagnostic::Diagnostic;
use super::nearest::{nearest, suggest};
use super::quantity::{duration, size};
use super::source_text::{Anchor, SourceText, path};

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
    let absolute =
        |relative: &str| if relative.is_empty() { at.to_owned() } else { format!("{at}.{relative}") };
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
        .collect()
}

/// Everything in `value` that `schema` refuses; values for which `hidden` holds are not quoted.
pub(super) fn violations(value: &Value, schema: &Value, hidden: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let validator = match validator(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![unusable(&error)],
    };
    let mut told = Telling { schema, hidden, violations: Vec::new() };
    for error in validator.iter_errors(value) {
        told.error(&error);
    }
    told.without_consequences()
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

struct Telling<'a> {
    schema: &'a Value,
    hidden: &'a dyn Fn(&str) -> bool,
    violations: Vec<Violation>,
}

impl Telling<'_> {
    fn error(&mut self, error: &ValidationError<'_>) {
        let at = dotted(error.instance_path().as_str());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    self.unknown_field(&at, name, error);
                }
            }
            ValidationErrorKind::Required { property } => self.missing_field(&at, property, error),
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                self.alternatives(&at, context, error);
            }
            kind => {
                let (code, message, help) = self.about_value(&at, kind, error);
                self.push(at, Anchor::Value, code, message, help);
            }
        }
    }

    fn push(
        &mut self,
        path: String,
        anchor: Anchor,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) {
        self.violations.push(Violation { path, anchor, code, message, help });
    }

    fn unknown_field(&mut self, at: &str, name: &str, error: &ValidationError<'_>) {
        let known = self.properties_beside(error);
        let given = error.instance().as_object();
        // A field that is already there cannot be the one that was meant.
        let free: Vec<_> = known
            .iter()
            .map(String::as_str)
            .filter(|known| given.is_none_or(|g| !g.contains_key(*known)))
            .collect();
        let all: Vec<_> = known.iter().map(String::as_str).collect();
        let help = match nearest(name, free.iter().copied()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if name == "<<" => Some("merge keys are not part of YAML 1.2: write the fields out".into()),
            None if all.is_empty() => Some("no fields are expected here".into()),
            None => super::nearest::expected(&all),
        };
        self.push(
            path::join(at, name),
            Anchor::Key,
            "unknown-field",
            format!("unknown field `{name}`"),
            help,
        );
    }

    fn missing_field(&mut self, at: &str, property: &Value, error: &ValidationError<'_>) {
        let name = property.as_str().unwrap_or_default();
        let about = self.beside(error).and_then(|node| {
            let field = node.get("properties")?.get(name)?;
            let described =
                field.get("description").or_else(|| resolve(self.schema, field)?.get("description"));
            Some(format!("`{name}`: {}", described?.as_str()?.lines().next()?))
        });
        self.push(at.into(), Anchor::Value, "missing-field", format!("missing field `{name}`"), about);
    }

    /// Of several allowed shapes, tells what is wrong with the one that was most probably meant.
    fn alternatives(
        &mut self,
        at: &str,
        context: &[Vec<ValidationError<'static>>],
        error: &ValidationError<'_>,
    ) {
        let constants: Vec<String> =
            context.iter().filter_map(|branch| only_constant(branch)).flatten().collect();
        if constants.len() >= context.len() {
            let (message, help) = self.not_one_of(at, &constants, error);
            return self.push(at.into(), Anchor::Value, "wrong-value", message, help);
        }
        let here = error.instance_path().as_str();
        match context.iter().min_by_key(|branch| distance(branch, here)) {
            Some(branch) if distance(branch, here) < WRONG_SHAPE => {
                branch.iter().for_each(|error| self.error(error))
            }
            _ => {
                let mut shapes: Vec<_> =
                    context.iter().filter_map(|branch| expected_type(branch, here)).collect();
                shapes.dedup();
                shapes.retain(|shape| shape != NOTHING || context.len() == 1);
                let message =
                    format!("expected {}, found {}", either(&shapes), self.found(at, error.instance()));
                self.push(at.into(), Anchor::Value, "wrong-type", message, None);
            }
        }
    }

    fn about_value(
        &self,
        at: &str,
        kind: &ValidationErrorKind,
        error: &ValidationError<'_>,
    ) -> (&'static str, String, Option<String>) {
        use ValidationErrorKind as Kind;
        let found = self.found(at, error.instance());
        let out_of_range = |what: String| ("out-of-range", what, None);
        match kind {
            Kind::Type { kind } => {
                let message = format!("expected {}, found {found}", either(&type_names(kind)));
                ("wrong-type", message, self.written_quantity(error))
            }
            Kind::Enum { options } => {
                let options: Vec<_> = options.as_array().into_iter().flatten().map(plain).collect();
                let (message, help) = self.not_one_of(at, &options, error);
                ("wrong-value", message, help)
            }
            Kind::Constant { expected_value } => {
                ("wrong-value", format!("expected `{}`, found {found}", plain(expected_value)), None)
            }
            Kind::Minimum { limit } => out_of_range(format!("must be at least {limit}, found {found}")),
            Kind::Maximum { limit } => out_of_range(format!("must be at most {limit}, found {found}")),
            Kind::ExclusiveMinimum { limit } => {
                out_of_range(format!("must be more than {limit}, found {found}"))
            }
            Kind::ExclusiveMaximum { limit } => {
                out_of_range(format!("must be less than {limit}, found {found}"))
            }
            Kind::MinItems { limit } => {
                out_of_range(format!("needs at least {limit} item{}", plural(*limit)))
            }
            Kind::MaxItems { limit } => out_of_range(format!("takes at most {limit} item{}", plural(*limit))),
            Kind::MinLength { limit } => {
                out_of_range(format!("needs at least {limit} character{}", plural(*limit)))
            }
            Kind::MaxLength { limit } => {
                out_of_range(format!("takes at most {limit} character{}", plural(*limit)))
            }
            Kind::Format { format } => ("wrong-value", self.not_in_format(at, format, error), None),
            Kind::Pattern { pattern } => {
                ("wrong-value", format!("expected text like `{pattern}`, found {found}"), None)
            }
            Kind::UniqueItems => ("wrong-value", "an item stands in this list twice".into(), None),
            _ => ("wrong-value", format!("not accepted: {}", error.masked()), None),
        }
    }

    fn not_one_of(
        &self,
        at: &str,
        options: &[String],
        error: &ValidationError<'_>,
    ) -> (String, Option<String>) {
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let message = format!("expected {}, found {}", either_of(&options), self.found(at, error.instance()));
        let near =
            error.instance().as_str().filter(|_| !(self.hidden)(at)).and_then(|text| suggest(text, &options));
        (message, near.filter(|help| help.starts_with("did")))
    }

    fn not_in_format(&self, at: &str, format: &str, error: &ValidationError<'_>) -> String {
        let text = error.instance().as_str().filter(|_| !(self.hidden)(at));
        match (format, text) {
            ("duration-text", Some(text)) => duration::parse(text).expect_err("the schema refused it"),
            ("duration-text", None) => format!("not a duration: {}", duration::EXPECTED),
            ("size-text", Some(text)) => size::parse(text).expect_err("the schema refused it"),
            ("size-text", None) => format!("not a size: {}", size::EXPECTED),
            (_, Some(text)) => format!("`{text}` is not a valid {format}"),
            (_, None) => format!("not a valid {format}"),
        }
    }

    fn written_quantity(&self, error: &ValidationError<'_>) -> Option<String> {
        match self.beside(error)?.get("format")?.as_str()? {
            "duration-text" => Some(duration::EXPECTED.into()),
            "size-text" => Some(size::EXPECTED.into()),
            _ => None,
        }
    }

    /// The value in words, quoted only where it is short and may be seen.
    fn found(&self, at: &str, value: &Value) -> String {
        let shown = |text: &str| text.chars().count() <= 40 && !(self.hidden)(at);
        match value {
            Value::Null => NOTHING.into(),
            Value::Bool(_) if (self.hidden)(at) => "a boolean".into(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Number(number) if shown(&number.to_string()) => format!("the number {number}"),
            Value::Number(_) => "a number".into(),
            Value::String(text) if shown(text) => format!("the string `{text}`"),
            Value::String(_) => "a string".into(),
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "a map".into(),
        }
    }

    /// The schema whose keyword refused the value.
    fn beside(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let keyword = error.schema_path().as_str();
        self.schema.pointer(&keyword[..keyword.rfind('/')?])
    }

    fn properties_beside(&self, error: &ValidationError<'_>) -> Vec<String> {
        let properties =
            self.beside(error).and_then(|node| node.get("properties")).and_then(Value::as_object);
        properties.into_iter().flat_map(Map::keys).cloned().collect()
    }

    /// A misspelt required field is one mistake, not an unknown and a missing one.
    fn without_consequences(self) -> Vec<Violation> {
        let meant: Vec<_> = self
            .violations
            .iter()
            .filter(|violation| violation.code == "unknown-field")
            .filter_map(|violation| Some((path::parent(&violation.path).to_owned(), violation.help.clone()?)))
            .collect();
        let follows = |violation: &Violation| {
            let name = violation.message.strip_prefix("missing field ");
            violation.code == "missing-field"
                && meant
                    .iter()
                    .any(|(at, help)| *at == violation.path && name.is_some_and(|n| help.contains(n)))
        };
        self.violations.into_iter().filter(|violation| !follows(violation)).collect()
    }
}

/// How null is called.
const NOTHING: &str = "nothing";

/// From here on a branch is of another shape than the value, so its complaints would mislead.
const WRONG_SHAPE: usize = 1000;

fn distance(branch: &[ValidationError<'static>], here: &str) -> usize {
    branch
        .iter()
        .map(|error| match error.kind() {
            ValidationErrorKind::Type { .. } if error.instance_path().as_str() == here => WRONG_SHAPE,
            // The tag of another variant.
            ValidationErrorKind::Constant { .. } | ValidationErrorKind::Enum { .. } => 100,
            ValidationErrorKind::Required { .. } => 10,
            _ => 1,
        })
        .sum()
}

/// What a branch that only names constants would have taken.
fn only_constant(branch: &[ValidationError<'static>]) -> Option<Vec<String>> {
    match branch {
        [only] => match only.kind() {
            ValidationErrorKind::Constant { expected_value } => Some(vec![plain(expected_value)]),
            ValidationErrorKind::Enum { options } => Some(options.as_array()?.iter().map(plain).collect()),
            _ => None,
        },
        _ => None,
    }
}

fn expected_type(branch: &[ValidationError<'static>], here: &str) -> Option<String> {
    branch.iter().find_map(|error| match error.kind() {
        ValidationErrorKind::Type { kind } if error.instance_path().as_str() == here => {
            Some(either(&type_names(kind)))
        }
        _ => None,
    })
}

fn type_names(kind: &TypeKind) -> Vec<String> {
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

fn either(names: &[String]) -> String {
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

fn either_of(options: &[&str]) -> String {
    either(&options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// `/sinks/0/a~1b` is `sinks.0.a/b`.
fn dotted(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .fold(String::new(), |at, segment| path::join(&at, &segment.replace("~1", "/").replace("~0", "~")))
}

/// Masks every value that the schema calls a secret, and unknown fields beside one, which may be a secret misspelt.
fn mask_secrets(source: &SourceText, at: &str, value: &Value, schema: &Value) {
    each_secret(schema, schema, value, at, &mut |path| source.mask(path));
}

/// Calls `found` with the path of every secret in `value`.
pub(super) fn each_secret(root: &Value, node: &Value, value: &Value, at: &str, found: &mut dyn FnMut(&str)) {
    let Some(node) = resolve(root, node) else { return };
    if is_secret(node) {
        return each_leaf(value, at, found);
    }
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

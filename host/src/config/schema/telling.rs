//! The validator's errors, told one by one.

use std::sync::LazyLock;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use lockstep_plugin_api::config::{Seconds, Size, parse_duration, parse_size};
use serde_json::{Map, Value};

use super::words::{NOTHING, either, either_of, plain, plural, type_names};
use super::{Violation, resolve};
use crate::config::nearest::{expected, nearest, suggest};
use crate::config::quantity::{duration, size};
use crate::config::source_text::{Anchor, path};

pub(super) struct Telling<'a> {
    schema: &'a Value,
    hidden: &'a dyn Fn(&str) -> bool,
    violations: Vec<Violation>,
}

impl<'a> Telling<'a> {
    pub(super) fn new(schema: &'a Value, hidden: &'a dyn Fn(&str) -> bool) -> Self {
        Self { schema, hidden, violations: Vec::new() }
    }

    /// Tells one error, which may be several mistakes.
    pub(super) fn error(&mut self, error: &ValidationError<'_>) {
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
            None => expected(&all),
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
            Kind::Pattern { pattern } => ("wrong-value", self.not_like(at, pattern, error), None),

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

    fn not_like(&self, at: &str, pattern: &str, error: &ValidationError<'_>) -> String {
        let text = error.instance().as_str().filter(|_| !(self.hidden)(at));
        let read = QUANTITIES.iter().find(|(known, _)| known == pattern).zip(text);
        read.and_then(|((_, parse), text)| parse(text).err()).unwrap_or_else(|| {
            format!("expected text like `{pattern}`, found {}", self.found(at, error.instance()))
        })
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
    pub(super) fn without_consequences(self) -> Vec<Violation> {
        let meant: Vec<_> = self
            .violations
            .iter()
            .filter_map(|violation| {
                let name = violation.help.as_ref()?.strip_prefix("did you mean ")?.strip_suffix('?')?;
                (violation.code == "unknown-field")
                    .then(|| (path::parent(&violation.path).to_owned(), name.to_owned()))
            })
            .collect();
        let follows = |violation: &Violation| {
            let name = violation.message.strip_prefix("missing field ");
            violation.code == "missing-field"
                && meant.iter().any(|(at, meant)| *at == violation.path && name == Some(meant.as_str()))
        };
        self.violations.into_iter().filter(|violation| !follows(violation)).collect()
    }
}

type Reads = fn(&str) -> Result<(), String>;

/// The patterns by which plugins describe durations and sizes, with what explains a mistake better than a pattern.
static QUANTITIES: LazyLock<Vec<(String, Reads)>> = LazyLock::new(|| {
    let pattern = |schema: schemars::Schema| {
        let branches = schema.get("anyOf").and_then(Value::as_array).cloned().unwrap_or_default();
        branches.iter().find_map(|branch| branch.get("pattern")?.as_str().map(str::to_owned))
    };
    let duration: Reads = |text| parse_duration(text).map(drop);
    let size: Reads = |text| parse_size(text).map(drop);
    let known = [(schemars::schema_for!(Seconds), duration), (schemars::schema_for!(Size), size)];
    known.into_iter().filter_map(|(schema, read)| Some((pattern(schema)?, read))).collect()
});

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

/// `/sinks/0/a~1b` is `sinks.0.a/b`.
fn dotted(pointer: &str) -> String {
    pointer
        .split('/')
        .skip(1)
        .fold(String::new(), |at, segment| path::join(&at, &segment.replace("~1", "/").replace("~0", "~")))
}

//! `when`: a CEL condition on one record, checked before anything runs.
//!
//! A compiled condition knows which parts of a record it looks at, and only those are ever built.
//! Comparisons of text, the usual case, run without the CEL engine. No message contains a record's values.

mod check;
mod place;
mod fast;
mod reads;
mod types;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, Program, Value as Cel};
use serde_json::Value;
use serde_json::value::RawValue;

use check::{Needs, Wanted};
use fast::Test;
use reads::Reads;

/// Longer conditions belong into a transform.
const MAX_LENGTH: usize = 4096;
/// Parentheses in parentheses, sums of sums, and the like.
const MAX_DEPTH: u16 = 64;

/// A condition that compiled and gives true or false.
#[derive(Debug)]
pub struct Condition {
    text: String,
    program: Program,
    needs: Needs,
    fast: Option<Test>,
    reads: Reads,
}

/// Why a condition was refused, and where: `length` bytes from `offset` of its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    pub offset: usize,
    pub length: usize,
    pub message: String,
    pub help: Option<String>,
}

/// What a condition may ask of a record; each part is asked for only if the condition names it.
pub trait RecordView {
    fn key(&self) -> Option<&str>;
    fn value(&self) -> Option<FieldValue<'_>>;
    fn header(&self, name: &str) -> Option<&str>;
    /// Calls `each` with every header; asked for only where the names are not known before.
    fn headers(&self, each: &mut dyn FnMut(&str, &str));
    /// Milliseconds since 1970.
    fn timestamp(&self) -> Option<i64>;
    /// A field of the change by its JSON name; `None` if it is absent or the record is no change.
    fn change_field(&self, name: &str) -> Option<FieldValue<'_>>;
}

/// A value as the record has it, turned into CEL's only when it is looked at.
#[derive(Debug, Clone)]
pub enum FieldValue<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Json(&'a RawValue),
    Value(Value),
}

impl Condition {
    /// Parses `text` and checks it: only known names, only types that fit, and a result of true or false.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        if text.len() > MAX_LENGTH {
            let message = format!("a condition has at most {MAX_LENGTH} bytes, this one has {}", text.len());
            return Err(ConditionError { offset: 0, length: 1, message, help: None });
        }
        // The parser that is safe against deep nesting goes first; the other one knows where each node stands.
        let parser = PrattParser::new().max_recursion_depth(MAX_DEPTH);
        let tree = parser.parse(text).map_err(|errors| check::syntax(text, &errors))?;
        check::depth(&tree, MAX_DEPTH)?;
        let program = Program::compile(text).map_err(|errors| check::syntax(text, &errors))?;
        let needs = check::check(&program, text)?;
        let fast = fast::of(&program.expression().expr);
        let reads = reads::of(program.expression());
        Ok(Self { text: text.into(), program, needs, fast, reads })
    }

    /// Whether the record passes; an error says which part of the condition has no answer.
    pub fn matches(&self, record: &dyn RecordView) -> Result<bool, String> {
        match &self.fast {
            Some(test) => test.matches(record),
            None => self.evaluate(record),
        }
    }

    /// Whether it looks into the values of changes.
    pub fn reads_values(&self) -> bool {
        self.reads.values
    }

    /// Whether it asks for the key or the tenant of a change, and so may look into the values of some alone.
    pub fn asks_for_key(&self) -> bool {
        self.reads.key
    }

    /// The condition as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn evaluate(&self, record: &dyn RecordView) -> Result<bool, String> {
        static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
        let mut context = Context::with_env(ENVIRONMENT.clone());
        self.needs.bind(record, &mut context);
        match self.program.execute(&context) {
            Ok(Cel::Bool(passes)) => Ok(passes),
            Ok(other) => Err(format!("the condition gave {}, not true or false", types::of_value(&other))),
            Err(error) => Err(worded(&error)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Needs {
    fn bind(&self, record: &dyn RecordView, context: &mut Context<'_, '_>) {
        if self.key {
            context.add_variable_from_value("key", record.key().map_or(Cel::Null, Cel::from));
        }
        if self.value {
            context.add_variable_from_value("value", record.value().map_or(Cel::Null, FieldValue::into_cel));
        }
        if self.timestamp {
            context.add_variable_from_value("timestamp", record.timestamp().map_or(Cel::Null, Cel::Int));
        }
        if let Some(wanted) = &self.headers {
            context.add_variable_from_value("headers", headers(record, wanted));
        }
        if let Some(wanted) = &self.change {
            context.add_variable_from_value("change", change(record, wanted));
        }
    }
}

/// The headers a condition names, or all of them.
fn headers(record: &dyn RecordView, wanted: &Wanted) -> Cel {
    let mut headers: HashMap<String, Cel> = HashMap::new();
    match wanted {
        Wanted::All => record.headers(&mut |name, value| {
            headers.insert(name.into(), value.into());
        }),
        Wanted::Only(names) => {
            for name in names {
                if let Some(value) = record.header(name) {
                    headers.insert(name.clone(), value.into());
                }
            }
        }
    }
    headers.into()
}

/// The change as a map of the fields that are there; empty for a record that is no change.
fn change(record: &dyn RecordView, wanted: &Wanted) -> Cel {
    let names: Vec<&str> = match wanted {
        Wanted::All => types::CHANGE.iter().map(|(name, _)| *name).collect(),
        Wanted::Only(names) => names.iter().map(String::as_str).collect(),
    };
    let fields: HashMap<String, Cel> = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), record.change_field(name)?.into_cel())))
        .collect();
    fields.into()
}

impl FieldValue<'_> {
    fn into_cel(self) -> Cel {
        match self {
            Self::Text(text) => Cel::from(text.as_ref()),
            Self::Integer(number) => Cel::Int(number),
            Self::Json(raw) => serde_json::from_str(raw.get()).map_or(Cel::Null, cel_of),
            Self::Value(value) => cel_of(value),
        }
    }

    /// The text of a string, without building anything else.
    fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Json(raw) => serde_json::from_str(raw.get()).ok().map(Cow::Owned),
            Self::Value(Value::String(text)) => Some(Cow::Borrowed(text)),
            Self::Integer(_) | Self::Value(_) => None,
        }
    }
}

/// Whole numbers become `int`, which is what literals are, so that `value.port > 1024` compares alike.
fn cel_of(value: Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(value),
        Value::String(text) => Cel::from(text),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cel::Int(number),
            (None, Some(number)) => Cel::UInt(number),
            (None, None) => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(items) => Cel::from(items.into_iter().map(cel_of).collect::<Vec<_>>()),
        Value::Object(fields) => Cel::from(
            fields.into_iter().map(|(name, value)| (name, cel_of(value))).collect::<HashMap<_, _>>(),
        ),
    }
}

/// The engine's own messages quote values, which must not reach a log.
fn worded(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("the field `{name}` is absent"),
        ExecutionError::NoSuchOverload(call) => call.to_string(),
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not known"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a call takes {expected} arguments and got {actual}")
        }
        ExecutionError::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
        ExecutionError::FunctionError { function, .. } => format!("`{function}` refused its argument"),
        ExecutionError::NotSupportedAsMethod { method, .. } => {
            format!("`{method}` is not a method of this value")
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".into(),
        ExecutionError::Overflow(..) => "a number became too large".into(),
        ExecutionError::IndexOutOfBounds(_) => "a list is shorter than the index".into(),
        _ => "two values of different types cannot be compared".into(),
    }
}

#[cfg(test)]
mod tests;

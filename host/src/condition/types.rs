//! The names a condition knows and their types.

use std::fmt;

use cel::Value as Cel;

/// What is known of a value before there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    /// `int`, `uint` and `double` compare with each other.
    Number,
    String,
    Bytes,
    Null,
    List,
    Map,
    /// The record's headers: a map of strings.
    Headers,
    /// The record's change: a map whose fields are known.
    Change,
    /// Only the record will tell.
    Any,
}

pub(super) const VARIABLES: &[(&str, Type)] = &[
    ("key", Type::String),
    ("value", Type::Any),
    ("headers", Type::Headers),
    ("timestamp", Type::Number),
    ("change", Type::Change),
];

/// The fields of `change`; a table of the format, not of any one plugin.
pub(super) const CHANGE: &[(&str, Type)] = &[
    ("event_type", Type::String),
    ("tenant_id", Type::String),
    ("config_key", Type::String),
    ("new_value", Type::Any),
    ("old_value", Type::Any),
    ("user_id", Type::String),
    ("source_node", Type::String),
    ("timestamp", Type::String),
    ("metadata", Type::Any),
    ("event_id", Type::String),
    ("idempotency_key", Type::String),
    ("dot", Type::Any),
    ("ctx", Type::Any),
    ("hlc", Type::Any),
    ("epoch", Type::String),
    ("revision", Type::Number),
    ("base", Type::Any),
    ("base_revision", Type::Number),
    ("base_hash", Type::String),
    ("ops", Type::List),
    ("fence", Type::Any),
    ("strategy", Type::String),
    ("siblings", Type::List),
];

/// A function: its name, what it is called on, its arguments, what it gives. `None` is: not called on anything.
pub(super) struct Function {
    pub name: &'static str,
    pub target: Option<Type>,
    pub arguments: &'static [Type],
    pub result: Type,
}

const fn method(name: &'static str, arguments: &'static [Type], result: Type) -> Function {
    Function { name, target: Some(Type::String), arguments, result }
}

const fn global(name: &'static str, arguments: &'static [Type], result: Type) -> Function {
    Function { name, target: None, arguments, result }
}

pub(super) const FUNCTIONS: &[Function] = &[
    method("contains", &[Type::String], Type::Bool),
    method("startsWith", &[Type::String], Type::Bool),
    method("endsWith", &[Type::String], Type::Bool),
    method("matches", &[Type::String], Type::Bool),
    Function { name: "size", target: Some(Type::Any), arguments: &[], result: Type::Number },
    global("size", &[Type::Any], Type::Number),
    global("matches", &[Type::String, Type::String], Type::Bool),
    global("int", &[Type::Any], Type::Number),
    global("uint", &[Type::Any], Type::Number),
    global("double", &[Type::Any], Type::Number),
    global("string", &[Type::Any], Type::String),
    global("bytes", &[Type::Any], Type::Bytes),
];

impl Type {
    /// Whether a value of this type may stand where `other` is expected.
    pub(super) fn fits(self, other: Type) -> bool {
        self == other || self == Type::Any || other == Type::Any || (self.is_map() && other.is_map())
    }

    /// Whether `==` between the two can ever be true.
    pub(super) fn may_equal(self, other: Type) -> bool {
        self.fits(other) || self == Type::Null || other == Type::Null
    }

    pub(super) fn is_map(self) -> bool {
        matches!(self, Type::Map | Type::Headers | Type::Change)
    }

    /// Of two branches, what both are.
    pub(super) fn or(self, other: Type) -> Type {
        if self == other { self } else { Type::Any }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "true or false",
            Type::Number => "a number",
            Type::String => "a string",
            Type::Bytes => "bytes",
            Type::Null => "null",
            Type::List => "a list",
            Type::Map | Type::Headers | Type::Change => "a map",
            Type::Any => "any value",
        })
    }
}

pub(super) fn of_value(value: &Cel) -> Type {
    match value {
        Cel::Bool(_) => Type::Bool,
        Cel::Int(_) | Cel::UInt(_) | Cel::Float(_) => Type::Number,
        Cel::String(_) => Type::String,
        Cel::Bytes(_) => Type::Bytes,
        Cel::Null => Type::Null,
        Cel::List(_) => Type::List,
        Cel::Map(_) => Type::Map,
        _ => Type::Any,
    }
}

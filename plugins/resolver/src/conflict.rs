//! A place in a value where not every author could have their way.

use crate::value::Value;
use serde::Serialize;

/// What became of it is in the resolved value; what else was wanted there is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// JSON pointer (RFC 6901) into the value; empty for the whole one.
    pub path: String,
    pub kind: ConflictKind,
    /// What was there before, if anything was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Value>,
    /// What was wanted there, each value once, in the order of the changes; `null` also stands for its removal.
    pub values: Vec<Option<Value>>,
}

/// What two authors did that does not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// They gave it different values.
    EditEdit,
    /// One removed what the other changed.
    DeleteEdit,
    /// They brought a list's items into different orders.
    Order,
}

impl Conflict {
    /// The conflict of these wishes at a place.
    pub fn new(path: &str, kind: ConflictKind, base: Option<&Value>, wanted: &[Option<&Value>]) -> Self {
        let mut values: Vec<Option<Value>> = Vec::new();
        for value in wanted {
            if values.iter().all(|known| known.as_ref() != *value) {
                values.push(value.cloned());
            }
        }
        Self { path: path.to_owned(), kind, base: base.cloned(), values }
    }
}

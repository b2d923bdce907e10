//! A step into a value: a list's index or an object's key.

use crate::{ot::Malformed, value::Value};
use std::cmp::Ordering;

/// Indexes come before names, and names are ordered as JavaScript orders them: by UTF-16 units, which differs from the
/// order of their bytes where characters beyond U+FFFF meet those from U+E000 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Index(usize),
    Name(String),
}

impl Key {
    /// Reads the JSON form; `None` if it is no key at all.
    ///
    /// # Errors
    /// [`Malformed::Tree`] if it is a number that is no index.
    pub fn read(json: &Value) -> Result<Option<Self>, Malformed> {
        match json {
            Value::Text(name) => Ok(Some(Self::Name(name.clone()))),
            Value::Number(number) => {
                let index = number.as_whole().and_then(|whole| u32::try_from(whole).ok());
                index.map(|index| Some(Self::Index(index as usize))).ok_or(Malformed::Tree)
            }
            _ => Ok(None),
        }
    }

    /// The JSON form.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Index(index) => Value::from(*index as u64),
            Self::Name(name) => Value::Text(name.clone()),
        }
    }

    /// The index, if it is one.
    pub fn as_index(&self) -> Option<usize> {
        if let Self::Index(index) = self { Some(*index) } else { None }
    }

    /// The step as text, as in a JSON pointer.
    pub fn to_step(&self) -> String {
        match self {
            Self::Index(index) => index.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Index(one), Self::Index(other)) => one.cmp(other),
            (Self::Index(_), Self::Name(_)) => Ordering::Less,
            (Self::Name(_), Self::Index(_)) => Ordering::Greater,
            (Self::Name(one), Self::Name(other)) => one.encode_utf16().cmp(other.encode_utf16()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

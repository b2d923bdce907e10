//! JSON as the strategies see it: compared by what it means, written the same on every host, numbers never rounded.
//!
//! Two numbers are equal if they are the same number, however they are written; a boolean is no number; the order of an
//! object's keys means nothing. What a strategy does not touch keeps its own digits.

mod number;
mod read;

pub use number::Number;
pub use read::Unreadable;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fmt, fmt::Write};

/// One JSON value.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// Reads JSON text.
    ///
    /// # Errors
    /// [`Unreadable`] if it is no JSON, holds half a surrogate pair, or is nested too deeply.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        read::read(text)
    }

    /// Whether it is a sealed value, of which nobody here sees more than that it is one.
    pub fn is_sealed(&self) -> bool {
        let Self::Object(fields) = self else { return false };
        fields.len() == 1 && matches!(fields.get("$enc"), Some(Self::Object(_)))
    }

    /// The value as JSON: no spaces, keys in order, every number with its own digits.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, &mut |number, out| out.push_str(number.as_str()));
        out
    }

    /// A text that equal values share and others do not.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, &mut |number, out| out.push_str(&number.canonical()));
        out
    }

    fn write(&self, out: &mut String, number: &mut impl FnMut(&Number, &mut String)) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(value) => number(value, out),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out, number);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (i, (key, value)) in fields.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(key, out);
                    out.push(':');
                    value.write(out, number);
                }
                out.push('}');
            }
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// The fields, if it is an object.
    pub fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        if let Self::Object(fields) = self { Some(fields) } else { None }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// What a JSON pointer (RFC 6901) points at.
    pub fn at(&self, path: &str) -> Option<&Self> {
        let mut steps = path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
        steps.try_fold(self, |value, step| match value {
            Self::Object(fields) => fields.get(&step),
            Self::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// A field of an object.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    loop {
        let (plain, left) = rest.split_at(n_plain(rest.as_bytes()));
        out.push_str(plain);
        let mut chars = left.chars();
        match chars.next() {
            None => break,
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(char) => write!(out, "\\u{:04x}", char as u32).expect("a String takes everything"),
        }
        rest = chars.as_str();
    }
    out.push('"');
}

/// How many bytes from the front stand for themselves in a JSON string.
fn n_plain(bytes: &[u8]) -> usize {
    // Without a branch per byte, for the processor looks at a block of them at once.
    let is_special = |byte: &u8| (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\');
    let is_plain =
        |block: &&[u8]| block.iter().fold(0, |found, byte| found | u8::from(is_special(byte))) == 0;
    let n_blocks = bytes.chunks_exact(BLOCK).take_while(is_plain).count();
    n_blocks * BLOCK + bytes[n_blocks * BLOCK..].iter().take_while(|byte| !is_special(byte)).count()
}

/// How many bytes of a text are looked at together.
const BLOCK: usize = 32;

/// A value may be a secret.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(test) { f.write_str(&self.to_json()) } else { f.write_str("Value") }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Number::from(i128::from(number)))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = RawValue::from_string(self.to_json()).map_err(ser::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Box<RawValue>>::deserialize(deserializer)?;
        Self::parse(text.get()).map_err(de::Error::custom)
    }
}

/// Adds a step to a JSON pointer (RFC 6901).
pub fn pointer(path: &str, step: &str) -> String {
    format!("{path}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// A value written as in a program.
#[cfg(test)]
pub fn value(json: &serde_json::Value) -> Value {
    Value::parse(&json.to_string()).expect("JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equality_is_by_meaning() {
        let read = |text: &str| Value::parse(text).expect("JSON");
        assert_eq!(read(r#"{"a":1,"b":[2.50]}"#), read(r#" { "b" : [ 25e-1 ], "a" : 1.0 } "#));
        assert_ne!(read("true"), read("1"));
        assert_ne!(read("null"), read("false"));
        assert_ne!(read("[1,2]"), read("[2,1]"));
        assert_ne!(read("12345678901234567890123"), read("12345678901234567890124"));
    }

    #[test]
    fn what_is_not_touched_keeps_its_digits_and_escapes_are_read() {
        let text = r#"{"a":[0.10,1e400,123456789012345678901234567890,-0],"b":"\u00e9\n\"😀\\"}"#;
        let read = Value::parse(text).expect("JSON");
        assert_eq!(read.to_json(), text.replace("\\u00e9", "é"));
        assert_eq!(Value::parse(r#""\ud83d\ude00\u0001""#).expect("JSON").to_json(), "\"😀\\u0001\"");
    }

    #[test]
    fn every_text_is_written_and_read_wherever_it_needs_an_escape() {
        for n in 0..3 * BLOCK {
            for special in ["", "\"", "\\", "\n", "\u{1}", "é", "😀", "\u{7f}"] {
                let text = format!("{}{special}{}", "x".repeat(n), "é".repeat(n % 7));
                let json = Value::from(text.as_str()).to_json();
                assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
                assert_eq!(Value::parse(&json).expect("JSON"), Value::from(text.as_str()));
                assert!(Value::parse(&json[..json.len() - 1]).is_err(), "it has no end: {json}");
            }
        }
    }

    #[test]
    fn equal_values_have_one_canonical_text() {
        let (one, other) = (value(&json!({"b": 10, "a": 1.5})), Value::parse(r#"{"a":15e-1,"b":1e1}"#));
        assert_eq!(one.canonical(), other.expect("JSON").canonical());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1,]", "nul", "\"\\ud800\"", "1 2", "{\"a\" 1}", "01", "+1", "1.", "--1", ".5"]
        {
            assert!(Value::parse(text).is_err(), "{text}");
        }
        assert!(Value::parse(&"[".repeat(200)).is_err());
        assert!(Value::parse(&format!("{}{}", "[".repeat(200), "]".repeat(200))).is_err());
        assert!(Value::parse(&format!("{}{}", "[".repeat(100), "]".repeat(100))).is_ok());
    }

    #[test]
    fn pointers_are_escaped() {
        assert_eq!(pointer(&pointer("", "a/b"), "c~d"), "/a~1b/c~0d");
        let nested = value(&json!({"a/b": {"c~d": [1, {"": 5}]}}));
        assert_eq!(nested.at("/a~1b/c~0d/1/"), Some(&Value::from(5)));
        assert_eq!((nested.at(""), nested.at("/a~1b/x")), (Some(&nested), None));
    }
}

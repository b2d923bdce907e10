//! Values that only holders of a key can read: one form, wherever a change has a value.
//!
//! `{"$enc":{"v":1,"alg":"A256GCM","kid":"…","dk":"…","n":"…","ct":"…"}}` stands in the place of the value; in a field
//! that is a string (`base_hash`) it is the string. Whoever meets one treats it as a whole: nothing in it can be merged,
//! compared or transformed.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The version of the form.
pub const VERSION: u32 = 1;

/// AES-256 in Galois/Counter mode, of the value and of the data key.
pub const A256GCM: &str = "A256GCM";

/// A sealed value, read. Every byte string is base64 with padding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<'a> {
    /// [`VERSION`].
    pub v: u32,
    /// How it was sealed, such as [`A256GCM`].
    #[serde(borrow)]
    pub alg: Cow<'a, str>,
    /// Which key wraps the data key.
    #[serde(borrow)]
    pub kid: Cow<'a, str>,
    /// The data key, wrapped.
    #[serde(borrow)]
    pub dk: Cow<'a, str>,
    /// The nonce.
    #[serde(borrow)]
    pub n: Cow<'a, str>,
    /// The sealed value with its tag.
    #[serde(borrow)]
    pub ct: Cow<'a, str>,
}

/// The value around an envelope.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<T> {
    #[serde(rename = "$enc")]
    enc: T,
}

/// Whether a JSON text is a sealed value: an object whose only field is `$enc`, itself an object.
///
/// ```
/// # use lockstep_plugin_api::sealed::is_sealed;
/// assert!(is_sealed(r#"{"$enc": {"v": 2, "of": "a later version"}}"#));
/// assert!(!is_sealed(r#"{"$enc": {}, "port": 1}"#) && !is_sealed(r#"{"$enc": "text"}"#));
/// ```
pub fn is_sealed(text: &str) -> bool {
    // A value that is none is known by its first field.
    read(text).is_some()
}

fn read(text: &str) -> Option<&str> {
    let sealed: Sealed<&RawValue> =
        text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())??;
    Some(sealed.enc.get()).filter(|enc| enc.starts_with('{'))
}

impl<'a> Envelope<'a> {
    /// Reads a sealed value; `None` if it has another form than this version's.
    pub fn read(text: &'a str) -> Option<Self> {
        let envelope: Self = serde_json::from_str(read(text)?).ok()?;
        (envelope.v == VERSION).then_some(envelope)
    }

    /// The sealed value, as JSON text.
    pub fn write(&self) -> String {
        serde_json::to_string(&Sealed { enc: self }).expect("every field is a string or a number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_as_it_is_written() {
        let envelope = Envelope {
            v: VERSION,
            alg: A256GCM.into(),
            kid: "2026 \"q1\"".into(),
            dk: "ZGs=".into(),
            n: "bg==".into(),
            ct: "Y3Q=".into(),
        };
        let written = envelope.write();
        assert!(is_sealed(&written));
        assert_eq!(Envelope::read(&written), Some(envelope));
    }

    #[test]
    fn only_an_object_with_nothing_but_the_envelope_is_sealed() {
        for text in [r#"{"$enc":{}}"#, " { \"$enc\" : { \"v\" : 9 } } ", r#"{"\u0024enc":{}}"#] {
            assert!(is_sealed(text), "{text}");
            assert_eq!(Envelope::read(text), None, "{text}");
        }
        for text in [
            "",
            "{",
            "null",
            "\"$enc\"",
            "[{\"$enc\":{}}]",
            r#"{"$enc":null}"#,
            r#"{"$enc":[]}"#,
            r#"{"$enc":{},"a":1}"#,
            r#"{"a":1,"$enc":{}}"#,
            r#"{"$enc":{},"$enc":{}}"#,
            r#"{"a":{"$enc":{}}}"#,
            r#"{"$enc":{}} x"#,
            "{}",
        ] {
            assert!(!is_sealed(text), "{text}");
        }
    }
}

//! A configuration change: the value the shipped plugins exchange, typed once and never parsed again.
//!
//! Scalars are read, values stay raw JSON. Field names are the ones of the wire contract, the same in JSON, in `when`
//! expressions and here. Unknown fields are ignored, as the contract asks of every receiver.

use crate::{
    abi::{Bytes, Text},
    error::{Error, Result},
    time,
};
use abi_stable::{
    StableAbi,
    std_types::{RNone, ROption},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// A piece of JSON text, known to be valid and never shown by `Debug`.
#[repr(transparent)]
#[derive(StableAbi, Clone, PartialEq, Eq)]
pub struct Json(Text);

impl Json {
    /// Checks that `text` is one JSON value.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if it is not.
    pub fn parse(text: &str) -> Result<Self> {
        let _: &RawValue = serde_json::from_str(text).map_err(bad_message)?;
        Ok(Self(Text::from(text)))
    }

    /// Writes `value` as JSON.
    ///
    /// # Errors
    /// If it cannot be written as JSON (a map with keys that are not strings).
    pub fn write<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Ok(Self(Text::from(serde_json::to_string(value).map_err(Error::failed)?)))
    }

    /// JSON's `null`.
    pub fn null() -> Self {
        Self(Text::from("null"))
    }

    fn within(buffer: &Bytes, raw: &RawValue) -> Self {
        Self(Text::within(buffer, raw.get()))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads it into a type.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if the JSON has another shape.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_str(self.as_str()).map_err(bad_message)
    }

    fn raw(&self) -> &RawValue {
        serde_json::from_str(self.as_str()).expect("`Json` is made from valid JSON only")
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.as_str().len())
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw().serialize(serializer)
    }
}

/// As it is written there. Not of formats other than JSON text, nor through what looks into values first, as
/// `#[serde(flatten)]` does.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Text::from(raw.get())))
    }
}

fn not_text(error: &std::str::Utf8Error) -> Error {
    Error::rejected("bad_message", format!("not UTF-8 (behind byte {})", error.valid_up_to()))
}

fn bad_message(error: serde_json::Error) -> Error {
    // serde_json quotes the offending text for some kinds of mistakes; a value may be a secret, its place is not.
    let what = match error.classify() {
        serde_json::error::Category::Eof => "the JSON ends too early",
        serde_json::error::Category::Data => "a field is missing or has the wrong type",
        _ => "not valid JSON",
    };
    Error::rejected("bad_message", format!("{what} (line {}, column {})", error.line(), error.column()))
}

/// How deep a change's value may be: what programs that read it by recursion are sure to take.
pub const MAX_DEPTH: usize = 128;

/// How many arrays and objects lie inside each other in valid JSON.
///
/// Parsers that recurse stop somewhere; a receiver that wants to be told before that asks here.
pub fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// `event_type` of a change that creates a key.
pub const CONFIG_CREATED: &str = "config_created";
/// `event_type` of a change that gives a key a new value.
pub const CONFIG_UPDATED: &str = "config_updated";
/// `event_type` of a change that removes a key.
pub const CONFIG_DELETED: &str = "config_deleted";

/// The field table: one line per text field, one per raw JSON field. Everything below is made from it.
macro_rules! change {
    (
        text { $($(#[$text_doc:meta])* $text:ident / $set_text:ident,)* }
        json { $($(#[$json_doc:meta])* $json:ident / $set_json:ident,)* }
    ) => {
        /// A configuration change.
        ///
        /// Only `config_key` is required; everything else is absent, not empty, when nobody said it.
        #[repr(C)]
        #[derive(StableAbi, Clone, Debug)]
        pub struct Change {
            config_key: Text,
            event_type: Text,
            new_value: Json,
            timestamp_us: ROption<i64>,
            revision: ROption<u64>,
            $($text: ROption<Text>,)*
            $($json: ROption<Json>,)*
        }

        #[derive(Deserialize)]
        struct Incoming<'a> {
            #[serde(borrow)]
            config_key: Str<'a>,
            #[serde(borrow, default)]
            event_type: Option<Str<'a>>,
            #[serde(borrow, default)]
            new_value: Option<&'a RawValue>,
            #[serde(borrow, default)]
            timestamp: Option<Str<'a>>,
            #[serde(default)]
            revision: Option<u64>,
            $(#[serde(borrow, default)] $text: Option<Str<'a>>,)*
            $(#[serde(borrow, default)] $json: Option<&'a RawValue>,)*
        }

        #[derive(Serialize)]
        struct Outgoing<'a> {
            event_type: &'a str,
            config_key: &'a str,
            new_value: &'a Json,
            #[serde(skip_serializing_if = "Option::is_none")]
            timestamp: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            revision: Option<u64>,
            $(#[serde(skip_serializing_if = "Option::is_none")] $text: Option<&'a str>,)*
            $(#[serde(skip_serializing_if = "Option::is_none")] $json: Option<&'a Json>,)*
        }

        impl Change {
            /// Every field name a change can have, as in JSON and in `when` expressions.
            pub const FIELDS: &[&str] = &[
                "config_key", "event_type", "new_value", "timestamp", "revision",
                $(stringify!($text),)* $(stringify!($json),)*
            ];

            /// A change that gives `config_key` this value.
            pub fn new(config_key: impl Into<Text>, new_value: Json) -> Self {
                Self {
                    config_key: config_key.into(),
                    event_type: Text::from(CONFIG_UPDATED),
                    new_value,
                    timestamp_us: RNone,
                    revision: RNone,
                    $($text: RNone,)*
                    $($json: RNone,)*
                }
            }

            /// Reads a change from JSON text; the fields share its buffer.
            ///
            /// # Errors
            /// `Rejected("bad_message")` if it is no JSON object with a `config_key`, or a field has the wrong type.
            pub fn from_json(buffer: &Bytes) -> Result<Self> {
                // All of it: the parser would look at no more than the fields that it knows.
                let text = std::str::from_utf8(buffer).map_err(|error| not_text(&error))?;
                let incoming: Incoming<'_> = serde_json::from_str(text).map_err(bad_message)?;
                let timestamp_us = incoming.timestamp.map(|text| time::parse_us(&text.0)).transpose()?;
                Ok(Self {
                    config_key: Text::within(buffer, &incoming.config_key.0),
                    event_type: incoming.event_type.map_or_else(|| Text::from(CONFIG_UPDATED), |t| Text::within(buffer, &t.0)),
                    new_value: incoming.new_value.map_or_else(Json::null, |raw| Json::within(buffer, raw)),
                    timestamp_us: timestamp_us.into(),
                    revision: incoming.revision.into(),
                    $($text: incoming.$text.map(|text| Text::within(buffer, &text.0)).into(),)*
                    $($json: incoming.$json.map(|raw| Json::within(buffer, raw)).into(),)*
                })
            }

            /// The change as JSON text.
            pub fn to_json(&self) -> Bytes {
                Bytes::from(self.json_text(time::format_us))
            }

            /// The change as JSON text, with the timestamp as `format` writes microseconds since 1970.
            pub(crate) fn json_text(&self, format: fn(i64) -> String) -> Vec<u8> {
                let outgoing = Outgoing {
                    event_type: &self.event_type,
                    config_key: &self.config_key,
                    new_value: &self.new_value,
                    timestamp: self.timestamp_us().map(format),
                    revision: self.revision(),
                    $($text: self.$text(),)*
                    $($json: self.$json(),)*
                };
                serde_json::to_vec(&outgoing).expect("every field is a scalar or valid JSON")
            }

            /// About how much memory the change's own data takes.
            pub fn size(&self) -> usize {
                size_of::<Self>() + self.config_key.len() + self.new_value.as_str().len()
                    $(+ self.$text().map_or(0, str::len))*
                    $(+ self.$json().map_or(0, |json| json.as_str().len()))*
            }

            $(
                $(#[$text_doc])*
                pub fn $text(&self) -> Option<&str> {
                    self.$text.as_ref().into_option().map(|text| text.as_str())
                }
                #[doc = concat!("Sets `", stringify!($text), "`.")]
                pub fn $set_text(&mut self, value: Option<Text>) {
                    self.$text = value.into();
                }
            )*
            $(
                $(#[$json_doc])*
                pub fn $json(&self) -> Option<&Json> {
                    self.$json.as_ref().into_option()
                }
                #[doc = concat!("Sets `", stringify!($json), "`.")]
                pub fn $set_json(&mut self, value: Option<Json>) {
                    self.$json = value.into();
                }
            )*

            /// A field by its name in JSON; `None` if it is absent or no field has this name.
            pub fn field(&self, name: &str) -> Option<Field<'_>> {
                match name {
                    "config_key" => Some(Field::Text(&self.config_key)),
                    "event_type" => Some(Field::Text(&self.event_type)),
                    "new_value" => Some(Field::Json(&self.new_value)),
                    "timestamp" => self.timestamp_us().map(Field::Time),
                    "revision" => self.revision().map(Field::Number),
                    $(stringify!($text) => self.$text().map(Field::Text),)*
                    $(stringify!($json) => self.$json().map(Field::Json),)*
                    _ => None,
                }
            }
        }
    };
}

change! {
    text {
        /// Whose configuration it is; absent is the configuration without a tenant.
        tenant_id / set_tenant_id,
        /// Who made the change.
        user_id / set_user_id,
        /// The host that first took the change in.
        source_node / set_source_node,
        /// The change's own identity, a UUID.
        event_id / set_event_id,
        /// The author's name for this attempt, so that a repeat is recognised.
        idempotency_key / set_idempotency_key,
        /// Which log `revision` counts in.
        epoch / set_epoch,
        /// The hybrid logical clock of the host that took the change in.
        hlc / set_hlc,
        /// How concurrent changes of this key are resolved.
        strategy / set_strategy,
        /// A hash of the value the change was made from.
        base_hash / set_base_hash,
    }
    json {
        /// The value before the change.
        old_value / set_old_value,
        /// Anything else the sender added.
        metadata / set_metadata,
        /// `{node, seq}`: the change's place among its node's changes.
        dot / set_dot,
        /// `{node: seq}`: what the author's host knew.
        ctx / set_ctx,
        /// `{epoch, revision}`: what the author had seen.
        base / set_base,
        /// The change as operations on the old value; beside them `null` is no value.
        ops / set_ops,
        /// `{lock, token}`: the lease the author holds.
        fence / set_fence,
        /// Concurrent changes that stand beside this one.
        siblings / set_siblings,
    }
}

/// One field of a change, as [`Change::field`] finds it.
#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    /// A string.
    Text(&'a str),
    /// Any JSON.
    Json(&'a Json),
    /// A whole number.
    Number(u64),
    /// An instant, in microseconds since 1970 (UTC).
    Time(i64),
}

impl Change {
    /// The dotted path the change is about, for example `app.database.host`.
    pub fn config_key(&self) -> &str {
        &self.config_key
    }

    /// The config key, sharing its buffer.
    pub fn config_key_text(&self) -> &Text {
        &self.config_key
    }

    /// Renames the key.
    pub fn set_config_key(&mut self, config_key: impl Into<Text>) {
        self.config_key = config_key.into();
    }

    /// What happened: [`CONFIG_CREATED`], [`CONFIG_UPDATED`], [`CONFIG_DELETED`], or a type this version does not know.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Sets what happened.
    pub fn set_event_type(&mut self, event_type: impl Into<Text>) {
        self.event_type = event_type.into();
    }

    /// Whether the change removes its key.
    pub fn is_deletion(&self) -> bool {
        self.event_type() == CONFIG_DELETED
    }

    /// The value after the change; JSON `null` for a deletion.
    pub fn new_value(&self) -> &Json {
        &self.new_value
    }

    /// Whether it says what its author did to the value and not what came of it: `null` beside `ops` is no value. A change
    /// that has its place (`dot`) is not like that.
    pub fn is_unapplied(&self) -> bool {
        let is_authored =
            self.dot().is_none() && matches!(self.event_type(), CONFIG_CREATED | CONFIG_UPDATED);
        is_authored && self.ops().is_some() && self.new_value.as_str() == "null"
    }

    /// Refuses a value deeper than [`MAX_DEPTH`], and operations of an author that are. Whatever takes changes in from outside
    /// asks. Operations of another host (there is a `dot`) lie around a value that was let in there.
    ///
    /// # Errors
    /// `Rejected("bad_message")`.
    pub fn check_depth(&self) -> Result<()> {
        let ops = self.ops().filter(|_| self.dot().is_none());
        for (what, json) in [("the value has", Some(&self.new_value)), ("`ops` have", ops)] {
            if json.is_some_and(|json| depth(json.as_str()) > MAX_DEPTH) {
                let text = format!("{what} more than {MAX_DEPTH} arrays and objects inside each other");
                return Err(Error::rejected("bad_message", text));
            }
        }
        Ok(())
    }

    /// Replaces the value after the change.
    pub fn set_new_value(&mut self, new_value: Json) {
        self.new_value = new_value;
    }

    /// When the author made the change, in microseconds since 1970 (UTC).
    pub fn timestamp_us(&self) -> Option<i64> {
        self.timestamp_us.into_option()
    }

    /// Sets when the author made the change.
    pub fn set_timestamp_us(&mut self, timestamp_us: Option<i64>) {
        self.timestamp_us = timestamp_us.into();
    }

    /// The change's number in the host's log.
    pub fn revision(&self) -> Option<u64> {
        self.revision.into_option()
    }

    /// Sets the change's number in the host's log.
    pub fn set_revision(&mut self, revision: Option<u64>) {
        self.revision = revision.into();
    }
}

/// A JSON string that borrows from the text where it has no escapes (serde borrows a bare `Cow` field only).
struct Str<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Str<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> std::result::Result<Self::Value, E> {
                Ok(Str(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Change> {
        Change::from_json(&Bytes::from(text))
    }

    #[test]
    fn fields_share_the_buffer_they_were_read_from() {
        let buffer = Bytes::from(r#"{"config_key":"app.x","new_value":{"a":[1,2]},"user_id":"eve"}"#);
        let change = Change::from_json(&buffer).expect("a change");
        let inside = |part: &str| buffer.slice_of(part.as_bytes()).is_some();
        assert!(inside(change.config_key()) && inside(change.new_value().as_str()));
        assert_eq!(change.user_id(), Some("eve"));
        assert_eq!(change.tenant_id(), None);
    }

    #[test]
    fn null_fields_are_absent_and_unknown_ones_ignored() {
        let change =
            read(r#"{"config_key":"k","tenant_id":null,"old_value":null,"colour":"red"}"#).expect("a change");
        assert_eq!(change.tenant_id(), None);
        assert!(change.old_value().is_none());
        assert_eq!(change.new_value().as_str(), "null");
    }

    #[test]
    fn what_is_not_utf_8_is_no_change_wherever_it_is_not() {
        for part in [&b"new_value"[..], b"nobody_knows"] {
            let json = [b"{\"config_key\":\"app.x\",\"", part, b"\":\"\xff\"}"].concat();
            let error = Change::from_json(&Bytes::from(json)).expect_err("no text");
            assert_eq!(error.code(), Some("bad_message"));
        }
    }

    #[test]
    fn a_value_of_any_depth_is_read_and_one_too_deep_is_refused_by_whoever_asks() {
        for (depth, is_taken) in [(128, true), (129, false), (20_000, false)] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let json = format!("{{\"config_key\":\"app.x\",\"new_value\":{open}{close}}}");
            let change = Change::from_json(&Bytes::from(json)).expect("a change");
            assert_eq!(change.check_depth().is_ok(), is_taken, "{depth}");
        }
    }

    #[test]
    fn operations_of_an_author_are_as_deep_as_a_value_and_no_deeper() {
        let (open, close) = ("[".repeat(129), "]".repeat(129));
        for (more, is_taken) in [("", false), (r#","dot":{"node":"n","seq":1}"#, true)] {
            let change =
                read(&format!(r#"{{"config_key":"k","ops":{open}{close}{more}}}"#)).expect("a change");
            assert_eq!(
                (change.check_depth().is_ok(), change.is_unapplied()),
                (is_taken, !is_taken),
                "{more}"
            );
        }
        for fields in [
            r#""new_value":1,"ops":[1]"#,
            r#""new_value":null"#,
            r#""event_type":"config_deleted","ops":[1]"#,
        ] {
            assert!(
                !read(&format!(r#"{{"config_key":"k",{fields}}}"#)).expect("a change").is_unapplied(),
                "{fields}"
            );
        }
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(r#"{"a[[\"[[":["\\",{}]}"#), 3);
        assert_eq!(depth(r#"{"a":[1,[2]],"b":"[[[\"[["}"#), 3);
        assert_eq!(depth("1"), 0);
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(read(r#"{"config_key":"a\u002eb"}"#).expect("a change").config_key(), "a.b");
    }

    #[test]
    fn every_timestamp_form_of_the_contract_is_the_same_instant() {
        for text in ["2024-01-01T12:00:00", "2024-01-01T12:00:00.000Z", "2024-01-01T14:00:00.000000+02:00"] {
            let change = read(&format!(r#"{{"config_key":"k","timestamp":"{text}"}}"#)).expect(text);
            assert_eq!(change.timestamp_us(), Some(1_704_110_400_000_000), "{text}");
            let written: serde_json::Value = serde_json::from_slice(&change.to_json()).expect("JSON");
            assert_eq!(written["timestamp"], "2024-01-01T12:00:00.000000Z");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_value() {
        for text in
            [r#"{"new_value":"hunter2"}"#, r#"{"config_key":["hunter2"]}"#, r#"{"config_key":"hunter2"#, "[]"]
        {
            let error = read(text).expect_err(text);
            assert_eq!(error.code(), Some("bad_message"), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

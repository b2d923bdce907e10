//! A change as another system is sent it.
//!
//! Invariant: what is written for other hosts carries the key's state (dot, context, siblings), so that whoever receives
//! it knows what it replaces; what is written for programs that only read has none of it. Neither says what was meant for
//! this host alone: what the author had seen, its lease, its name for the attempt.

use crate::{
    abi::{Bytes, Text},
    change::Change,
    error::{Error, Result},
    record::Record,
    time,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

/// How changes are written for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Timestamps as Python's naive `isoformat` has them, instead of with `Z`.
    pub naive_timestamps: bool,
    /// Whether other hosts are to take the changes in: with the fields that order them.
    pub replicate: bool,
}

impl Default for Form {
    fn default() -> Self {
        Self { naive_timestamps: false, replicate: true }
    }
}

impl Form {
    fn timestamp(self) -> fn(i64) -> String {
        if self.naive_timestamps { time::format_naive_us } else { time::format_us }
    }
}

impl Record {
    /// The change as JSON for another system, with `extra` string fields in front, such as a `publisher_id`.
    ///
    /// The record's own bytes where nothing has to be different.
    ///
    /// # Errors
    /// As [`Record::change`].
    pub fn wire(&mut self, form: Form, extra: &[(&str, &str)]) -> Result<Bytes> {
        let change = self.change()?;
        let is_as_it_is = form == Form::default() && extra.is_empty() && is_for_everybody(change);
        if let Some(bytes) = self.raw_value().filter(|_| is_as_it_is) {
            return Ok(bytes.clone());
        }
        let change = for_others(self.change()?.clone(), form);
        let json = change.json_text(form.timestamp());
        Ok(if extra.is_empty() { Bytes::from(json) } else { with_extra(&json, extra) })
    }
}

fn is_for_everybody(change: &Change) -> bool {
    change.base().is_none() && change.fence().is_none() && change.idempotency_key().is_none()
}

fn for_others(mut change: Change, form: Form) -> Change {
    change.set_base(None);
    change.set_fence(None);
    change.set_idempotency_key(None);
    if !form.replicate {
        change.set_dot(None);
        change.set_ctx(None);
        change.set_hlc(None);
        change.set_siblings(None);
        change.set_strategy(None);
        change.set_base_hash(None);
        change.set_ops(None);
    }
    change
}

fn with_extra(json: &[u8], extra: &[(&str, &str)]) -> Bytes {
    let mut text = Vec::with_capacity(json.len() + 64);
    text.push(b'{');
    for (name, value) in extra {
        serde_json::to_writer(&mut text, name).expect("a string, into memory");
        text.push(b':');
        serde_json::to_writer(&mut text, value).expect("a string, into memory");
        text.push(b',');
    }
    text.extend_from_slice(&json[1..]);
    Bytes::from(text)
}

/// Refuses a message that says neither the value (`null` is one) nor operations and is no deletion: somebody's mistake, of
/// which a `null` would be made. Whatever takes in what other programs write asks.
///
/// # Errors
/// `Rejected("bad_message")`.
pub fn check_says_something(json: &[u8], change: &Change) -> Result<()> {
    let is_said = change.new_value().as_str() != "null" || change.ops().is_some() || change.is_deletion();
    if is_said || says_value(json) {
        Ok(())
    } else {
        Err(Error::rejected("bad_message", "`new_value` is missing"))
    }
}

/// Whether the field is there at all.
fn says_value(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow, default, deserialize_with = "present")]
        new_value: Option<&'a RawValue>,
    }
    fn present<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Option<&'de RawValue>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Some)
    }
    serde_json::from_slice::<Said<'_>>(json).is_ok_and(|said| said.new_value.is_some())
}

/// The identity of a change whose author gave it none, alike on every host that sees the message: a UUID v5 of what makes
/// the message this one, such as topic, publisher, time, key and value.
pub fn derived_event_id(parts: &[&[u8]]) -> Text {
    let mut name = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        name.extend((part.len() as u32).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &name).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: &str = r#"{"config_key":"app.x","new_value":1,"timestamp":"2024-01-01T12:00:00Z","dot":{"node":"a","seq":1},"ctx":{},"hlc":"1","fence":{"lock":"l","token":1},"idempotency_key":"i","base":7,"event_id":"e"}"#;

    fn written(text: &str, form: Form, extra: &[(&str, &str)]) -> serde_json::Value {
        serde_json::from_slice(&Record::new(text).wire(form, extra).expect("a change")).expect("JSON")
    }

    #[test]
    fn null_is_a_value_and_nothing_is_none_unless_operations_make_one() {
        let said = |fields: &str| {
            let json = Bytes::from(format!(r#"{{"config_key":"a",{fields}}}"#));
            check_says_something(&json, &Change::from_json(&json).expect("a change"))
        };
        for fields in [
            r#""new_value":null"#,
            r#""new_value":{"a":1}"#,
            r#""ops":[1]"#,
            r#""event_type":"config_deleted""#,
        ] {
            assert!(said(fields).is_ok(), "{fields}");
        }
        for fields in [r#""newvalue":1"#, r#""ops":null"#, r#""event_type":"config_created""#] {
            assert_eq!(said(fields).expect_err(fields).code(), Some("bad_message"));
        }
    }

    #[test]
    fn the_state_of_the_key_is_written_and_what_was_meant_for_this_host_is_not() {
        let json = written(CHANGE, Form::default(), &[("publisher_id", "p\"1")]);
        assert_eq!((&json["publisher_id"], &json["hlc"]), (&"p\"1".into(), &"1".into()));
        assert_eq!(json["timestamp"], "2024-01-01T12:00:00.000000Z");
        for field in ["fence", "base", "idempotency_key"] {
            assert!(json.get(field).is_none(), "{field}");
        }
    }

    #[test]
    fn without_replication_only_the_guides_fields_are_left() {
        let form = Form { naive_timestamps: true, replicate: false };
        let json = written(CHANGE, form, &[]);
        assert_eq!(
            json,
            serde_json::json!({"event_type": "config_updated", "config_key": "app.x", "new_value": 1,
                "timestamp": "2024-01-01T12:00:00", "event_id": "e"})
        );
    }

    #[test]
    fn bytes_that_need_no_change_are_passed_on() {
        let text = r#"{"config_key":"app.x", "new_value" : 1, "dot":{"node":"a","seq":1}}"#;
        let mut record = Record::new(text);
        let bytes = record.wire(Form::default(), &[]).expect("a change");
        assert_eq!(bytes.as_ptr(), record.raw_value().expect("bytes").as_ptr());
    }

    #[test]
    fn derived_ids_tell_parts_apart() {
        let id = derived_event_id(&[b"ab", b"c"]);
        assert_eq!(id.as_str(), derived_event_id(&[b"ab", b"c"]).as_str());
        assert_ne!(id.as_str(), derived_event_id(&[b"a", b"bc"]).as_str());
        assert_eq!(Uuid::parse_str(&id).expect("a UUID").get_version_num(), 5);
    }
}

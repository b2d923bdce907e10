//! What of a failed record is written down where its values are to be sealed and are not yet, or were opened.
//!
//! Invariant: a value that a component of the pipeline would have sealed, or has opened, is written to no disk by the host.
//! What cannot be read as a change may be one.

use lockstep_plugin_api::{Change, Json, Record, change::CONFIG_DELETED, keys::Keys, sealed::is_sealed};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap, sync::OnceLock};
use uuid::Uuid;

/// What is known of a value that was withheld.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    pub bytes: u64,
    /// Alike for equal values of one run of the host, and of no use to somebody who wants to guess the value.
    pub fingerprint: String,
}

impl Withheld {
    /// What is kept of the record's value instead of it; `None` if it may be kept as it is: it belongs to none of these
    /// keys, or is sealed already.
    pub fn of(record: &Record, sealed: &[&Keys]) -> Option<Self> {
        let value = record.value().filter(|_| !sealed.is_empty() && exposes(record, sealed))?;
        Some(Self { bytes: value.len() as u64, fingerprint: fingerprint(&value) })
    }
}

fn exposes(record: &Record, sealed: &[&Keys]) -> bool {
    let Ok(change) = record.to_change() else { return true };
    sealed.iter().any(|keys| keys.contains(change.config_key()))
        && (has_clear_value(&change) || record.raw_value().is_some_and(|value| says_more(value)))
}

fn has_clear_value(change: &Change) -> bool {
    let is_clear = |json: Option<&Json>| json.is_some_and(|json| is_clear_text(json.as_str()));
    let is_clear_new = if change.is_deletion() {
        is_clear(Some(change.new_value()))
    } else {
        !is_sealed(change.new_value().as_str())
    };
    is_clear_new
        || is_clear(change.old_value())
        || is_clear(change.ops())
        || change.base_hash().is_some_and(|name| !is_sealed(name))
        || change.siblings().is_some_and(has_clear_sibling)
        || change.metadata().is_some_and(|metadata| has_clear_conflicts(metadata.as_str()))
}

/// As much of a sibling as may hold a value.
#[derive(Deserialize)]
struct Sibling<'a> {
    #[serde(borrow, default)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    new_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    old_value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ops: Option<&'a RawValue>,
    #[serde(borrow, default)]
    base_hash: Option<Cow<'a, str>>,
}

fn has_clear_sibling(siblings: &Json) -> bool {
    let Ok(siblings) = siblings.read::<Vec<Sibling<'_>>>() else { return true };
    let is_clear = |json: Option<&RawValue>| json.is_some_and(|json| is_clear_text(json.get()));
    siblings.iter().any(|one| {
        let is_deletion = one.event_type.as_deref() == Some(CONFIG_DELETED);
        // Without a value it is a deletion, or its value is `null`.
        let is_clear_new = match one.new_value {
            Some(value) => !is_sealed(value.get()),
            None => !is_deletion,
        };
        is_clear_new
            || is_clear(one.old_value)
            || is_clear(one.ops)
            || one.base_hash.as_ref().is_some_and(|name| !is_sealed(name))
    })
}

/// What a notice says of a conflict are values, too.
fn has_clear_conflicts(metadata: &str) -> bool {
    let fields: Result<HashMap<Cow<'_, str>, &RawValue>, _> = serde_json::from_str(metadata);
    fields.is_ok_and(|fields| fields.get("conflicts").is_some_and(|conflicts| is_clear_text(conflicts.get())))
}

/// Whether a JSON text tells something: it is neither sealed nor empty.
fn is_clear_text(text: &str) -> bool {
    text != "null" && !is_sealed(text)
}

/// Whether the text has fields that no change has: nobody seals those.
fn says_more(value: &[u8]) -> bool {
    let fields: Result<HashMap<Cow<'_, str>, IgnoredAny>, _> = serde_json::from_slice(value);
    fields.map_or(true, |fields| fields.keys().any(|name| !Change::FIELDS.contains(&&**name)))
}

/// Under a key that ends with the process: without it, a short value could be found by trying.
fn fingerprint(value: &[u8]) -> String {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0; 32];
        key[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        key
    });
    blake3::keyed_hash(key, value).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_plugin_api::glob::Glob;

    const ENVELOPE: &str = r#"{"$enc":{"v":1}}"#;

    fn is_withheld(value: &str) -> bool {
        let keys = Keys::new([(Glob::new("app.pin*").expect("a glob"), true)]);
        Withheld::of(&Record::new(value), &[&keys]).is_some()
    }

    #[test]
    fn what_is_not_sealed_yet_is_withheld_wherever_it_stands() {
        let sealed = format!(r#""config_key":"app.pin","new_value":{ENVELOPE}"#);
        let name = serde_json::to_string(ENVELOPE).expect("JSON");
        for rest in [
            String::new(),
            r#","old_value":null,"metadata":{"why":"x"}"#.into(),
            format!(r#","old_value":{ENVELOPE},"ops":{ENVELOPE},"base_hash":{name}"#),
            format!(
                r#","siblings":[{{"new_value":{ENVELOPE},"base_hash":{name}}},{{"event_type":"config_deleted","new_value":null}}]"#
            ),
            format!(r#","metadata":{{"conflicts":{ENVELOPE}}}"#),
        ] {
            assert!(!is_withheld(&format!("{{{sealed}{rest}}}")), "{rest}");
        }
        for rest in [
            r#","old_value":1"#,
            r#","ops":[]"#,
            r#","base_hash":"ab""#,
            r#","siblings":[{"new_value":1}]"#,
            r#","siblings":[{"new_value":null}]"#,
            r#","siblings":[{"ops":[1]}]"#,
            r#","siblings":5"#,
            r#","metadata":{"conflicts":[1]}"#,
            r#","value":1"#,
        ] {
            assert!(is_withheld(&format!("{{{sealed}{rest}}}")), "{rest}");
        }
        for whole in ["not json", "[1]", r#"{"config_key":"app.pin","new_value":null}"#, r#"{"new_value":1}"#]
        {
            assert!(is_withheld(whole), "{whole}");
        }
    }

    #[test]
    fn other_keys_and_deletions_are_kept() {
        assert!(!is_withheld(r#"{"config_key":"app.x","new_value":1,"anything":2}"#));
        assert!(!is_withheld(r#"{"config_key":"app.pin","event_type":"config_deleted"}"#));
        assert!(Withheld::of(&Record::new("not json"), &[]).is_none(), "nothing is sealed here");
    }

    #[test]
    fn equal_values_have_one_fingerprint() {
        let of = |value: &str| Withheld::of(&Record::new(value), &[&Keys::all()]).expect("withheld");
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a").fingerprint, of("b").fingerprint);
        assert_eq!((of("abc").bytes, of("abc").fingerprint.len()), (3, 16));
    }
}

//! Records that are applied once: by what name one is known, and where its applications are counted.
//!
//! Invariant: a count lies in the slot of its stream, so that in a cluster too one script can write both, and no count
//! belongs to two streams.

use lockstep_plugin_api::{prelude::*, wire::derived_event_id};

/// The script that writes and counts on the server.
pub(crate) const SCRIPT: &str = include_str!("../once.lua");

/// What the names of counts begin with.
const PREFIX: &str = "apg-config:applied:";

const EVENT_ID: &str = "event_id";

/// A name that nobody can mean.
const MAX_ID_BYTES: usize = 256;

/// By what a record is known: its header `event_id`, or what it says as a change. A change that says when it was made but
/// not how it is called is known by its key and its value.
///
/// # Errors
/// `Rejected`, if nothing names the record.
pub(crate) fn id_of(record: &Record) -> Result<Bytes> {
    let bad = |why: &str| Error::rejected("bad_message", why);
    let id = match record.header(EVENT_ID) {
        Some(id) => id.clone(),
        None => id_of_change(record)
            .ok_or_else(|| bad("the record has no `event_id`, by which `once` would know it again"))?,
    };
    match id.len() {
        1..=MAX_ID_BYTES => Ok(id),
        _ => Err(bad("an `event_id` has 1 to 256 bytes")),
    }
}

fn id_of_change(record: &Record) -> Option<Bytes> {
    let mut read = record.clone();
    let change = read.change().ok()?;
    if let Some(id) = change.event_id() {
        return Some(Bytes::from(id.as_bytes()));
    }
    change.timestamp_us()?;
    let key = record.key().map_or(&[][..], |key| key);
    Some(Bytes::from(derived_event_id(&[key, &record.value()?]).as_str().as_bytes()))
}

/// Where the applications of this record to this stream are counted.
pub(crate) fn count_name(stream: &str, id: &[u8]) -> Vec<u8> {
    let stream = match hash_tag(stream) {
        Some(_) => stream.to_owned(),
        None => format!("{{{stream}}}"),
    };
    [PREFIX.as_bytes(), stream.as_bytes(), b":", id].concat()
}

/// Whether counts can lie in the slot of this stream.
pub(crate) fn can_count(stream: &str) -> bool {
    hash_tag(stream).is_some() || !stream.contains(['{', '}'])
}

/// What decides alone about the slot of a name.
pub(crate) fn hash_tag(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    Some(tag).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(record: &Record) -> String {
        String::from_utf8(id_of(record).expect("a name").to_vec()).expect("UTF-8")
    }

    #[test]
    fn a_record_is_known_by_its_header_or_by_what_it_says_as_a_change() {
        let named = r#"{"config_key":"k","new_value":1,"event_id":"e"}"#;
        assert_eq!(id(&Record::new(named)), "e");
        let mut record = Record::new(named);
        record.set_header("event_id", "h");
        assert_eq!(id(&record), "h");
        let timed = |second: u8| {
            let json = format!(
                r#"{{"config_key":"k","new_value":1,"timestamp":"2024-01-01T12:00:0{second}.000000Z"}}"#
            );
            id(&Record::new(json))
        };
        assert_eq!(timed(1), timed(1));
        assert_ne!(timed(1), timed(2));
    }

    #[test]
    fn what_nothing_names_is_rejected() {
        let mut nameless = Record::new("12");
        nameless.set_header("event_id", "");
        let mut endless = Record::new("12");
        endless.set_header("event_id", "e".repeat(257));
        let plain = Record::new(r#"{"config_key":"k","new_value":1}"#);
        for record in [&Record::new("12"), &nameless, &endless, &plain] {
            assert_eq!(id_of(record).expect_err("no name").code(), Some("bad_message"));
        }
    }

    #[test]
    fn a_count_lies_in_the_slot_of_its_stream() {
        let name = |stream: &str| String::from_utf8(count_name(stream, b"{e}")).expect("UTF-8");
        assert_eq!(name("orders"), "apg-config:applied:{orders}:{e}");
        assert_eq!(name("{a}:log"), "apg-config:applied:{a}:log:{e}");
        for stream in ["orders", "{a}:log", "x{a}{b}"] {
            let slot = hash_tag(stream).unwrap_or(stream);
            assert_eq!(hash_tag(&name(stream)), Some(slot));
            assert!(can_count(stream));
        }
        assert!(["a}b", "{", "{}a", "a{b"].iter().all(|stream| !can_count(stream)));
    }
}

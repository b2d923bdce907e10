//! What is sent about one record.

use bytes::Bytes;
use lockstep_plugin_api::{prelude::*, wire::derived_event_id};
use std::hash::{BuildHasher, RandomState};

/// A message on its way to every receiver.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The same at every attempt, also after a crash: by it a receiver knows what it has already.
    pub(crate) id: Text,
    pub(crate) body: Bytes,
    /// Messages of one key have the same number, and keep their order.
    pub(crate) key: u64,
}

/// Gives keys their numbers.
#[derive(Debug, Default)]
pub(crate) struct KeyNumbers(RandomState);

impl KeyNumbers {
    /// The number of the key of a change.
    pub(crate) fn of(&self, change: &Change) -> u64 {
        self.0.hash_one((change.tenant_id(), change.config_key()))
    }
}

/// By what a receiver knows the event: its own id, or one that is derived from where it stands in the log, or from what it
/// says, alike at every delivery.
pub(crate) fn id_of(record: &Record, change: &Change) -> Text {
    if let Some(id) = change.event_id().filter(|id| is_plain(id)) {
        return id.into();
    }
    match change.revision() {
        Some(revision) => {
            derived_event_id(&[change.epoch().unwrap_or_default().as_bytes(), &revision.to_be_bytes()])
        }
        None => derived_event_id(&[&record.value().unwrap_or_default()]),
    }
}

/// Whether a header can carry it, and a signature tell where it ends.
fn is_plain(id: &str) -> bool {
    (1..=200).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(json: &str) -> String {
        let record = Record::new(json);
        id_of(&record, &record.to_change().expect("a change")).to_string()
    }

    #[test]
    fn an_event_keeps_its_id_and_one_without_gets_the_same_every_time() {
        assert_eq!(id(r#"{"config_key":"a","event_id":"0198-x","revision":1}"#), "0198-x");
        let derived = id(r#"{"config_key":"a","epoch":"e","revision":1}"#);
        assert_eq!(
            derived,
            id(r#"{"config_key":"b","epoch":"e","revision":1}"#),
            "a place in the log is one event"
        );
        assert_ne!(derived, id(r#"{"config_key":"a","epoch":"f","revision":1}"#));
        assert_eq!(id(r#"{"config_key":"a"}"#), id(r#"{"config_key":"a"}"#));
        assert_ne!(id(r#"{"config_key":"a"}"#), id(r#"{"config_key":"b"}"#));
    }

    #[test]
    fn an_id_that_a_header_cannot_carry_is_replaced() {
        for bad in ["a\\nb", "ü", "a b", "a.b", ""] {
            let replaced = id(&format!(r#"{{"config_key":"a","event_id":"{bad}"}}"#));
            assert!(is_plain(&replaced), "{bad}: {replaced}");
        }
    }
}

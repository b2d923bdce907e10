//! Which place each component reads or writes, as it says itself.
//!
//! What was read at a place is there already: its entry in the log is not given to a sink of that place.

use lockstep_plugin_api::{Batch, Bytes, Record, record::ENDPOINT_HEADER};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// The places of one run's components, by step.
#[derive(Debug, Default)]
pub struct Endpoints(Mutex<BTreeMap<usize, Bytes>>);

impl Endpoints {
    pub fn set(&self, index: usize, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(index, Bytes::from(name));
    }

    pub fn of(&self, index: usize) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }

    /// What of a page a sink has to be given: everything but what its own place showed.
    pub fn owed(&self, index: usize, page: Batch) -> Batch {
        let Some(endpoint) = self.of(index) else { return page };
        let is_shown = |record: &&Record| record.header(ENDPOINT_HEADER) == Some(&endpoint);
        if page.iter().any(|record| is_shown(&record)) {
            Batch::new(page.iter().filter(|record| !is_shown(record)).cloned().collect())
        } else {
            page
        }
    }
}

/// Says of records where they were read.
pub fn stamp(endpoint: &Bytes, records: &mut [Record]) {
    for record in records.iter_mut().filter(|record| shows_state(record)) {
        record.set_header(ENDPOINT_HEADER, endpoint.clone());
    }
}

/// Whether the message shows what its key will hold. What an author did to a value, or made of one that may not be the newest
/// any more, becomes something that nobody has seen at that place.
fn shows_state(record: &Record) -> bool {
    let Some(change) = record.known_change() else { return true };
    change.dot().is_some() || (change.ops().is_none() && change.base().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_not_given_back_what_was_read_there() {
        let endpoints = Endpoints::default();
        let record = |name: &str| {
            let mut record = Record::new(name);
            record.set_header(ENDPOINT_HEADER, name);
            record
        };
        let page = Batch::new(vec![record("kafka:a"), Record::new("own"), record("mqtt:b")]);
        assert_eq!(endpoints.owed(3, page.clone()).len(), 3, "it named no place");
        endpoints.set(3, "kafka:a");
        assert_eq!(endpoints.owed(3, page.clone()).len(), 2);
        endpoints.set(3, "redis:c");
        assert_eq!(endpoints.owed(3, page).len(), 3);
    }

    #[test]
    fn what_becomes_more_than_its_message_showed_is_given_back_to_its_place() {
        let place = Bytes::from("kafka:a");
        for (fields, is_stamped) in [
            (r#""new_value":1"#, true),
            (r#""ops":[1]"#, false),
            (r#""new_value":1,"base":7"#, false),
            (r#""new_value":1,"ops":[1],"dot":{"node":"n","seq":1}"#, true),
        ] {
            let json = format!(r#"{{"config_key":"k",{fields}}}"#);
            let change = lockstep_plugin_api::Change::from_json(&Bytes::from(json)).expect("a change");
            let mut records = [Record::from_change(change)];
            stamp(&place, &mut records);
            assert_eq!(records[0].header(ENDPOINT_HEADER).is_some(), is_stamped, "{fields}");
        }
    }
}

//! Which place each component reads or writes, as it says itself.
//!
//! What was read at a place is there already: its entry in the log is not given to a sink of that place.

use lockstep_plugin_api::{Batch, Bytes, record::ENDPOINT_HEADER};
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
        let is_shown =
            |record: &&lockstep_plugin_api::Record| record.header(ENDPOINT_HEADER) == Some(&endpoint);
        if page.iter().any(|record| is_shown(&record)) {
            Batch::new(page.iter().filter(|record| !is_shown(record)).cloned().collect())
        } else {
            page
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_plugin_api::Record;

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
}

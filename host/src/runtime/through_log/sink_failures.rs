//! Sinks fail alone: what each failed of since its thread was started.

use super::super::run::Failure;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The first failure of each sink.
#[derive(Debug)]
pub struct SinkFailures(Vec<Mutex<Option<Failure>>>);

impl SinkFailures {
    pub fn new(n_sinks: usize) -> Self {
        Self((0..n_sinks).map(|_| Mutex::default()).collect())
    }

    fn lock(&self, sink: usize) -> MutexGuard<'_, Option<Failure>> {
        self.0[sink].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for the first one, which is the one that counts.
    pub fn add(&self, sink: usize, failure: &Failure) -> bool {
        let mut first = self.lock(sink);
        let is_first = first.is_none();
        first.get_or_insert_with(|| failure.clone());
        is_first
    }

    /// Whether the sink's thread is to come to its end.
    pub fn has(&self, sink: usize) -> bool {
        self.lock(sink).is_some()
    }

    /// What the thread failed of, if it did. The next one begins without.
    pub fn take(&self, sink: usize) -> Option<Failure> {
        self.lock(sink).take()
    }
}

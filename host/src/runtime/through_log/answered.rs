//! Authors first: what was committed is shown to sinks when its authors have been told.
//!
//! A subscriber who is also the author of a change can so rely on hearing the answer before the change itself.

use super::super::run::{Ended, Run};
use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a sink waits before it looks whether its run is over.
const LOOK: Duration = Duration::from_millis(50);

/// The batches whose authors have not been told, as the revisions before them, oldest first.
#[derive(Debug, Default)]
pub struct Answered {
    untold: Mutex<VecDeque<u64>>,
    changed: Condvar,
}

impl Answered {
    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch is going to be committed somewhere after this revision.
    pub fn begin(&self, head: u64) {
        self.lock().push_back(head);
    }

    /// The authors of the oldest batch have been told.
    pub fn told(&self) {
        self.lock().pop_front();
        self.changed.notify_all();
    }

    /// Waits until everything up to this revision, which has been read, may be shown.
    pub fn wait(&self, run: &Run, through: u64) -> Result<(), Ended> {
        let mut untold = self.lock();
        while untold.front().is_some_and(|before| *before < through) {
            run.go_on()?;
            untold = self.changed.wait_timeout(untold, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

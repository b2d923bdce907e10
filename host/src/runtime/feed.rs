//! Where a sink's thread has its batches from: the chain of a direct pipeline, or the log.

use super::{
    route::Delivery,
    run::Ended,
    threads::SinkQueue,
    through_log::{Next, Tail},
};
use std::{
    sync::{
        MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

/// Where a sink's batches come from.
pub enum Feed<'a> {
    /// The chain, and dead letters that enter again.
    Queue(SinkQueue),
    /// The log, from the sink's own place on.
    Log(Tail<'a>),
}

impl Feed<'_> {
    /// What comes next, waiting at most `wait` for it.
    pub fn next(&mut self, wait: Duration) -> Result<Next, Ended> {
        match self {
            Self::Log(tail) => tail.next(wait),
            Self::Queue(queue) => Ok(match lock(queue).recv_timeout(wait) {
                Ok(delivery) => Next::Delivery(delivery),
                Err(RecvTimeoutError::Timeout) => Next::Nothing,
                Err(RecvTimeoutError::Disconnected) => Next::End,
            }),
        }
    }

    /// Whether what is not written yet may wait for the next start.
    pub fn may_leave(&self) -> bool {
        matches!(self, Self::Log(tail) if tail.may_leave())
    }
}

/// Only one thread of a sink takes from its queue: another one has ended, or hangs in a call.
pub fn lock(queue: &SinkQueue) -> MutexGuard<'_, Receiver<Delivery>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

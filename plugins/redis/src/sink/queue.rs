//! What waits for one connection.
//!
//! It has no limit of its own: the host puts at most so many batches before it waits for acks.

use super::job::Job;
use crate::cell::KeyNumber;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Jobs in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Queue {
    /// Which of so many connections a key takes.
    pub(crate) fn place(n_queues: usize, key: KeyNumber) -> usize {
        (key % n_queues as u64) as usize
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, jobs: Vec<Job>) {
        self.lock().jobs.extend(jobs);
        self.changed.notify_one();
    }

    /// Nothing more comes, and what waits is not to be sent any more.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes up to `max` jobs without waiting.
    pub(crate) fn take(&self, max: usize) -> Vec<Job> {
        let mut state = self.lock();
        let n = max.min(state.jobs.len());
        state.jobs.drain(..n).collect()
    }

    /// Waits until there is a job or the queue is closed. Cancel-safe: what is there stays there.
    pub(crate) async fn wait(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                if state.is_closed || !state.jobs.is_empty() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Waits until the queue is closed, leaving everything in it.
    pub(crate) async fn closed(&self) {
        while !self.is_closed() {
            self.changed.notified().await;
        }
    }
}

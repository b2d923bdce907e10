//! Whose turn it is at a lock: what this host does about one lock it does one after the other, so that what it writes
//! down about it comes in the order in which it happened.

use crate::name::LockName;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

/// How many locks may be remembered that nobody has a turn at.
const MOST_IDLE: usize = 1024;

/// The turns at all locks.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<LockName, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for a turn at a lock, which ends when it is dropped.
    pub async fn take(&self, name: &LockName) -> OwnedMutexGuard<()> {
        self.of(name).lock_owned().await
    }

    /// A turn at a lock that nobody has.
    pub fn try_take(&self, name: &LockName) -> Option<OwnedMutexGuard<()>> {
        self.of(name).try_lock_owned().ok()
    }

    fn of(&self, name: &LockName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() > MOST_IDLE {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(name.clone()).or_default().clone()
    }
}

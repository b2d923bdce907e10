//! A member of a group has to be heard of even while the host has no room for more: partitions are held still then, and
//! what the group wants is still done.

use crate::reader::Consumption;
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(1);

/// The thread that looks after a consumer nobody polls.
pub(crate) struct Keeper {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    is_stopped: Mutex<bool>,
    told: Condvar,
}

impl Keeper {
    /// Starts looking; what was not polled for `idle` is held still.
    pub(crate) fn start(consumption: Arc<Mutex<Consumption>>, idle: Duration) -> Self {
        let stop = Arc::<Stop>::default();
        let told = stop.clone();
        let keep = move || {
            while !told.wait(INTERVAL) {
                // Whoever holds it is polling.
                if let Ok(mut consumption) = consumption.try_lock() {
                    consumption.keep(idle);
                }
            }
        };
        let thread = thread::Builder::new().name("kafka-keeper".to_owned()).spawn(keep);
        Self { stop, thread: thread.ok() }
    }
}

impl Stop {
    /// Waits; says whether to stop.
    fn wait(&self, wait: Duration) -> bool {
        let stopped = self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(stopped, wait, |is_stopped| !*is_stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *self.stop.is_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.told.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

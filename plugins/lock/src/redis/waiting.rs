//! Calls of this host that wait for a lock: each sleeps until it is told that its turn has come, or looks by itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// Everybody who waits, by the name in the line; a repeat of a request has the name of the first.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<HashMap<String, Vec<Arc<Sleeper>>>>);

#[derive(Debug, Default)]
struct Sleeper {
    session: String,
    woken: Notify,
    is_closed: AtomicBool,
}

/// One call that waits; it does no more when this is dropped.
pub struct Ticket<'a> {
    waiting: &'a Waiting,
    name: String,
    sleeper: Arc<Sleeper>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Sleeper>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait with a request of a session.
    pub fn join(&self, session: &str, request: &str) -> Ticket<'_> {
        let name = format!("{session}/{request}");
        let sleeper = Arc::new(Sleeper { session: session.to_owned(), ..Sleeper::default() });
        self.lock().entry(name.clone()).or_default().push(sleeper.clone());
        Ticket { waiting: self, name, sleeper }
    }

    /// Wakes whoever has this name, if it is here.
    pub fn wake(&self, name: &str) {
        self.lock().get(name).into_iter().flatten().for_each(|sleeper| sleeper.woken.notify_one());
    }

    /// Wakes everybody, because something may have been missed.
    pub fn wake_all(&self) {
        self.lock().values().flatten().for_each(|sleeper| sleeper.woken.notify_one());
    }

    /// Ends the waiting of a session, and says how often it waited.
    pub fn close(&self, session: &str) -> usize {
        let waiting = self.lock();
        let sleepers = waiting.values().flatten().filter(|sleeper| sleeper.session == session);
        sleepers.inspect(|sleeper| sleeper.close()).count()
    }
}

impl Sleeper {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.woken.notify_one();
    }
}

impl Ticket<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sleeps until it is woken, or so long.
    pub async fn sleep(&self, at_most: Duration) {
        let _ = timeout(at_most, self.sleeper.woken.notified()).await;
    }

    pub fn is_closed(&self) -> bool {
        self.sleeper.is_closed.load(Ordering::Acquire)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(sleepers) = waiting.get_mut(&self.name) {
            sleepers.retain(|sleeper| !Arc::ptr_eq(sleeper, &self.sleeper));
            if sleepers.is_empty() {
                waiting.remove(&self.name);
            }
        }
    }
}

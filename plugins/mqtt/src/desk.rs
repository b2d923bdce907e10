//! What lies between the host's threads and the task that speaks to the broker, and how the connection stands.
//!
//! Invariant: the host's threads wait here with a limit and never for the network; the task never waits for them but for
//! something to do. While the broker is away, the host is told so, with the reason.

use crate::{config::Broker, link::LinkError};
use lockstep_plugin_api::{backoff::Backoff, prelude::*};
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{select, sync::Notify, time::sleep};
use tracing::debug;

/// Between attempts to connect.
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(2);

/// How many connections in a row may end at once before the broker counts as away.
const MOST_SHORT: u32 = 3;

/// How long a connection must last to count as one.
const LASTING: Duration = Duration::from_secs(1);

/// Shared by a component and its task; `T` is what one gives the other.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    state: Mutex<Laid<T>>,
    /// For the host's threads: there is something new, or the broker has gone, or the task has ended.
    news: Condvar,
    /// For the task: there is something to do, or it should end.
    work: Notify,
}

/// What lies there, and how things stand.
#[derive(Debug)]
pub(crate) struct Laid<T> {
    pub(crate) what: T,
    /// How it shows that the broker is away; before the first attempt has failed, it is not.
    away: Option<String>,
    is_stopping: bool,
    has_ended: bool,
}

impl<T> Laid<T> {
    /// How the connection stands.
    ///
    /// # Errors
    /// `NotConnected` while the broker is away.
    pub(crate) fn check(&self) -> Result<()> {
        self.away.as_ref().map_or(Ok(()), |why| Err(Error::not_connected(why)))
    }
}

impl<T> Desk<T> {
    pub(crate) fn new(what: T) -> Self {
        let laid = Laid { what, away: None, is_stopping: false, has_ended: false };
        Self { state: Mutex::new(laid), news: Condvar::new(), work: Notify::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Laid<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes up the host's threads.
    pub(crate) fn tell(&self) {
        self.news.notify_all();
    }

    /// Wakes up the task.
    pub(crate) fn ask(&self) {
        self.work.notify_one();
    }

    /// Looks until there is an answer, for at most this long.
    pub(crate) fn wait_for<R>(
        &self,
        wait: Duration,
        mut answer: impl FnMut(&mut Laid<T>) -> Option<R>,
    ) -> Option<R> {
        let until = Instant::now() + wait;
        let mut laid = self.lock();
        loop {
            if let Some(answer) = answer(&mut laid) {
                return Some(answer);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            laid = self.news.wait_timeout(laid, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has the task end, and waits at most this long until it has.
    pub(crate) fn stop(&self, wait: Duration) {
        self.lock().is_stopping = true;
        self.ask();
        self.wait_for(wait, |laid| laid.has_ended.then_some(()));
    }
}

#[cfg(test)]
impl<T> Desk<T> {
    pub(crate) fn set_away(&self, why: &str) {
        self.lock().away = Some(why.to_owned());
    }
}

/// What the task does with it.
impl<T> Desk<T> {
    /// Waits until there may be something to do.
    pub(crate) async fn work(&self) {
        self.work.notified().await;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Waits until it is time to end.
    pub(crate) async fn stopping(&self) {
        while !self.is_stopping() {
            self.work().await;
        }
    }

    /// The broker is there, and does what it is asked.
    pub(crate) fn well(&self) {
        self.lock().away = None;
    }

    /// A connection has ended, or was not made: the host is told, and the next attempt is waited for.
    pub(crate) async fn lost(&self, broker: &Broker, error: LinkError, attempts: &mut Attempts) {
        let why = format!("the MQTT broker at {} {error}", broker.address());
        debug!("{why}");
        let wait = attempts.next_wait();
        // A connection that worked may be back at once; one that never lasts is none.
        if !error.is_end() || attempts.n_short > MOST_SHORT {
            self.lock().away = Some(why);
            self.tell();
        }
        select! {
            () = sleep(wait) => {}
            () = self.stopping() => {}
        }
    }

    /// The task will do no more.
    pub(crate) fn end(&self) {
        self.lock().has_ended = true;
        self.tell();
    }
}

/// Attempts to connect, further and further apart until one lasts.
#[derive(Debug)]
pub(crate) struct Attempts {
    backoff: Backoff,
    begun: tokio::time::Instant,
    /// How many in a row did not last.
    n_short: u32,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self { backoff: Backoff::new(MIN_WAIT, MAX_WAIT), begun: tokio::time::Instant::now(), n_short: 0 }
    }

    /// One begins.
    pub(crate) fn begin(&mut self) {
        self.begun = tokio::time::Instant::now();
    }

    fn next_wait(&mut self) -> Duration {
        self.n_short += 1;
        if self.begun.elapsed() > LASTING {
            self.backoff.reset();
            self.n_short = 0;
        }
        self.backoff.next_wait()
    }
}

//! Waiting for a receiver that takes nothing at the moment.
//!
//! Invariant: while it is away one message at a time is tried, and none before the time it asked for.

use crate::answer::Later;
use lockstep_plugin_api::backoff::Backoff;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The first and the longest wait between attempts, unless the receiver asks for another.
const MIN_WAIT: Duration = Duration::from_millis(200);
const MAX_WAIT: Duration = Duration::from_secs(5);

/// What everything on its way to one receiver waits for.
#[derive(Debug)]
pub(crate) struct Pause {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// When the next attempt is due, if the receiver is away.
    until: Option<Instant>,
    /// Whether one is under way.
    is_trying: bool,
    backoff: Backoff,
}

/// What may be sent now.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Go,
    At(Instant),
    AfterSomebody,
}

impl Default for Pause {
    fn default() -> Self {
        Self { state: Mutex::new(State::default()), changed: Notify::new() }
    }
}

impl Pause {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something may be sent. Whoever has waited says afterwards what came of it.
    pub(crate) async fn over(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // What is said between the look and the wait must not be missed.
            changed.as_mut().enable();
            let next = self.lock().next(Instant::now());
            match next {
                Next::Go => return,
                Next::At(until) => sleep_until(until).await,
                Next::AfterSomebody => changed.await,
            }
        }
    }

    /// The receiver answered.
    pub(crate) fn end(&self) {
        if self.lock().end() {
            self.changed.notify_waiters();
        }
    }

    /// The receiver takes nothing: when it is tried again.
    pub(crate) fn begin(&self, later: &Later) -> Instant {
        let until = self.lock().begin(later, Instant::now());
        self.changed.notify_waiters();
        until
    }
}

impl Default for State {
    fn default() -> Self {
        Self { until: None, is_trying: false, backoff: Backoff::new(MIN_WAIT, MAX_WAIT) }
    }
}

impl State {
    fn next(&mut self, now: Instant) -> Next {
        match self.until {
            None => Next::Go,
            Some(until) if until > now => Next::At(until),
            Some(_) if self.is_trying => Next::AfterSomebody,
            Some(_) => {
                self.is_trying = true;
                Next::Go
            }
        }
    }

    /// Whether the receiver was away.
    fn end(&mut self) -> bool {
        self.is_trying = false;
        self.backoff.reset();
        self.until.take().is_some()
    }

    /// What was under way beside the first that found out changes nothing.
    fn begin(&mut self, later: &Later, now: Instant) -> Instant {
        if let Some(until) = self.until.filter(|until| *until > now) {
            return until;
        }
        let wait = later.asked.filter(|asked| !asked.is_zero()).unwrap_or_else(|| self.backoff.next_wait());
        self.is_trying = false;
        *self.until.insert(now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(seconds: Option<u64>) -> Later {
        Later { why: String::new(), asked: seconds.map(Duration::from_secs), is_server_error: true }
    }

    #[test]
    fn one_tries_after_the_wait_and_the_others_after_it() {
        let (mut state, start) = (State::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.next(start), Next::Go);
        assert_eq!(state.begin(&later(Some(7)), start), after(7));
        assert_eq!(state.begin(&later(Some(60)), start), after(7), "it was under way beside the first");
        assert_eq!(state.next(after(6)), Next::At(after(7)));
        assert_eq!((state.next(after(7)), state.next(after(7))), (Next::Go, Next::AfterSomebody));
        assert_eq!(state.begin(&later(Some(3)), after(8)), after(11));
        assert_eq!((state.next(after(11)), state.next(after(11))), (Next::Go, Next::AfterSomebody));
        assert!(state.end() && !state.end());
        assert_eq!((state.next(after(11)), state.next(after(11))), (Next::Go, Next::Go));
    }

    #[test]
    fn waits_grow_up_to_a_limit_and_start_again() {
        let (mut state, mut now) = (State::default(), Instant::now());
        let mut wait = |state: &mut State| {
            let before = now;
            now = state.begin(&later(None), before);
            now - before
        };
        let waits: Vec<Duration> = (0..8).map(|_| wait(&mut state)).collect();
        assert!(waits[0] <= MIN_WAIT && waits[7] > MAX_WAIT / 4, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= MAX_WAIT), "{waits:?}");
        state.end();
        assert!(wait(&mut state) <= MIN_WAIT);
    }
}

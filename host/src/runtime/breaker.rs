//! The circuit breaker around one component: an endpoint that is away is waited for, not failed at.
//!
//! While it is open, nothing is lost, no `on_error` attempt is used up, and one probe at a time is let through. Every
//! probe is a real call: the next batch, the next poll.

use lockstep_plugin_api::{Error, backoff::Backoff};
use std::time::{Duration, Instant};

/// The first and the longest wait between probes. The wire contract promises recovery within seconds, so the cap is low.
const MIN_WAIT: Duration = Duration::from_millis(200);
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Whether the endpoint of one component answers.
#[derive(Debug)]
pub struct Breaker {
    backoff: Backoff,
    opened_at: Option<Instant>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { backoff: Backoff::new(MIN_WAIT, MAX_WAIT), opened_at: None }
    }
}

impl Breaker {
    /// A call failed because of the endpoint: how long to wait before the next probe.
    pub fn trip(&mut self, error: &Error) -> Duration {
        self.opened_at.get_or_insert_with(Instant::now);
        let asked = error.retry_after();
        if asked.is_zero() { self.backoff.next_wait() } else { asked.min(MAX_WAIT) }
    }

    /// A call succeeded: for how long the endpoint was away, if it was.
    pub fn close(&mut self) -> Option<Duration> {
        self.backoff.reset();
        self.opened_at.take().map(|opened_at| opened_at.elapsed())
    }

    pub fn is_open(&self) -> bool {
        self.opened_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_while_open_and_tells_how_long_it_was() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.close(), None);
        let away = Error::not_connected("away");
        let waits: Vec<_> = (0..8).map(|_| breaker.trip(&away)).collect();
        assert!(waits[0] <= MIN_WAIT && waits[7] <= MAX_WAIT && waits[7] > waits[0], "{waits:?}");
        assert!(breaker.is_open());
        assert!(breaker.close().is_some() && !breaker.is_open());
    }

    #[test]
    fn an_endpoint_that_names_a_time_is_asked_then_but_not_later_than_the_cap() {
        let mut breaker = Breaker::default();
        assert_eq!(
            breaker.trip(&Error::retry(Duration::from_millis(300), "busy")),
            Duration::from_millis(300)
        );
        assert_eq!(breaker.trip(&Error::retry(Duration::from_secs(60), "busy")), MAX_WAIT);
    }
}

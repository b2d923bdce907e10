//! Whether the broker is alive: a ping when nothing came for a while, and the end when nothing came after that.

use crate::link::LinkError;
use std::time::Duration;
use tokio::time::Instant;

/// When what was heard, and what was asked.
#[derive(Debug)]
pub(crate) struct Pulse {
    ping_after: Duration,
    answer_timeout: Duration,
    heard_at: Instant,
    pinged_at: Option<Instant>,
    /// What is not read cannot be missed.
    is_reading: bool,
}

impl Pulse {
    pub(crate) fn new(answer_timeout: Duration, keepalive: Duration, now: Instant) -> Self {
        let half = keepalive / 2;
        let ping_after = if half.is_zero() { answer_timeout } else { answer_timeout.min(half) };
        Self { ping_after, answer_timeout, heard_at: now, pinged_at: None, is_reading: true }
    }

    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.pinged_at = None;
    }

    /// Something was written, and more waits to be: an answer can only come behind that.
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.heard_at = now;
        self.pinged_at = self.pinged_at.map(|_| now);
    }

    pub(crate) fn set_reading(&mut self, reads: bool, now: Instant) {
        if reads && !self.is_reading {
            // Nobody looked, so nothing is late.
            self.heard(now);
        }
        self.is_reading = reads;
    }

    pub(crate) fn due(&self) -> Instant {
        match self.pinged_at {
            Some(pinged_at) if self.is_reading => pinged_at + self.answer_timeout,
            Some(pinged_at) => pinged_at + self.ping_after,
            None => self.heard_at + self.ping_after,
        }
    }

    /// Whether it is time for a ping.
    ///
    /// # Errors
    /// If the last one is still unanswered.
    pub(crate) fn beat(&mut self, now: Instant) -> Result<bool, LinkError> {
        if now < self.due() {
            return Ok(false);
        }
        if self.is_reading && self.pinged_at.is_some() {
            return Err(LinkError::Silent { what: "a ping", after: self.answer_timeout });
        }
        self.pinged_at = Some(now);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_broker_that_says_nothing_is_asked_and_then_given_up() {
        let start = Instant::now();
        let mut pulse = Pulse::new(3 * SECOND, 60 * SECOND, start);
        assert!(!pulse.beat(start + 2 * SECOND).expect("alive"));
        assert!(pulse.beat(start + 3 * SECOND).expect("asked"));
        assert!(!pulse.beat(start + 5 * SECOND).expect("there is time"));
        assert!(matches!(pulse.beat(start + 6 * SECOND), Err(LinkError::Silent { .. })));
    }

    #[test]
    fn who_does_not_read_pings_on_and_misses_nothing() {
        let start = Instant::now();
        let mut pulse = Pulse::new(3 * SECOND, 4 * SECOND, start);
        pulse.set_reading(false, start);
        for n in 1..10 {
            assert!(pulse.beat(start + 2 * n * SECOND).expect("nothing is missed"), "twice per keepalive");
        }
        pulse.set_reading(true, start + 20 * SECOND);
        assert!(!pulse.beat(start + 20 * SECOND).expect("it begins anew"));
    }

    #[test]
    fn a_broker_that_takes_a_long_message_bit_by_bit_is_alive() {
        let start = Instant::now();
        let mut pulse = Pulse::new(3 * SECOND, 60 * SECOND, start);
        for n in 1..20 {
            pulse.progressed(start + n * SECOND);
            pulse.beat(start + n * SECOND).expect("it takes what is written");
        }
        assert!(pulse.beat(start + 22 * SECOND).expect("asked"));
        assert!(pulse.beat(start + 25 * SECOND).is_err());
    }
}

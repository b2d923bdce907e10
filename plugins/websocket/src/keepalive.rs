//! Whether the client is still there: a ping every interval, and a sign of life within the timeout.

use std::{pin::Pin, time::Duration};
use tokio::time::{Instant, Sleep, sleep_until};

/// What the session has to do when [`Keepalive::due`] comes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send a ping.
    Ping,
    /// The client gave no sign of life.
    Lost,
    /// Nothing: the session did not read in between, so it cannot know.
    Wait,
}

/// The ping timer of one connection.
pub(crate) struct Keepalive {
    interval: Duration,
    timeout: Duration,
    timer: Pin<Box<Sleep>>,
    /// When the ping that is waiting for its answer was sent.
    pinged_at: Option<Instant>,
}

impl Keepalive {
    /// Starts counting now; an interval of zero never comes due.
    pub(crate) fn new(interval: Duration, timeout: Duration) -> Self {
        let first = Instant::now() + interval;
        Self { interval, timeout, timer: Box::pin(sleep_until(first)), pinged_at: None }
    }

    /// Waits until something has to be done. Cancel-safe. `was_reading` is false if the session had a reason of its own
    /// not to read, in which case silence says nothing about the client.
    pub(crate) async fn due(&mut self, was_reading: bool) -> Due {
        if self.interval.is_zero() {
            return std::future::pending().await;
        }
        self.timer.as_mut().await;
        let now = Instant::now();
        self.timer.as_mut().reset(now + self.timeout);
        match (self.pinged_at, was_reading) {
            (Some(_), true) => Due::Lost,
            (Some(_), false) => Due::Wait,
            (None, _) => {
                self.pinged_at = Some(now);
                Due::Ping
            }
        }
    }

    /// Any frame is a sign of life: a client that sends is there, even if its pong stands behind a large message.
    pub(crate) fn heard(&mut self) {
        if let Some(pinged_at) = self.pinged_at.take() {
            self.timer.as_mut().reset(pinged_at + self.interval);
        }
    }
}

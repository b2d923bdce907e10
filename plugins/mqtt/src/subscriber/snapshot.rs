//! The connection that reads what the broker retains: at most once, which no queue of the broker bounds, and nothing else.
//!
//! Invariant: what it hands over are retained messages; live ones are the other connection's. It is over when none has come
//! for a while, though every one could have.

use super::{MOST_AT_ONCE, MOST_BYTES_AT_ONCE, SUBSCRIBE_ID, shown::Shown};
use crate::{
    config::Broker,
    inbox::{Arrival, Delivered, Inbox},
    link::{Link, LinkError},
    metrics::SourceMetrics,
    packet::{Quality, Received, Sent},
};
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct Snapshot {
    link: Link,
    client_id: String,
    filters: Vec<String>,
    answer_timeout: Duration,
    quiet: Duration,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Connected,
    /// Until when the broker has to answer.
    Subscribing(Instant),
    /// Since when no retained message has come, and none could have been held back.
    Reading(Instant),
}

impl Snapshot {
    pub(super) fn new(
        link: Link,
        client_id: String,
        filters: Vec<String>,
        broker: &Broker,
        quiet: Duration,
    ) -> Self {
        let answer_timeout = broker.answer_timeout;
        Self { link, client_id, filters, answer_timeout, quiet, stage: Stage::Connected }
    }

    /// Asks for everything, if that has not been done.
    pub(super) fn begin(&mut self) {
        if matches!(self.stage, Stage::Connected) {
            let (filters, quality) = (&self.filters[..], Quality::AtMostOnce);
            self.link.send(&Sent::Subscribe { id: SUBSCRIBE_ID, filters, quality, reads_retained: true });
            self.stage = Stage::Subscribing(Instant::now() + self.answer_timeout);
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Connected)
    }

    /// Moves bytes. May be cancelled at any time.
    pub(super) async fn exchange(&mut self, reads: bool) -> Result<(), LinkError> {
        let moved = self.link.exchange(reads).await;
        moved.map_err(|error| error.of_snapshot(&self.client_id))
    }

    /// Puts into the inbox what has come, while there is room.
    pub(super) fn take_in(
        &mut self,
        inbox: &Inbox,
        shown: &mut Shown,
        metrics: &SourceMetrics,
    ) -> Result<(), LinkError> {
        let mut arrivals = Vec::new();
        while inbox.has_room() {
            let mut n_bytes = 0;
            let mut is_all = false;
            while arrivals.len() < MOST_AT_ONCE && n_bytes < MOST_BYTES_AT_ONCE && !is_all {
                let packet = self.link.next().map_err(|error| error.of_snapshot(&self.client_id))?;
                is_all = packet.is_none();
                let taken = packet.map(|packet| self.take(packet, shown)).transpose();
                if let Some(arrival) = taken.map_err(|error| error.of_snapshot(&self.client_id))?.flatten() {
                    n_bytes += arrival.n_bytes();
                    arrivals.push(Delivered { arrival, ack: None });
                }
            }
            metrics.received.add(arrivals.len() as u64);
            inbox.push(&mut arrivals);
            if is_all {
                if self.link.is_amid() {
                    self.go_on_waiting();
                }
                return Ok(());
            }
        }
        // Nobody looks.
        self.go_on_waiting();
        Ok(())
    }

    fn take(&mut self, packet: Received, shown: &mut Shown) -> Result<Option<Arrival>, LinkError> {
        match packet {
            Received::Message(message) if message.is_retained => {
                self.go_on_waiting();
                shown.show(&message);
                Ok(Some(Arrival::Message(message)))
            }
            Received::TooLarge { topic, is_retained: true, n_bytes, .. } => {
                self.go_on_waiting();
                Ok(Some(Arrival::TooLarge { topic, n_bytes }))
            }
            Received::SubAck { refusals } => {
                self.stage = Stage::Reading(Instant::now());
                LinkError::of_refusals(&self.filters, refusals).map(|()| None)
            }
            Received::Disconnect(goodbye) => Err(LinkError::Goodbye(goodbye)),
            _ => Ok(None),
        }
    }

    /// The time that may pass begins anew.
    fn go_on_waiting(&mut self) {
        let now = Instant::now();
        match &mut self.stage {
            Stage::Connected => {}
            Stage::Subscribing(until) => *until = now + self.answer_timeout,
            Stage::Reading(quiet_since) => *quiet_since = now,
        }
    }

    /// Until when to wait before [`Snapshot::is_over`].
    pub(super) fn due(&self) -> Instant {
        match self.stage {
            Stage::Connected => self.link.beat_at(),
            Stage::Subscribing(until) => self.link.beat_at().min(until),
            Stage::Reading(quiet_since) => self.link.beat_at().min(quiet_since + self.quiet),
        }
    }

    /// Whether everything has come.
    ///
    /// # Errors
    /// If the broker is not heard of any more.
    pub(super) fn is_over(&mut self) -> Result<bool, LinkError> {
        let now = Instant::now();
        self.link.beat().map_err(|error| error.of_snapshot(&self.client_id))?;
        match self.stage {
            Stage::Subscribing(until) if until <= now => {
                let silent = LinkError::Silent { what: "a subscription", after: self.answer_timeout };
                Err(silent.of_snapshot(&self.client_id))
            }
            Stage::Reading(quiet_since) => Ok(quiet_since + self.quiet <= now),
            _ => Ok(false),
        }
    }

    pub(super) async fn close(self) {
        self.link.close().await;
    }
}

//! One connection of a publisher: what is under way on it, what the broker answers, and how it ends.
//!
//! Invariant: a record is answered by the acknowledgement of its own publish, and by nothing else. What is unanswered at the
//! end is nobody's but the outbox's.

use super::{OFFLINE, ONLINE, Publisher};
use crate::{
    link::{Link, LinkError},
    outbox::Token,
    packet::{Publish, Quality, Received, Refusal, Sent},
    window::{Answered, Window},
};
use lockstep_plugin_api::prelude::*;
use std::time::Duration;
use tokio::{
    select,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tracing::{debug, error, warn};

/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much of the answer timeout one publish may take while others are answered.
const MOST_TIMEOUTS: u32 = 10;

/// What was published.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Published {
    /// `None` is this client's own status.
    record: Option<Token>,
    at: Instant,
}

/// One connection.
pub(super) struct Session<'a> {
    publisher: &'a mut Publisher,
    link: Link,
    window: Window<Published>,
    limit: usize,
    /// When the broker last answered a publish, or publishes had all been written.
    progress_at: Instant,
    /// Whether there are publishes among what is not written yet.
    is_writing: bool,
    /// Published at most once: done when written.
    unacknowledged: Vec<Token>,
    /// This client's status, as soon as the broker may be sent one more.
    to_say: Option<&'static str>,
}

impl<'a> Session<'a> {
    pub(super) fn new(publisher: &'a mut Publisher, link: Link) -> Self {
        let of_broker = link.terms.receive_maximum.unwrap_or(u16::MAX).into();
        Self {
            limit: publisher.in_flight.min(of_broker).max(1),
            publisher,
            link,
            window: Window::new(),
            progress_at: Instant::now(),
            is_writing: false,
            unacknowledged: Vec::new(),
            to_say: None,
        }
    }

    /// How many publishes the broker has not answered.
    pub(super) fn n_unanswered(&self) -> usize {
        self.window.len()
    }

    /// Publishes until the outbox is stopped.
    pub(super) async fn publish_all(&mut self) -> Result<(), LinkError> {
        let mut heartbeat = self.publisher.heartbeat.map(beats);
        self.say(ONLINE);
        loop {
            self.fill();
            let until = self.answer_due().map_or(self.link.beat_at(), |due| due.min(self.link.beat_at()));
            select! {
                moved = self.link.exchange(true) => moved?,
                () = self.publisher.outbox.work() => {}
                () = sleep_until(until) => {}
                () = next(&mut heartbeat) => self.say(ONLINE),
            }
            while let Some(packet) = self.link.next()? {
                self.take_in(packet)?;
            }
            self.note_written();
            self.check_answers()?;
            self.link.beat()?;
            if self.publisher.outbox.is_stopping() {
                return Ok(());
            }
        }
    }

    /// Publishes what there is and may be.
    fn fill(&mut self) {
        self.say_what_is_due();
        while self.link.has_room() {
            let limit = self.publisher.suspicion.limit(self.limit);
            let room = limit.saturating_sub(self.window.len() + self.unacknowledged.len());
            // A few at a time: how many bytes they are as packets is known only then.
            let records = self.publisher.outbox.take(room.min(16));
            if records.is_empty() {
                return;
            }
            for (token, record) in records {
                match self.compose(record) {
                    Ok(publish) => self.publish(Some(token), &publish),
                    Err(error) => self.fail(token, error),
                }
            }
        }
    }

    fn compose(&self, record: Record) -> Result<Publish> {
        let publish = self.publisher.composer.compose(record)?;
        let most = self.publisher.broker.max_packet_size;
        let most = self.link.terms.max_packet_size.map_or(most, |of_broker| most.min(of_broker));
        let size = self.link.size(&publish);
        if size > most {
            return Err(Error::rejected("too_large", "the message is larger than the broker may be sent")
                .with_details(&[size, most]));
        }
        Ok(publish)
    }

    fn publish(&mut self, record: Option<Token>, publish: &Publish) {
        let now = Instant::now();
        if self.window.len() == 0 {
            self.progress_at = now;
        }
        let id = match (publish.quality, record) {
            (Quality::AtMostOnce, record) => {
                self.unacknowledged.extend(record);
                0
            }
            (_, record) => self.window.publish(Published { record, at: now }),
        };
        self.link.send(&Sent::Publish { id, publish });
        self.is_writing = true;
    }

    fn say(&mut self, status: &'static str) {
        self.to_say = Some(status);
        self.say_what_is_due();
    }

    /// A broker ends the connection of who sends more than it allows.
    fn say_what_is_due(&mut self) {
        if self.window.len() >= self.limit {
            return;
        }
        if let (Some(status), Some(_)) = (self.to_say.take(), self.publisher.heartbeat) {
            let publish = self.publisher.status(status);
            self.publish(None, &publish);
        }
    }

    fn take_in(&mut self, packet: Received) -> Result<(), LinkError> {
        let answered = match packet {
            Received::PubAck { id, refusal } => self.window.acked(id, refusal),
            Received::PubComp { id } => self.window.completed(id),
            Received::PubRec { id, refusal } => {
                let answered = self.window.received(id, refusal);
                if !matches!(answered, Answered::Done(..)) {
                    self.link.send(&Sent::PubRel(id));
                }
                answered
            }
            Received::Disconnect(goodbye) => return Err(LinkError::Goodbye(goodbye)),
            _ => return Ok(()),
        };
        if answered != Answered::Unknown {
            self.progress_at = Instant::now();
        }
        match answered {
            Answered::Done(Published { record: Some(token), .. }, None) => self.done(token),
            Answered::Done(Published { record: Some(token), .. }, Some(refusal)) => {
                self.fail(token, error_of(refusal));
            }
            Answered::Done(Published { record: None, .. }, Some(refusal)) => {
                warn!(?refusal, "the broker does not take this client's status: it is not said any more");
                self.publisher.heartbeat = None;
            }
            _ => {}
        }
        Ok(())
    }

    fn done(&mut self, token: Token) {
        self.publisher.metrics.sent.add(1);
        self.publisher.suspicion.answered(token);
        self.publisher.outbox.answer(token, Ok(()));
    }

    fn fail(&mut self, token: Token, error: Error) {
        error!(code = error.code(), "Failed to send event to MQTT: {error}");
        self.publisher.metrics.refused.add(1);
        self.publisher.suspicion.answered(token);
        self.publisher.outbox.answer(token, Err(error));
    }

    /// What is published at most once is done when the system has it.
    fn note_written(&mut self) {
        if !self.link.is_flushed() {
            return;
        }
        if std::mem::take(&mut self.is_writing) {
            self.progress_at = Instant::now();
        }
        for token in std::mem::take(&mut self.unacknowledged) {
            self.done(token);
        }
    }

    /// Until when there must be an answer; none if nothing is unanswered.
    fn answer_due(&self) -> Option<Instant> {
        let after = self.publisher.broker.answer_timeout;
        // While publishes are written, it is the writing that must go on.
        let progress_at =
            if self.is_writing { self.progress_at.max(self.link.written_at()) } else { self.progress_at };
        match self.window.oldest() {
            None => self.is_writing.then(|| progress_at + after),
            Some(oldest) => Some((progress_at + after).min(oldest.at + after * MOST_TIMEOUTS)),
        }
    }

    fn check_answers(&self) -> Result<(), LinkError> {
        match self.answer_due() {
            Some(due) if due <= Instant::now() => {
                Err(LinkError::Silent { what: "a publish", after: self.publisher.broker.answer_timeout })
            }
            _ => Ok(()),
        }
    }

    /// The broker ended the connection: perhaps because of something that it had not answered.
    pub(super) fn suspect(&mut self, error: &LinkError) {
        if !error.may_be_our_fault() {
            return;
        }
        let unanswered = self.window.iter().filter_map(|published| published.record);
        if let Some(token) = self.publisher.suspicion.cut(unanswered) {
            let error =
                Error::rejected("refused", "the broker ends the connection whenever it is sent this message");
            self.fail(token, error);
        }
    }

    /// Says `offline`, which no will does after a goodbye, and goodbye.
    pub(super) async fn farewell(mut self) {
        let _ = timeout(FAREWELL, async {
            self.say(OFFLINE);
            while self.window.len() > 0 || self.is_writing {
                self.link.exchange(true).await?;
                while let Some(packet) = self.link.next()? {
                    self.take_in(packet)?;
                }
                self.note_written();
                self.say_what_is_due();
            }
            Ok::<(), LinkError>(())
        })
        .await;
        let _ = timeout(FAREWELL, self.link.close()).await;
        debug!("publisher disconnected");
    }
}

fn beats(every: Duration) -> Interval {
    let every = every.max(Duration::from_secs(1));
    let mut beats = interval_at(Instant::now() + every, every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

async fn next(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

/// What the broker's refusal means for a record.
fn error_of(refusal: Refusal) -> Error {
    let says_no = |why: &str| std::io::Error::other(format!("the broker did not take the message: {why}"));
    match refusal {
        Refusal::NotAuthorized => {
            Error::rejected("forbidden", "the broker does not let this client publish to the topic")
        }
        Refusal::BadTopic => Error::rejected("bad_key", "the broker does not take the topic"),
        Refusal::BadPayload => Error::rejected("bad_message", "the broker does not take the message"),
        Refusal::Quota => Error::failed(says_no("a limit is reached")),
        Refusal::Other => Error::failed(says_no("it gives no reason")),
    }
}

//! The task behind a sink: keeps a connection, publishes what is in the outbox, and says what the broker made of it.
//!
//! Invariant: records are published in their order, on every connection again from the oldest that is unanswered. The
//! client id stays the same, so a broker that accepts a connection has given up the one before, with what was left in it.

use crate::{
    composer::Composer,
    config::Broker,
    desk::Attempts,
    link::{Link, LinkError},
    metrics::SinkMetrics,
    outbox::{Outbox, Token},
    packet::{Connect, Publish, Quality, Received, Refusal, Sent},
    suspicion::Suspicion,
    tls::TlsFiles,
    window::{Answered, Window},
};
use lockstep_plugin_api::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::{
    select,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tracing::{debug, error, info, warn};

/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much of the answer timeout one publish may take while others are answered.
const MOST_TIMEOUTS: u32 = 10;

/// What the task works with.
pub(crate) struct Publisher {
    pub(crate) broker: Broker,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) client_id: String,
    pub(crate) composer: Composer,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) metrics: SinkMetrics,
    /// How many publishes may be unanswered.
    pub(crate) in_flight: usize,
    /// How often to say `online`; `None` says nothing.
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) suspicion: Suspicion,
}

/// What was published.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Published {
    /// `None` is this client's own status.
    record: Option<Token>,
    at: Instant,
}

/// One connection.
struct Session<'a> {
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
}

impl Publisher {
    /// Runs until the outbox is stopped.
    pub(crate) async fn run(mut self) {
        let mut attempts = Attempts::new();
        while !self.outbox.is_stopping() {
            attempts.begin();
            match self.connect_and_publish().await {
                Ok(()) => break,
                Err(error) => self.outbox.lost(&self.broker, error, &mut attempts).await,
            }
        }
        self.outbox.end();
    }

    async fn connect_and_publish(&mut self) -> Result<(), LinkError> {
        let connect = self.introduction();
        let link = select! {
            link = Link::connect(&self.broker, self.tls.as_ref(), &connect) => link?,
            () = self.outbox.stopping() => return Ok(()),
        };
        let terms = link.terms;
        info!(client_id = self.client_id, broker = self.broker.address(), "publisher connected");
        self.metrics.connections.add(1);
        self.outbox.begin_again();
        self.outbox.well();
        let now = Instant::now();
        let limit = self.in_flight.min(terms.receive_maximum.unwrap_or(u16::MAX).into()).max(1);
        let mut session = Session {
            publisher: self,
            link,
            window: Window::new(),
            limit,
            progress_at: now,
            is_writing: false,
            unacknowledged: Vec::new(),
        };
        let ended = session.publish_all().await;
        match ended {
            Ok(()) => session.farewell().await,
            Err(error) => {
                warn!(client_id = session.publisher.client_id, %error, unanswered = session.window.len(), "publisher lost its connection");
                session.suspect(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    fn introduction(&self) -> Connect {
        Connect {
            client_id: self.client_id.clone(),
            keepalive_secs: self.broker.keepalive_secs(),
            login: self.broker.login(),
            // What is unanswered is published again, under new ids.
            is_clean: true,
            session_expiry_secs: 0,
            receive_maximum: 1,
            will: self.heartbeat.map(|_| self.status(OFFLINE)),
        }
    }

    fn status(&self, status: &'static str) -> Publish {
        Publish {
            topic: self.broker.tree.of_status(&self.client_id),
            payload: bytes::Bytes::from_static(status.as_bytes()),
            quality: Quality::AtLeastOnce,
            retain: true,
            properties: Vec::new(),
        }
    }
}

const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

impl Session<'_> {
    /// Publishes until the outbox is stopped.
    async fn publish_all(&mut self) -> Result<(), LinkError> {
        let mut heartbeat = self.publisher.heartbeat.map(beats);
        if heartbeat.is_some() {
            self.say(ONLINE);
        }
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
        while self.link.has_room() {
            let limit = self.publisher.suspicion.limit(self.limit);
            let room = limit.saturating_sub(self.window.len() + self.unacknowledged.len());
            // A few at a time: how much they are together is known only then.
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
        let publish = self.publisher.status(status);
        self.publish(None, &publish);
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
                warn!(
                    client_id = self.publisher.client_id,
                    ?refusal,
                    "the broker does not take this client's status"
                );
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
        error!(
            client_id = self.publisher.client_id,
            code = error.code(),
            "Failed to send event to MQTT: {error}"
        );
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
    fn suspect(&mut self, error: &LinkError) {
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
    async fn farewell(mut self) {
        let _ = timeout(FAREWELL, async {
            if self.publisher.heartbeat.is_some() {
                self.say(OFFLINE);
            }
            while self.window.len() > 0 || self.is_writing {
                self.link.exchange(true).await?;
                while let Some(packet) = self.link.next()? {
                    self.take_in(packet)?;
                }
                self.note_written();
            }
            Ok::<(), LinkError>(())
        })
        .await;
        let _ = timeout(FAREWELL, self.link.close()).await;
        debug!(client_id = self.publisher.client_id, "publisher disconnected");
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

//! One connection of a subscriber, beside the one that reads what is retained.
//!
//! Invariant: nothing retained is handed over after a live message that is newer. What the broker kept while nobody was
//! here is older than the snapshot and comes before it; what comes while the snapshot is read waits, unacknowledged, until
//! it has been.

use super::{
    FAREWELL, MOST_AT_ONCE, MOST_BYTES_AT_ONCE, SUBSCRIBE_ID, Subscriber, shown::Shown, snapshot::Snapshot,
};
use crate::{
    inbox::{Arrival, Delivered, is_full},
    link::{Link, LinkError},
    packet::{Ack, Protocol, Received, Sent},
};
use tokio::{
    select,
    time::{Instant, sleep_until, timeout},
};
use tracing::info;

/// How many quiet times what was kept may take to come; who is never quiet would never see what is retained.
const MOST_LULLS: u32 = 20;

/// One connection.
pub(super) struct Session<'a> {
    subscriber: &'a mut Subscriber,
    link: Link,
    /// `None` once everything has been shown, or if nobody wants to see it.
    snapshot: Option<Snapshot>,
    shown: Shown,
    /// Until when the broker has to answer the subscription; `None` once it has.
    subscribing_until: Option<Instant>,
    /// When it did.
    subscribed_at: Instant,
    /// Since when nothing has come, and nothing could have been held back.
    quiet_since: Instant,
    acks: Vec<Ack>,
    arrivals: Vec<Delivered>,
    /// What came while the snapshot was read.
    held: Vec<Delivered>,
    n_held_bytes: usize,
}

impl<'a> Session<'a> {
    pub(super) fn new(subscriber: &'a mut Subscriber, link: Link, snapshot: Option<Snapshot>) -> Self {
        let now = Instant::now();
        let mut session = Self {
            subscriber,
            link,
            snapshot,
            shown: Shown::default(),
            subscribing_until: None,
            subscribed_at: now,
            quiet_since: now,
            acks: Vec::new(),
            arrivals: Vec::new(),
            held: Vec::new(),
            n_held_bytes: 0,
        };
        session.subscribe();
        session
    }

    fn subscribe(&mut self) {
        let Subscriber { filters, broker, .. } = &*self.subscriber;
        let quality = broker.qos;
        self.link.send(&Sent::Subscribe { id: SUBSCRIBE_ID, filters, quality, reads_retained: false });
        self.subscribing_until = Some(self.answer_due());
    }

    fn answer_due(&self) -> Instant {
        Instant::now() + self.subscriber.broker.answer_timeout
    }

    /// Receives until the inbox is stopped.
    pub(super) async fn receive_all(&mut self) -> Result<(), LinkError> {
        loop {
            let is_settled = self.acknowledge();
            self.take_in()?;
            self.take_snapshot()?;
            let (reads, reads_snapshot) = (self.has_room(), self.subscriber.inbox.has_room());
            if !is_settled || !reads || self.link.is_amid() {
                self.quiet_since = Instant::now();
            }
            if !reads {
                // The answer may be among what is not read.
                self.subscribing_until = self.subscribing_until.map(|_| self.answer_due());
            }
            let until = self.due();
            select! {
                moved = self.link.exchange(reads) => moved?,
                moved = exchange(&mut self.snapshot, reads_snapshot) => moved?,
                () = self.subscriber.inbox.work() => {}
                () = sleep_until(until) => {}
            }
            self.link.beat()?;
            if self.subscriber.inbox.is_stopping() {
                self.acknowledge();
                return Ok(());
            }
            self.look_at_the_clock().await?;
        }
    }

    /// Whether more may be read.
    fn has_room(&self) -> bool {
        match self.is_holding() {
            true => !is_full(self.held.len(), self.n_held_bytes),
            false => self.subscriber.inbox.has_room(),
        }
    }

    fn is_holding(&self) -> bool {
        self.snapshot.as_ref().is_some_and(Snapshot::has_begun)
    }

    /// Sends what may be acknowledged; says whether nothing is left that will have to be.
    fn acknowledge(&mut self) -> bool {
        let is_settled = self.subscriber.inbox.take_due(&mut self.acks);
        for ack in self.acks.drain(..) {
            self.link.send(&match ack {
                Ack::AtLeastOnce(id) => Sent::PubAck(id),
                Ack::ExactlyOnce(id) => Sent::PubRec(id),
            });
        }
        is_settled
    }

    /// Hands over what has come, while there is room.
    fn take_in(&mut self) -> Result<(), LinkError> {
        while self.has_room() {
            let mut n_bytes = 0;
            while self.arrivals.len() < MOST_AT_ONCE && n_bytes < MOST_BYTES_AT_ONCE {
                let Some(packet) = self.link.next()? else {
                    self.hand_over(n_bytes);
                    return Ok(());
                };
                n_bytes += self.take(packet)?;
            }
            self.hand_over(n_bytes);
        }
        Ok(())
    }

    fn hand_over(&mut self, n_bytes: usize) {
        if self.arrivals.is_empty() {
            return;
        }
        self.subscriber.metrics.received.add(self.arrivals.len() as u64);
        if self.is_holding() {
            self.held.append(&mut self.arrivals);
            self.n_held_bytes += n_bytes;
        } else {
            self.push();
        }
    }

    fn push(&mut self) {
        for delivered in &mut self.arrivals {
            if let Arrival::Message(message) = &mut delivered.arrival {
                self.shown.follow(message);
            }
        }
        self.subscriber.inbox.push(&mut self.arrivals);
    }

    /// Takes a packet in and says how many bytes the message in it has.
    fn take(&mut self, packet: Received) -> Result<usize, LinkError> {
        let (arrival, ack, is_retained) = match packet {
            Received::Message(message) => {
                let (ack, is_retained) = (message.ack, message.is_retained);
                (Arrival::Message(message), ack, is_retained)
            }
            Received::TooLarge { topic, ack, is_retained, n_bytes } => {
                (Arrival::TooLarge { topic, n_bytes }, ack, is_retained)
            }
            other => return self.take_answer(other).map(|()| 0),
        };
        self.quiet_since = Instant::now();
        // What the broker has kept may come before the answer, and take its time.
        self.subscribing_until = self.subscribing_until.map(|_| self.answer_due());
        // 3.1.1 cannot be told to leave them out, and the snapshot shows them.
        if is_retained {
            self.acks.extend(ack);
            return Ok(0);
        }
        let n_bytes = arrival.n_bytes();
        self.arrivals.push(Delivered { arrival, ack });
        Ok(n_bytes)
    }

    fn take_answer(&mut self, packet: Received) -> Result<(), LinkError> {
        match packet {
            Received::PubRel { id } => self.link.send(&Sent::PubComp(id)),
            Received::SubAck { refusals } => self.subscribed(refusals)?,
            Received::Disconnect(goodbye) => return Err(LinkError::Goodbye(goodbye)),
            _ => {}
        }
        Ok(())
    }

    fn subscribed(&mut self, refusals: Vec<Option<String>>) -> Result<(), LinkError> {
        LinkError::of_refusals(&self.subscriber.filters, refusals)?;
        let Subscriber { broker, inbox, .. } = &*self.subscriber;
        let session_present = self.link.terms.session_present;
        info!(broker = broker.address(), session_present, "subscriber connected");
        inbox.well();
        self.subscribing_until = None;
        self.subscribed_at = Instant::now();
        self.quiet_since = self.subscribed_at;
        if self.snapshot.is_none() {
            self.caught_up();
        }
        Ok(())
    }

    fn take_snapshot(&mut self) -> Result<(), LinkError> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(()) };
        let Subscriber { inbox, metrics, .. } = &*self.subscriber;
        snapshot.take_in(inbox, &mut self.shown, metrics)
    }

    /// Until when there is nothing to do if nothing comes.
    fn due(&self) -> Instant {
        let mut due = self.link.beat_at();
        due = self.subscribing_until.map_or(due, |until| due.min(until));
        if let Some(snapshot) = &self.snapshot {
            due = due.min(snapshot.due());
            if !snapshot.has_begun() && self.subscribing_until.is_none() {
                due = due.min(self.snapshot_at());
            }
        }
        due
    }

    /// When to look at what is retained: after what the broker had kept for this session, or sends unasked.
    fn snapshot_at(&self) -> Instant {
        let Subscriber { retained_quiet, broker, .. } = &*self.subscriber;
        match self.link.terms.session_present || broker.protocol == Protocol::V4 {
            true => {
                (self.quiet_since + *retained_quiet).min(self.subscribed_at + *retained_quiet * MOST_LULLS)
            }
            false => self.subscribed_at,
        }
    }

    async fn look_at_the_clock(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        if self.subscribing_until.is_some_and(|until| until <= now) {
            let after = self.subscriber.broker.answer_timeout;
            return Err(LinkError::Silent { what: "a subscription", after });
        }
        let may_begin = self.subscribing_until.is_none() && self.snapshot_at() <= now;
        let is_over = match &mut self.snapshot {
            Some(snapshot) => {
                if may_begin {
                    snapshot.begin();
                }
                snapshot.is_over()?
            }
            None => {
                if self.quiet_since + self.subscriber.retained_quiet <= now {
                    self.shown.forget();
                }
                false
            }
        };
        if let Some(snapshot) = self.snapshot.take_if(|_| is_over) {
            self.caught_up();
            self.arrivals.append(&mut self.held);
            self.n_held_bytes = 0;
            self.push();
            let _ = timeout(FAREWELL, snapshot.close()).await;
        }
        Ok(())
    }

    fn caught_up(&mut self) {
        if !self.subscriber.has_caught_up {
            self.subscriber.has_caught_up = true;
            self.subscriber.inbox.caught_up();
        }
    }

    /// Says goodbye on both connections.
    pub(super) async fn close(self) {
        if let Some(snapshot) = self.snapshot {
            snapshot.close().await;
        }
        self.link.close().await;
    }
}

async fn exchange(snapshot: &mut Option<Snapshot>, reads: bool) -> Result<(), LinkError> {
    match snapshot {
        Some(snapshot) => snapshot.exchange(reads).await,
        None => std::future::pending().await,
    }
}

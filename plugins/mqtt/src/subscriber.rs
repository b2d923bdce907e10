//! The task behind a source: keeps a connection, subscribes anew on each, takes messages in and acknowledges them.
//!
//! Invariant: a message is acknowledged only when the inbox says so. The client id and the session at the broker stay the
//! same over every connection and restart, so that what was not acknowledged comes again.

use crate::{
    config::{Broker, SourceSettings},
    desk::Attempts,
    inbox::{Arrival, Delivered, Inbox},
    link::{Link, LinkError},
    metrics::SourceMetrics,
    packet::{Ack, Connect, Received, Sent},
    tls::TlsFiles,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    select,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

/// How many messages are put into the inbox at a time, at most.
const MOST_AT_ONCE: usize = 256;

/// How many bytes of them; one message may go beyond.
const MOST_BYTES_AT_ONCE: usize = 1 << 20;

/// How long goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The one packet of this task that needs an id.
const SUBSCRIBE_ID: u16 = 1;

/// What the task works with.
pub(crate) struct Subscriber {
    pub(crate) broker: Broker,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) client_id: String,
    pub(crate) filters: Vec<String>,
    pub(crate) reads_retained: bool,
    pub(crate) retained_quiet: Duration,
    pub(crate) session_expiry: Duration,
    pub(crate) receive_maximum: u16,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) metrics: Arc<SourceMetrics>,
    pub(crate) has_caught_up: bool,
}

impl Subscriber {
    pub(crate) fn new(
        settings: SourceSettings,
        tls: Option<TlsFiles>,
        client_id: String,
        inbox: Arc<Inbox>,
        metrics: Arc<SourceMetrics>,
    ) -> Self {
        Self {
            broker: settings.broker,
            tls,
            client_id,
            filters: settings.filters,
            reads_retained: settings.reads_retained,
            retained_quiet: settings.retained_quiet,
            session_expiry: settings.session_expiry,
            receive_maximum: settings.receive_maximum,
            inbox,
            metrics,
            has_caught_up: false,
        }
    }

    /// Runs until the inbox is stopped.
    pub(crate) async fn run(mut self) {
        let mut attempts = Attempts::new();
        while !self.inbox.is_stopping() {
            attempts.begin();
            match self.connect_and_receive().await {
                Ok(()) => break,
                Err(error) => self.inbox.lost(&self.broker, error, &mut attempts).await,
            }
        }
        self.inbox.end();
    }

    async fn connect_and_receive(&mut self) -> Result<(), LinkError> {
        let connect = self.introduction();
        let link = select! {
            link = Link::connect(&self.broker, self.tls.as_ref(), &connect) => link?,
            () = self.inbox.stopping() => return Ok(()),
        };
        self.metrics.connections.add(1);
        self.inbox.begin_again();
        let now = Instant::now();
        let mut session = Session {
            subscriber: self,
            link,
            subscribing_until: None,
            quiet_since: now,
            acks: Vec::new(),
            arrivals: Vec::new(),
        };
        session.subscribe();
        match session.receive_all().await {
            Ok(()) => {
                let _ = timeout(FAREWELL, session.link.close()).await;
                debug!("subscriber disconnected");
                Ok(())
            }
            Err(error) => {
                warn!(%error, "subscriber lost its connection");
                Err(error)
            }
        }
    }

    fn introduction(&self) -> Connect {
        Connect {
            client_id: self.client_id.clone(),
            keepalive_secs: self.broker.keepalive_secs(),
            login: self.broker.login(),
            is_clean: false,
            session_expiry_secs: u32::try_from(self.session_expiry.as_secs()).unwrap_or(u32::MAX),
            receive_maximum: self.receive_maximum,
            will: None,
        }
    }
}

/// One connection.
struct Session<'a> {
    subscriber: &'a mut Subscriber,
    link: Link,
    /// Until when the broker has to answer the subscription; `None` once it has.
    subscribing_until: Option<Instant>,
    /// Since when no retained message has come, and none could have been held back.
    quiet_since: Instant,
    acks: Vec<Ack>,
    arrivals: Vec<Delivered>,
}

impl Session<'_> {
    fn subscribe(&mut self) {
        let Subscriber { filters, broker, reads_retained, .. } = &*self.subscriber;
        let (quality, reads_retained) = (broker.qos, *reads_retained);
        self.link.send(&Sent::Subscribe { id: SUBSCRIBE_ID, filters, quality, reads_retained });
        self.subscribing_until = Some(self.answer_due());
    }

    fn answer_due(&self) -> Instant {
        Instant::now() + self.subscriber.broker.answer_timeout
    }

    /// Receives until the inbox is stopped.
    async fn receive_all(&mut self) -> Result<(), LinkError> {
        loop {
            let holds_retained = self.acknowledge();
            self.take_in()?;
            let reads = self.subscriber.inbox.has_room();
            if holds_retained || !reads {
                self.quiet_since = Instant::now();
            }
            if !reads {
                // The answer may be among what is not read.
                self.subscribing_until = self.subscribing_until.map(|_| self.answer_due());
            }
            let until = [self.subscribing_until, self.quiet_at()].into_iter().flatten();
            let until = until.fold(self.link.beat_at(), Instant::min);
            select! {
                moved = self.link.exchange(reads) => moved?,
                () = self.subscriber.inbox.work() => {}
                () = sleep_until(until) => {}
            }
            self.link.beat()?;
            self.look_at_the_clock()?;
            if self.subscriber.inbox.is_stopping() {
                self.acknowledge();
                return Ok(());
            }
        }
    }

    /// Sends what may be acknowledged; says whether retained messages wait to be.
    fn acknowledge(&mut self) -> bool {
        let holds_retained = self.subscriber.inbox.take_due(&mut self.acks);
        for ack in self.acks.drain(..) {
            self.link.send(&match ack {
                Ack::AtLeastOnce(id) => Sent::PubAck(id),
                Ack::ExactlyOnce(id) => Sent::PubRec(id),
            });
        }
        holds_retained
    }

    /// Puts into the inbox what has come, while there is room.
    fn take_in(&mut self) -> Result<(), LinkError> {
        while self.subscriber.inbox.has_room() {
            let mut n_bytes = 0;
            while self.arrivals.len() < MOST_AT_ONCE && n_bytes < MOST_BYTES_AT_ONCE {
                let Some(packet) = self.link.next()? else {
                    self.hand_over();
                    return Ok(());
                };
                n_bytes += self.take(packet)?;
            }
            self.hand_over();
        }
        Ok(())
    }

    fn hand_over(&mut self) {
        if !self.arrivals.is_empty() {
            self.subscriber.metrics.received.add(self.arrivals.len() as u64);
            self.subscriber.inbox.push(&mut self.arrivals);
        }
    }

    /// Takes a packet in and says how many bytes the message in it has.
    fn take(&mut self, packet: Received) -> Result<usize, LinkError> {
        match packet {
            Received::Message(message) => {
                let (ack, is_retained, n_bytes) = (message.ack, message.is_retained, message.n_bytes());
                if is_retained {
                    self.quiet_since = Instant::now();
                }
                // What the broker has kept may come before the answer, and take its time.
                self.subscribing_until = self.subscribing_until.map(|_| self.answer_due());
                // 3.1.1 cannot be told to leave them out.
                if is_retained && !self.subscriber.reads_retained {
                    self.acks.extend(ack);
                    return Ok(0);
                }
                self.arrivals.push(Delivered { arrival: Arrival::Message(message), ack, is_retained });
                return Ok(n_bytes);
            }
            Received::TooLarge { topic, ack, n_bytes } => {
                let arrival = Arrival::TooLarge { topic, n_bytes };
                self.arrivals.push(Delivered { arrival, ack, is_retained: false });
            }
            Received::PubRel { id } => self.link.send(&Sent::PubComp(id)),
            Received::SubAck { refusals } => self.subscribed(refusals)?,
            Received::Disconnect(goodbye) => return Err(LinkError::Goodbye(goodbye)),
            _ => {}
        }
        Ok(0)
    }

    fn subscribed(&mut self, refusals: Vec<Option<String>>) -> Result<(), LinkError> {
        let refused = self.subscriber.filters.iter().zip(refusals);
        if let Some((filter, reason)) = refused.filter_map(|(filter, why)| Some((filter, why?))).next() {
            return Err(LinkError::NotSubscribed { filter: filter.clone(), reason });
        }
        let Subscriber { broker, inbox, .. } = &*self.subscriber;
        let session_present = self.link.terms.session_present;
        info!(broker = broker.address(), session_present, "subscriber connected");
        inbox.well();
        self.subscribing_until = None;
        self.quiet_since = Instant::now();
        Ok(())
    }

    /// When everything that was retained will have come, if nothing of it comes until then.
    fn quiet_at(&self) -> Option<Instant> {
        let Subscriber { has_caught_up, reads_retained, retained_quiet, .. } = *self.subscriber;
        let quiet = if reads_retained { retained_quiet } else { Duration::ZERO };
        (!has_caught_up && self.subscribing_until.is_none()).then(|| self.quiet_since + quiet)
    }

    fn look_at_the_clock(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        if self.subscribing_until.is_some_and(|until| until <= now) {
            let after = self.subscriber.broker.answer_timeout;
            return Err(LinkError::Silent { what: "a subscription", after });
        }
        if self.quiet_at().is_some_and(|at| at <= now) {
            self.subscriber.has_caught_up = true;
            self.subscriber.inbox.caught_up();
        }
        Ok(())
    }
}

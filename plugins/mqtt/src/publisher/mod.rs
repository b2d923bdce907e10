//! The task behind a sink: keeps a connection, publishes what is in the outbox, and says what the broker made of it.
//!
//! Invariant: records are published in their order, on every connection again from the oldest that is unanswered. The
//! client id stays the same, so a broker that accepts a connection has given up the one before, with what was left in it.

mod session;

use crate::{
    composer::Composer,
    config::Broker,
    desk::Attempts,
    link::{Link, LinkError},
    metrics::SinkMetrics,
    outbox::Outbox,
    packet::{Connect, Publish, Quality},
    suspicion::Suspicion,
    tls::TlsFiles,
};
use session::Session;
use std::{sync::Arc, time::Duration};
use tokio::select;
use tracing::{info, warn};

/// What a client says of itself at its status topic.
const ONLINE: &str = "online";
const OFFLINE: &str = "offline";

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
    /// How often to say `online`; `None` says nothing, because nobody wants it or the broker does not take it.
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) suspicion: Suspicion,
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
        info!(broker = self.broker.address(), "publisher connected");
        self.metrics.connections.add(1);
        self.outbox.begin_again();
        self.outbox.well();
        let mut session = Session::new(self, link);
        match session.publish_all().await {
            Ok(()) => session.farewell().await,
            Err(error) => {
                warn!(%error, unanswered = session.n_unanswered(), "publisher lost its connection");
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

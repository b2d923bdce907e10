//! The task behind a source: keeps a connection, subscribes anew on each, takes messages in and acknowledges them.
//!
//! Invariant: a message is acknowledged only when the inbox says so. The client id and the session at the broker stay the
//! same over every connection and restart, so that what was not acknowledged comes again. What the broker retains is read
//! on a connection of its own, because brokers drop what does not fit into the queue of a client.

mod session;
mod shown;
mod snapshot;

use crate::{
    config::{Broker, SourceSettings},
    desk::Attempts,
    filter::is_shared,
    inbox::Inbox,
    link::{Link, LinkError},
    metrics::SourceMetrics,
    packet::Connect,
    tls::TlsFiles,
};
use session::Session;
use snapshot::Snapshot;
use std::{sync::Arc, time::Duration};
use tokio::{select, time::timeout};
use tracing::{debug, warn};

/// How many messages are put into the inbox at a time, at most.
const MOST_AT_ONCE: usize = 256;

/// How many bytes of them; one message may go beyond.
const MOST_BYTES_AT_ONCE: usize = 1 << 20;

/// How long goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The one packet of a connection that needs an id.
const SUBSCRIBE_ID: u16 = 1;

/// Who the two connections are for the broker.
pub(crate) struct Names {
    pub(crate) client_id: String,
    /// Of the connection that reads what is retained.
    pub(crate) snapshot_id: String,
}

/// What the task works with.
pub(crate) struct Subscriber {
    broker: Broker,
    tls: Option<TlsFiles>,
    names: Names,
    filters: Vec<String>,
    /// Those whose retained messages are read.
    retained_filters: Vec<String>,
    retained_quiet: Duration,
    session_expiry: Duration,
    receive_maximum: u16,
    inbox: Arc<Inbox>,
    metrics: Arc<SourceMetrics>,
    has_caught_up: bool,
}

impl Subscriber {
    pub(crate) fn new(
        settings: SourceSettings,
        tls: Option<TlsFiles>,
        names: Names,
        inbox: Arc<Inbox>,
        metrics: Arc<SourceMetrics>,
    ) -> Self {
        // Nothing retained is sent to a group, and a second member of it would be given messages of the first.
        let is_read = |filter: &&String| settings.reads_retained && !is_shared(filter);
        Self {
            retained_filters: settings.filters.iter().filter(is_read).cloned().collect(),
            broker: settings.broker,
            tls,
            names,
            filters: settings.filters,
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
        let (link, snapshot) = select! {
            links = self.connect() => links?,
            () = self.inbox.stopping() => return Ok(()),
        };
        self.metrics.connections.add(1);
        self.inbox.begin_again();
        let mut session = Session::new(self, link, snapshot);
        match session.receive_all().await {
            Ok(()) => {
                let _ = timeout(FAREWELL, session.close()).await;
                debug!("subscriber disconnected");
                Ok(())
            }
            Err(error) => {
                warn!(%error, "subscriber lost its connection");
                Err(error)
            }
        }
    }

    /// Both connections, before anything is asked of either: one without the other is of no use.
    async fn connect(&self) -> Result<(Link, Option<Snapshot>), LinkError> {
        let link = Link::connect(&self.broker, self.tls.as_ref(), &self.introduction()).await?;
        let snapshot = if self.retained_filters.is_empty() { None } else { Some(self.snapshot().await?) };
        Ok((link, snapshot))
    }

    fn introduction(&self) -> Connect {
        Connect {
            client_id: self.names.client_id.clone(),
            keepalive_secs: self.broker.keepalive_secs(),
            login: self.broker.login(),
            is_clean: false,
            session_expiry_secs: u32::try_from(self.session_expiry.as_secs()).unwrap_or(u32::MAX),
            receive_maximum: self.receive_maximum,
            will: None,
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, LinkError> {
        let connect = Connect {
            client_id: self.names.snapshot_id.clone(),
            is_clean: true,
            session_expiry_secs: 0,
            ..self.introduction()
        };
        let link = Link::connect(&self.broker, self.tls.as_ref(), &connect).await;
        let filters = self.retained_filters.clone();
        match link {
            Ok(link) => {
                Ok(Snapshot::new(link, connect.client_id, filters, &self.broker, self.retained_quiet))
            }
            Err(error) => Err(error.of_snapshot(&connect.client_id)),
        }
    }
}

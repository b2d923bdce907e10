//! What goes on beside the reading: finding the streams, and acknowledging what the host has stored.

use super::{
    lanes::Lanes,
    reader::{Common, Reader},
    scan,
    stream::{Identity, Stream},
};
use crate::{
    connection::{Away, Fault, Link, Placed},
    names::Names,
};
use futures_util::StreamExt;
use lockstep_plugin_api::{Context, backoff::Backoff};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tracing::{Instrument, debug, info, warn};

/// How many streams may wait for a reader that is busy.
const ADDED: usize = 1024;

/// How many channels may be told of while the keeper is busy; one that is not heard of is found by its stream.
const HINTS: usize = 1024;

/// How many entries one command acknowledges.
const ACKS: usize = 1000;

const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// The number under which the keeper says that it has lost the server.
const KEEPER: u32 = 0;

/// Which streams are read.
pub(super) enum Which {
    /// Those of these tenants.
    Tenants(Vec<Option<String>>),
    /// These, whatever they hold.
    Named(Vec<String>),
    /// Those of everybody there is, looked for this often.
    Everybody(Duration),
}

/// The state of the keeper's task.
pub(super) struct Keeper {
    common: Arc<Common>,
    context: Context,
    lanes: Lanes,
    known: BTreeSet<String>,
    /// One reader, or in a cluster one for each stream.
    readers: Vec<mpsc::Sender<Stream>>,
    /// Whether the streams that are found now were there at the start.
    is_start: bool,
    is_away: bool,
}

impl Keeper {
    pub(super) fn new(common: Arc<Common>, context: Context, lanes: Lanes) -> Self {
        let known = BTreeSet::new();
        Self { common, context, lanes, known, readers: Vec::new(), is_start: true, is_away: false }
    }

    /// Runs until the source ends.
    pub(super) async fn run(mut self, which: Which) {
        let (hints, mut hinted) = mpsc::channel(HINTS);
        let every = match which {
            Which::Tenants(tenants) => {
                for tenant in tenants {
                    self.add_tenant(tenant).await;
                }
                self.all_found();
                None
            }
            Which::Named(streams) => {
                for stream in streams {
                    self.add(stream, None).await;
                }
                self.all_found();
                None
            }
            Which::Everybody(every) => {
                // What is without a tenant is always there, so a pattern is never without a match.
                self.add_tenant(None).await;
                self.context.spawn(listen(self.common.clone(), hints).instrument(self.common.span.clone()));
                Some(every)
            }
        };
        let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX);
        while !self.common.inbox.is_closed() {
            let away = match self.common.server.connect(&format!("{}:keep", self.common.client_name)).await {
                Ok(mut link) => {
                    let connected = Instant::now();
                    let Err(away) = self.keep(&mut link, every, &mut hinted).await else { return };
                    // As a reader does.
                    if connected.elapsed() > RECONNECT_MAX {
                        backoff.reset();
                    }
                    away
                }
                Err(away) => away,
            };
            self.is_away = true;
            self.common.inbox.set_away(KEEPER, Some(away));
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn keep(
        &mut self,
        link: &mut Link,
        every: Option<Duration>,
        hinted: &mut mpsc::Receiver<Option<String>>,
    ) -> Result<(), Away> {
        if every.is_some() {
            self.discover(link).await?;
        }
        if std::mem::take(&mut self.is_away) {
            self.common.inbox.set_away(KEEPER, None);
        }
        let mut interval = tokio::time::interval(every.unwrap_or(Duration::from_secs(3600)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.tick().await;
        while !self.common.inbox.is_closed() {
            self.acknowledge(link).await?;
            tokio::select! {
                () = self.common.handed.changed() => {}
                () = self.common.inbox.closed() => {}
                Some(tenant) = hinted.recv() => self.add_tenant(tenant).await,
                _ = interval.tick(), if every.is_some() => self.discover(link).await?,
            }
        }
        self.acknowledge(link).await
    }

    /// Acknowledges what the host has stored. What is lost with the connection stays with the group, and is found by its
    /// place at the next start.
    async fn acknowledge(&self, link: &mut Link) -> Result<(), Away> {
        let done = self.common.handed.take_done();
        let acks: Vec<Placed<'_>> = done
            .iter()
            .flat_map(|(stream, ids)| ids.chunks(ACKS).map(move |ids| (stream, ids)))
            .map(|(stream, ids)| Placed {
                command: self.common.group.acknowledge(&stream.name, ids),
                at: &stream.name,
            })
            .collect();
        if acks.is_empty() {
            return Ok(());
        }
        for answer in link.send(acks).await? {
            if let Err(refusal) = answer {
                warn!(error = %refusal, "Redis refuses an acknowledgement");
            }
        }
        Ok(())
    }

    /// Looks for streams, and through the log for caches, whose tenants are not known yet.
    async fn discover(&mut self, link: &mut Link) -> Result<(), Away> {
        let names = self.common.names.clone();
        let mut found = self.scan(link, &names.streams(), "stream", Names::tenant_of_stream).await?;
        if self.common.through_log && self.is_start {
            found.extend(self.scan(link, &names.caches(), "hash", Names::tenant_of_cache).await?);
        }
        for tenant in found {
            self.add_tenant(tenant).await;
        }
        self.all_found();
        Ok(())
    }

    async fn scan(
        &self,
        link: &mut Link,
        pattern: &str,
        kind: &str,
        whose: fn(&Names, &[u8]) -> Option<Option<String>>,
    ) -> Result<BTreeSet<Option<String>>, Away> {
        match scan::names(link, pattern, kind).await {
            Ok(names) => Ok(names.iter().filter_map(|name| whose(&self.common.names, name)).collect()),
            Err(Fault::Away(away)) => Err(away),
            Err(Fault::Refused(refusal)) => {
                let why = format!(
                    "the server does not let its names be gone through ({refusal}); name the `tenants`"
                );
                Err(Away(why))
            }
        }
    }

    async fn add_tenant(&mut self, tenant: Option<String>) {
        let stream = self.common.names.stream(tenant.as_deref());
        self.add(stream, tenant).await;
    }

    /// Gives a stream to a reader, once.
    async fn add(&mut self, name: String, tenant: Option<String>) {
        if !self.known.insert(name.clone()) {
            return;
        }
        debug!(stream = name, "reading a stream");
        self.common.metrics.streams.set(self.known.len() as i64);
        let (lane, last) = self.lanes.of(&name);
        if self.is_start {
            self.common.catch_up.one_more();
        }
        let stream = Stream::new(Identity { name, tenant, lane }, last, self.is_start);
        if self.readers.is_empty() || self.common.server.is_cluster() {
            let (sender, added) = mpsc::channel(ADDED);
            let reader = Reader::new(self.readers.len() as u32 + 1, self.common.clone(), added);
            self.readers.push(sender);
            self.context.spawn(reader.run().instrument(self.common.span.clone()));
        }
        let reader = self.readers.last().expect("one was made");
        // A reader ends only with the source.
        let _ = reader.send(stream).await;
    }

    /// Whatever was there at the start is known.
    fn all_found(&mut self) {
        if std::mem::take(&mut self.is_start) {
            self.common.catch_up.one_less(&self.common.inbox);
        }
    }
}

/// Listens to the channels for tenants that are not known yet. What is told there is only a hint: if listening is not
/// allowed or not possible, their streams are found a little later.
async fn listen(common: Arc<Common>, hints: mpsc::Sender<Option<String>>) {
    let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX);
    let mut is_told = false;
    while !common.inbox.is_closed() {
        match common.server.subscribe(&common.names.channels()).await {
            Ok(mut channels) => {
                backoff.reset();
                let mut messages = channels.on_message();
                loop {
                    let message = tokio::select! {
                        message = messages.next() => message,
                        () = common.inbox.closed() => return,
                    };
                    let Some(message) = message else { break };
                    let tenant = common.names.tenant_of_channel(message.get_channel_name().as_bytes());
                    if let Some(tenant) = tenant {
                        // A full queue loses a hint and nothing else.
                        let _ = hints.try_send(tenant);
                    }
                }
            }
            Err(away) if !std::mem::replace(&mut is_told, true) => {
                info!(error = %away, "cannot listen to the channels, new tenants are found by looking for their streams");
            }
            Err(_) => {}
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

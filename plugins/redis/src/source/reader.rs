//! A connection that reads streams, blocking on the server, so that an entry is here as soon as it is there.
//!
//! One reader reads every stream; only in a cluster, where streams lie on different nodes, each has its own.

use super::{CatchUp, group::Group, handed::Handed, inbox::Inbox, portion::Portion, stream::Stream};
use crate::{
    connection::{Away, Fault, Link, Placed, Refusal, Server},
    metrics::SourceMetrics,
    names::Names,
};
use lockstep_plugin_api::backoff::Backoff;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tracing::{Span, error, info, warn};

/// How long a read waits on the server: a stream that is added meanwhile waits as long.
const BLOCK: Duration = Duration::from_millis(250);

const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// What the tasks of a source share.
pub(super) struct Common {
    pub(super) server: Server,
    pub(super) client_name: String,
    pub(super) names: Names,
    pub(super) group: Group,
    pub(super) through_log: bool,
    pub(super) inbox: Arc<Inbox>,
    pub(super) handed: Arc<Handed>,
    pub(super) catch_up: CatchUp,
    /// How often a stream that the server refuses is tried again.
    pub(super) try_again: Duration,
    pub(super) metrics: SourceMetrics,
    /// Marks the lines of every task.
    pub(super) span: Span,
}

/// The state of a reader's task.
pub(super) struct Reader {
    number: u32,
    common: Arc<Common>,
    added: mpsc::Receiver<Stream>,
    streams: Vec<Stream>,
    portion: Portion,
    is_away: bool,
    next_claim: Instant,
    /// When what the server refused is tried again.
    next_try: Instant,
}

impl Reader {
    pub(super) fn new(number: u32, common: Arc<Common>, added: mpsc::Receiver<Stream>) -> Self {
        let (next_claim, next_try) = (Instant::now(), Instant::now());
        Self {
            number,
            common,
            added,
            streams: Vec::new(),
            portion: Portion::default(),
            is_away: false,
            next_claim,
            next_try,
        }
    }

    /// Runs until the source ends.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(RECONNECT_MIN, RECONNECT_MAX);
        while !self.common.inbox.is_closed() {
            if self.streams.is_empty() {
                let Some(stream) = self.added.recv().await else { return };
                self.streams.push(stream);
            }
            let name = format!("{}:read", self.common.client_name);
            let away = match self.common.server.connect_for(&name, BLOCK).await {
                Ok(mut link) => {
                    let connected = Instant::now();
                    let Err(away) = self.read_all(&mut link).await else { return };
                    // A connection that is of no use is not made without a pause.
                    if connected.elapsed() > RECONNECT_MAX {
                        backoff.reset();
                    }
                    away
                }
                Err(away) => away,
            };
            if !std::mem::replace(&mut self.is_away, true) {
                warn!(error = %away, "lost Redis, reconnecting");
            }
            self.common.inbox.set_away(self.number, Some(away));
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Reads until the source ends or the connection does.
    async fn read_all(&mut self, link: &mut Link) -> Result<(), Away> {
        self.open_all(link).await?;
        if std::mem::take(&mut self.is_away) {
            info!("connected to Redis again");
        }
        self.common.inbox.set_away(self.number, None);
        while !self.common.inbox.is_closed() {
            while let Ok(stream) = self.added.try_recv() {
                self.streams.push(stream);
                self.open(link, self.streams.len() - 1).await?;
            }
            self.common.inbox.room().await;
            self.read_once(link).await?;
            if self.next_try <= Instant::now() {
                self.try_refused(link).await?;
            }
            if self.common.group.is_shared && self.next_claim <= Instant::now() {
                self.claim(link).await?;
            }
        }
        Ok(())
    }

    async fn open_all(&mut self, link: &mut Link) -> Result<(), Away> {
        self.next_try = Instant::now() + self.common.try_again;
        let mut refused = None;
        for i in 0..self.streams.len() {
            refused = self.open(link, i).await?.or(refused);
        }
        match refused {
            Some(refusal) if self.streams.iter().all(|stream| stream.is_refused) => {
                Err(self.refused(&refusal))
            }
            _ => Ok(()),
        }
    }

    /// An access list may have become another one.
    async fn try_refused(&mut self, link: &mut Link) -> Result<(), Away> {
        self.next_try = Instant::now() + self.common.try_again;
        for i in 0..self.streams.len() {
            if self.streams[i].is_refused && self.open(link, i).await?.is_none() {
                info!(stream = self.streams[i].identity.name, "Redis lets a stream be read again");
            }
        }
        Ok(())
    }

    /// Opens a stream. One that the server refuses is left out and tried again later, and the others are read.
    async fn open(&mut self, link: &mut Link, i: usize) -> Result<Option<Refusal>, Away> {
        let stream = &mut self.streams[i];
        let opened = stream.open(link, &self.common).await;
        let is_refused = matches!(opened, Err(Fault::Refused(_)));
        let is_news = !std::mem::replace(&mut stream.is_refused, is_refused);
        match opened {
            Ok(()) => Ok(None),
            Err(Fault::Away(away)) => Err(away),
            Err(Fault::Refused(refusal)) => {
                if is_news && !self.is_away {
                    error!(stream = stream.identity.name, error = %refusal, "Redis refuses the reading of a stream");
                }
                stream.give_up(&self.common);
                Ok(Some(refusal))
            }
        }
    }

    fn refused(&self, refusal: &Refusal) -> Away {
        Away(format!("{} refuses the reading of streams: {refusal}", self.common.server.address()))
    }

    async fn read_once(&mut self, link: &mut Link) -> Result<(), Away> {
        let open = self.streams.iter().filter(|stream| !stream.is_refused);
        let names: Vec<&str> = open.map(|stream| stream.identity.name.as_str()).collect();
        let asked_for = (self.portion.count() / names.len().max(1)).max(1);
        let mut taken = match self.common.group.take_new(link, &names, asked_for, BLOCK).await {
            Ok(taken) => taken,
            Err(Fault::Away(away)) => return Err(away),
            // A stream or its group was deleted, as FLUSHALL does.
            Err(Fault::Refused(refusal)) if matches!(refusal.code.as_str(), "NOGROUP" | "UNBLOCKED") => {
                return self.open_all(link).await;
            }
            Err(Fault::Refused(refusal)) => return Err(self.refused(&refusal)),
        };
        for i in 0..self.streams.len() {
            let stream = &mut self.streams[i];
            if stream.is_refused {
                continue;
            }
            let of_stream = |(name, _): &(Vec<u8>, _)| name == stream.identity.name.as_bytes();
            let entries =
                taken.iter().position(of_stream).map(|at| taken.swap_remove(at).1).unwrap_or_default();
            self.portion.came(&entries);
            match stream.take_in(entries, asked_for, link, &self.common).await {
                Ok(()) => {}
                Err(Fault::Away(away)) => return Err(away),
                Err(Fault::Refused(refusal)) => return Err(self.refused(&refusal)),
            }
        }
        Ok(())
    }

    /// Keeps what is on its way here, and takes over what others left.
    async fn claim(&mut self, link: &mut Link) -> Result<(), Away> {
        let common = self.common.clone();
        self.next_claim = Instant::now() + common.group.claim_idle / 3;
        for stream in self.streams.iter_mut().filter(|stream| !stream.is_refused) {
            let ids: Vec<_> = common.handed.on_their_way(&stream.identity).into_iter().collect();
            let keep = |ids: &[_]| Placed {
                command: common.group.keep(&stream.identity.name, ids),
                at: &stream.identity.name,
            };
            link.send(ids.chunks(1000).map(keep).collect()).await?;
            match stream.claim(link, &common).await {
                Ok(()) => {}
                Err(Fault::Away(away)) => return Err(away),
                Err(Fault::Refused(refusal)) => {
                    return Err(Away(format!(
                        "{} refuses to give over what others left: {refusal}",
                        common.server.address()
                    )));
                }
            }
        }
        Ok(())
    }
}

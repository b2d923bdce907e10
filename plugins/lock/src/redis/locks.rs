//! What is asked of the locks in Redis: first the server decides, then the host writes it down, then the caller hears it.
//!
//! Invariant: nothing here is done about one lock at the same time as something else of this host about it.

use super::{
    answers::{By, Forced, Kept},
    channel::Announcer,
    connection::Fault,
    registry::Registry,
    remote::{Remote, deadline},
    text::{AnyText, Row, middle},
    turns::Turns,
    waiting::Waiting,
};
use crate::{
    clock::Now,
    event::{Event, What},
    lease::{Lease, Shown},
    name::LockName,
    refusal::Refusal,
    request::{Answer, Request},
};
use lockstep_plugin_api::prelude::*;
use std::{panic::resume_unwind, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tracing::{debug, warn};
use uuid::Uuid;

/// Every lock in Redis, as this host sees it.
pub struct Locks {
    pub remote: Remote,
    pub registry: Registry,
    pub waiting: Waiting,
    pub turns: Turns,
    pub announcer: Announcer,
    /// Ends with the pipeline.
    pub stopped: watch::Receiver<()>,
}

impl Locks {
    /// Asks, and waits for what is committed.
    ///
    /// # Errors
    /// What the request is refused with.
    pub async fn ask(self: &Arc<Self>, request: Request) -> Result<Answer> {
        let answer = match request {
            Request::Acquire { name, ask, wait } => self.acquire(&name, &ask, wait).await,
            Request::Extend { name, session, token, ttl } => self.extend(&name, &session, token, ttl).await,
            Request::Release { name, session, token, request_id } => {
                self.release(&name, &session, token, request_id).await
            }
            Request::ForceRelease { name, admin, reason, expected_token } => {
                self.force_release(&name, admin, reason, expected_token).await
            }
            Request::SessionClosed { session } => self.close(&session).await,
            Request::Info { name } => self.info(&name).await,
            Request::List { of } => self.list(&of).await,
        };
        answer.map_err(|refusal| refusal.to_error())
    }

    async fn extend(
        self: &Arc<Self>,
        name: &LockName,
        session: &str,
        token: u64,
        ttl: Option<Duration>,
    ) -> Result<Answer, Refusal> {
        let (until, _turn) = self.turn(name).await?;
        if self.registry.see(|known| known.is_over(name, token)) {
            return Err(Refusal::NotHeld);
        }
        let ttl = match ttl.or_else(|| self.own(name, session, token).map(|lease| lease.ttl())) {
            Some(ttl) => ttl,
            None => self.ttl_at_the_server(name, token).await?,
        };
        let asked = self.registry.clock.now();
        let middle = middle(ttl, &self.registry.rules, asked);
        match self.remote.extend(name, (session, token), ttl, &middle, until).await {
            Ok(Kept::Held(row)) => {
                let lease = Arc::new(self.read(&row, asked)?);
                self.registry.change(|known| known.update(name, &lease));
                Ok(Answer::Lease(Box::new(self.shown(name, &lease))))
            }
            Ok(Kept::Ended(row)) => {
                let lease = Arc::new(self.read(&row, asked)?);
                self.end(name, lease, What::Lost, None).await?;
                Err(Refusal::NotHeld)
            }
            Ok(kept) => {
                self.lose(name, session, token, &kept).await?;
                Err(Refusal::NotHeld)
            }
            Err(fault) => {
                self.registry.change(|known| known.unanswered(name, token));
                Err(refusal(&fault))
            }
        }
    }

    /// The lease of this session and token, if it was granted here.
    pub(super) fn own(&self, name: &LockName, session: &str, token: u64) -> Option<Arc<Lease>> {
        self.registry.lease(name).filter(|lease| lease.session == session && lease.token == token)
    }

    async fn ttl_at_the_server(&self, name: &LockName, token: u64) -> Result<Duration, Refusal> {
        let found = self.remote.info(name).await.map_err(|fault| refusal(&fault))?;
        let row = found.filter(|found| found.text.token() == Some(token)).and_then(|found| found.row);
        row.map(|row| Duration::from_millis(row.ttl_ms)).ok_or(Refusal::NotHeld)
    }

    /// The server has no such lease: if it was granted here, somebody took it, or the server forgot it.
    pub(super) async fn lose(
        self: &Arc<Self>,
        name: &LockName,
        session: &str,
        token: u64,
        kept: &Kept,
    ) -> Result<(), Refusal> {
        match self.own(name, session, token) {
            Some(lease) if matches!(kept, Kept::No { is_told: true }) => {
                self.end_elsewhere(name, lease).await;
                Ok(())
            }
            Some(lease) => self.end(name, lease, What::Lost, None).await,
            None => Ok(()),
        }
    }

    /// Takes out a lease whose end is told by another host, in whose audit it is. Subscribers hear of it now, if they have
    /// not: what that host says may have been missed.
    pub(super) async fn end_elsewhere(self: &Arc<Self>, name: &LockName, lease: Arc<Lease>) {
        let event = Event { name: name.clone(), lease, what: What::Expired };
        let (locks, heard) = (self.clone(), (event, self.announcer.node().to_owned()));
        if let Err(error) = blocking(move || locks.registry.hear(&[heard])).await {
            debug!(%error, "what other hosts did cannot be committed");
        }
    }

    async fn force_release(
        self: &Arc<Self>,
        name: &LockName,
        admin: String,
        reason: String,
        expected: Option<u64>,
    ) -> Result<Answer, Refusal> {
        let (until, _turn) = self.turn(name).await?;
        let what = What::Forced { admin, reason };
        let (asked, floor) = (self.registry.clock.now(), self.floor(name).await?);
        let (request, message) = (format!("f:{}", Uuid::new_v4()), self.announcer.message(&what));
        let forced = self.remote.force_release(name, expected, floor, &request, &message, until).await;
        match forced.map_err(|fault| refusal(&fault))? {
            Forced::Lease { lease: row, token } => {
                let lease = Arc::new(self.read(&row, asked)?);
                self.end_told(name, lease.clone(), what, Some(token)).await?;
                Ok(Answer::Lease(Box::new(self.shown(name, &lease))))
            }
            Forced::Foreign { text, token } => {
                self.end_told(name, Arc::new(text.to_lease()), what, Some(token)).await?;
                Ok(Answer::Info(Some(Shown::Foreign(text.into_shown(
                    &self.remote.names().lock(name),
                    &name.rest(),
                    None,
                )))))
            }
            Forced::Stale => Err(Refusal::StaleFence),
            Forced::No => Err(Refusal::NotFound),
        }
    }

    /// Waits for a turn at a lock; until when the server is asked in it. Whoever is before may wait for a server that is
    /// away, and nobody waits for that longer than for the server itself.
    pub async fn turn(&self, name: &LockName) -> Result<(Instant, OwnedMutexGuard<()>), Refusal> {
        let until = deadline();
        match timeout_at(until, self.turns.take(name)).await {
            Ok(turn) => Ok((until, turn)),
            Err(_) => Err(Refusal::Away),
        }
    }

    /// The token that is registered here: what the server gives has to be greater. What this host remembers will do, for
    /// a grant that is not above what is registered by then is given back.
    pub async fn floor(self: &Arc<Self>, name: &LockName) -> Result<u64, Refusal> {
        if let Some(registered) = self.registry.see(|known| known.registered(name)) {
            return Ok(registered);
        }
        let (locks, name) = (self.clone(), name.clone());
        blocking(move || locks.registry.registered(&name)).await.map_err(|error| unavailable(&error))
    }

    /// A lease of the server's, which was asked at this instant.
    pub fn read(&self, row: &Row, asked: Now) -> Result<Lease, Refusal> {
        row.lease(&self.registry.rules, asked).map_err(|error| unavailable(&error))
    }

    /// Writes down that a lease ended, and tells the other hosts.
    pub async fn end(
        self: &Arc<Self>,
        name: &LockName,
        lease: Arc<Lease>,
        what: What,
        token: Option<u64>,
    ) -> Result<(), Refusal> {
        self.announcer.tell(self, name, &lease, &what);
        self.end_told(name, lease, what, token).await
    }

    /// The same, where the server has told the other hosts.
    pub(super) async fn end_told(
        self: &Arc<Self>,
        name: &LockName,
        lease: Arc<Lease>,
        what: What,
        token: Option<u64>,
    ) -> Result<(), Refusal> {
        let (locks, event) = (self.clone(), Event { name: name.clone(), lease, what });
        blocking(move || locks.registry.end(event, token)).await.map_err(|_| Refusal::Unavailable)
    }
}

/// Who keeps a lock from somebody.
pub fn locked(by: &By, asked: Now) -> Refusal {
    let of_text = |text: &AnyText, left: Option<Duration>| {
        (text.user_id(), left.map(|left| text.ends_at_us(asked, left)))
    };
    let (locked_by, expires_at_us) = match by {
        By::Lease(row) => {
            of_text(&AnyText::read(row.text.as_bytes()), Some(Duration::from_millis(row.left_ms)))
        }
        By::Foreign { text, left } => of_text(text, *left),
        By::Line { owner, left } => (owner.clone(), Some(asked.wall_us_at(asked.mono + *left))),
    };
    Refusal::Locked { locked_by, expires_at_us }
}

/// What a caller is told when the server did not do what it was asked for.
pub fn refusal(fault: &Fault) -> Refusal {
    match fault {
        Fault::Away(_) => Refusal::Away,
        Fault::Refused { code, .. } => {
            warn!(reason = %fault, "the server that keeps the locks refuses a request");
            Refusal::Denied(code.clone())
        }
        Fault::Malformed(name) => Refusal::Malformed { name: name.clone() },
    }
}

/// What a caller is told when the host could not write something down.
pub fn unavailable(error: &Error) -> Refusal {
    warn!(%error, "leases cannot be read or committed");
    Refusal::Unavailable
}

/// Does what waits for the disk on a thread that may wait.
pub async fn blocking<T: Send + 'static>(act: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match spawn_blocking(act).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => Err(Refusal::Unavailable.to_error()),
    }
}

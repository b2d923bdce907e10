//! How a lock is taken: by asking the server until it is granted or patience ends, and by registering the token before
//! anybody hears of it.

use super::{
    answers::{By, Taken},
    locks::{Locks, blocking, locked, refusal, unavailable},
    registry::Grant,
    remote::{Back, Take, deadline},
    text::{Parts, Row},
    waiting::Ticket,
};
use crate::{
    event::{What, log_refused},
    lease::Lease,
    meters::Tally,
    name::LockName,
    refusal::Refusal,
    request::{Answer, Ask},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// How often whoever waits looks by itself: a message that got lost only delays.
const LOOK: Duration = Duration::from_secs(1);

/// How long the server believes that somebody waits without hearing of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a grant is given back because this host has seen a greater token.
const MOST_STALE: usize = 8;

/// One try.
enum Try {
    Granted(Arc<Lease>),
    /// Refused; how long until it is worth another try, if nothing else is heard.
    Refused(Refusal, Duration),
}

impl Locks {
    pub(super) async fn acquire(
        self: &Arc<Self>,
        name: &LockName,
        ask: &Ask,
        wait: Duration,
    ) -> Result<Answer, Refusal> {
        let until = self.registry.clock.now().mono + wait;
        let call = self.registry.join(name, ask, until)?;
        let taken = self.take_until(name, ask, until).await;
        self.registry.leave(call);
        if let Err(Refusal::Locked { .. }) = taken {
            log_refused(name, &ask.user_id);
            self.registry.meters.count(Tally { contended: 1, ..Tally::default() }, &[]);
        }
        let lease = taken?;
        Ok(Answer::Lease(Box::new(self.shown(name, &lease))))
    }

    /// Tries, and sleeps in between, until the lock is granted or the time is over.
    async fn take_until(
        self: &Arc<Self>,
        name: &LockName,
        ask: &Ask,
        until: Duration,
    ) -> Result<Arc<Lease>, Refusal> {
        let request = ask.request_id.clone().unwrap_or_else(|| format!("a:{}", Uuid::new_v4()));
        let ticket = self.waiting.join(&ask.session, &request);
        let mut stopped = self.stopped.clone();
        let mut is_waiting = false;
        let taken = loop {
            let left = until.saturating_sub(self.registry.clock.now().mono);
            let patience = if left.is_zero() { Duration::ZERO } else { PATIENCE };
            match self.take(name, ask, &request, &ticket, patience).await {
                Ok(Try::Granted(lease)) if ticket.is_closed() => {
                    // It was told of, so its end is, too.
                    let _ = self.give_back_closed(name, &lease).await;
                    break Err(Refusal::SessionClosed);
                }
                Ok(Try::Granted(lease)) => break Ok(lease),
                Ok(Try::Refused(refusal, _)) if patience.is_zero() => break Err(refusal),
                Ok(Try::Refused(_, nap)) => {
                    if !std::mem::replace(&mut is_waiting, true) {
                        self.registry.meters.waiting.add(1);
                    }
                    tokio::select! {
                        () = ticket.sleep(nap.min(left)) => {}
                        _ = stopped.changed() => break self.leave(name, &ticket, Refusal::Unavailable).await,
                    }
                }
                Err(refusal) => break Err(refusal),
            }
            if ticket.is_closed() {
                break self.leave(name, &ticket, Refusal::SessionClosed).await;
            }
        };
        if is_waiting {
            self.registry.meters.waiting.add(-1);
        }
        taken
    }

    async fn leave<T>(&self, name: &LockName, ticket: &Ticket<'_>, refusal: Refusal) -> Result<T, Refusal> {
        // Without an answer the server finds out by itself that nobody waits there any more.
        let _ = self.remote.leave(name, ticket.name()).await;
        Err(refusal)
    }

    /// Asks the server once, and registers what it grants.
    async fn take(
        self: &Arc<Self>,
        name: &LockName,
        ask: &Ask,
        request: &str,
        ticket: &Ticket<'_>,
        patience: Duration,
    ) -> Result<Try, Refusal> {
        let (until, _turn) = self.turn(name).await?;
        for _ in 0..MOST_STALE {
            let floor = self.floor(name).await?;
            let asked = self.registry.clock.now();
            let parts = Parts::new(name, ask, &self.registry.rules, asked);
            let take = Take {
                session: &ask.session,
                owner: &ask.user_id,
                ttl: ask.ttl,
                floor,
                request,
                waiter: ticket.name(),
                patience,
                parts: &parts,
            };
            match self.remote.acquire(name, &take, until).await.map_err(|fault| refusal(&fault))? {
                Taken::Granted { lease, is_first, ended } => {
                    let ended = ended.and_then(|ended| self.read(&ended, asked).ok());
                    let lease = Arc::new(self.read(&lease, asked)?);
                    // Whatever the server says, which may have it longer.
                    if self.registry.see(|known| known.is_over(name, lease.token)) {
                        self.return_lease(name, &lease, until).await.map_err(|fault| refusal(&fault))?;
                        continue;
                    }
                    match self.granted(name, &lease, is_first, ended).await? {
                        true => return Ok(Try::Granted(lease)),
                        false if is_first || self.registry.is_told(name, lease.token) => {}
                        false => return Err(Refusal::StaleFence),
                    }
                }
                Taken::Refused { by, place } => {
                    let nap = if place == 1 { until_free(&by).min(LOOK) } else { LOOK };
                    return Ok(Try::Refused(locked(&by, asked), nap));
                }
                Taken::Over => return Err(Refusal::Over),
            }
        }
        Err(Refusal::StaleFence)
    }

    /// Registers a grant, or gives it back: false if a greater token is registered here, or it is over already.
    async fn granted(
        self: &Arc<Self>,
        name: &LockName,
        lease: &Arc<Lease>,
        is_first: bool,
        ended: Option<Lease>,
    ) -> Result<bool, Refusal> {
        let before = self.registry.lease(name).filter(|before| before.token == lease.token);
        let is_told = before.is_some();
        let entered = lease.depth.saturating_sub(before.map_or(0, |before| before.depth)).min(1);
        let expired = ended.clone().filter(|ended| !self.registry.is_told(name, ended.token));
        let grant = Grant { name: name.clone(), lease: lease.clone(), is_first, ended };
        let locks = self.clone();
        match blocking(move || locks.registry.register(grant)).await {
            Ok(true) => {
                let tally = Tally { acquired: entered.into(), ..Tally::default() };
                self.registry.meters.count(tally, &[]);
                if let Some(expired) = expired {
                    self.announcer.tell(self, name, &expired, &What::Expired);
                }
                if is_first && !is_told {
                    self.announcer.tell(self, name, lease, &What::Acquired);
                }
                Ok(true)
            }
            Ok(false) => {
                self.undo(name, lease, is_first && !is_told, entered).await;
                Ok(false)
            }
            Err(error) => {
                self.undo(name, lease, is_first && !is_told, entered).await;
                Err(unavailable(&error))
            }
        }
    }

    /// Gives back what nobody was told of: a lease, which is given up until the server has heard of it; or one of its
    /// holder's entries, and if the server does not hear of that, the lease ends by itself.
    async fn undo(&self, name: &LockName, lease: &Arc<Lease>, is_new: bool, entered: u32) {
        if is_new {
            let _ = self.return_lease(name, lease, deadline()).await;
        } else if entered > 0 {
            let (holder, request) =
                ((lease.session.as_str(), Some(lease.token)), format!("u:{}", Uuid::new_v4()));
            let _ = self.remote.release(name, holder, &request, Back::Once, "", deadline()).await;
        }
    }
}

/// How long until a lock ends by itself, and a little more.
fn until_free(by: &By) -> Duration {
    let left = match by {
        By::Lease(Row { left_ms, .. }) => Some(Duration::from_millis(*left_ms)),
        By::Foreign { left, .. } => *left,
        By::Line { left, .. } => Some(*left),
    };
    left.map_or(LOOK, |left| left + Duration::from_millis(1))
}

//! How a lease is given back: by its holder, with its session, or because it is no more here.
//!
//! Invariant: what is over here is granted to nobody again; if the server may have it still, that is remembered until it has
//! answered.

use super::{
    answers::Kept,
    connection::Fault,
    locks::{Locks, refusal},
    remote::Back,
};
use crate::{event::What, lease::Lease, meters::Tally, name::LockName, refusal::Refusal, request::Answer};
use futures_util::future::join_all;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

impl Locks {
    pub(super) async fn release(
        self: &Arc<Self>,
        name: &LockName,
        session: &str,
        token: Option<u64>,
        request_id: Option<String>,
    ) -> Result<Answer, Refusal> {
        let request = request_id.unwrap_or_else(|| format!("r:{}", Uuid::new_v4()));
        let depth = self.give_back(name, (session, token), &request, Back::Once).await?;
        Ok(Answer::Released { released: depth == 0, depth })
    }

    /// Gives a lease back, once or wholly; how often the session still has it.
    async fn give_back(
        self: &Arc<Self>,
        name: &LockName,
        (session, token): (&str, Option<u64>),
        request: &str,
        back: Back,
    ) -> Result<u32, Refusal> {
        let (until, _turn) = self.turn(name).await?;
        // Named by its token, so that a repeat that comes late takes no later lease of the session.
        let known = self.registry.lease(name).filter(|lease| lease.session == session);
        let token = token.or(known.map(|lease| lease.token));
        let (asked, message) = (self.registry.clock.now(), self.announcer.message(&What::Released));
        match self.remote.release(name, (session, token), request, back, &message, until).await {
            Ok(Kept::Released { lease: row, is_repeat }) => {
                let lease = Arc::new(self.read(&row, asked)?);
                let released = u64::from(!is_repeat);
                self.registry.meters.count(Tally { released, ..Tally::default() }, &[]);
                if row.depth > 0 {
                    self.registry.change(|known| known.update(name, &lease));
                } else if !is_repeat || self.own(name, session, lease.token).is_some() {
                    self.end_told(name, lease, What::Released, None).await?;
                }
                Ok(row.depth)
            }
            Ok(Kept::Ended(row)) => {
                let lease = Arc::new(self.read(&row, asked)?);
                self.end(name, lease, What::Expired, None).await?;
                Err(Refusal::NotHeld)
            }
            Ok(kept) => {
                if let Some(token) = token {
                    self.lose(name, session, token, &kept).await?;
                }
                Err(Refusal::NotHeld)
            }
            Err(fault) => {
                let own = token.and_then(|token| self.own(name, session, token));
                if let Some(lease) = own.filter(|lease| may_be_over(lease, back, &fault)) {
                    // Perhaps it is given back, and perhaps it will be: nobody is to be given it again meanwhile. Told now,
                    // for whoever has the lock by then keeps the server from telling what became of this one.
                    let now = self.registry.clock.now().mono;
                    let is_lost = self.registry.see(|known| known.is_lost(name, lease.token, now));
                    let what = if is_lost { What::Lost } else { What::Released };
                    self.registry.change(|known| known.give_up(name, lease.clone(), Some(what.clone())));
                    self.end(name, lease, what, None).await?;
                }
                Err(refusal(&fault))
            }
        }
    }

    /// Has the server forget a lease that is no more here, unless its holder goes on at another host; one that it does not
    /// hear of is given up until it does. Other hosts may have missed its end, which was told while the server was away: they
    /// hear of it with that.
    ///
    /// # Errors
    /// If it cannot be reached, or refuses: then the lease ends by itself.
    pub async fn return_lease(
        &self,
        name: &LockName,
        lease: &Arc<Lease>,
        until: Instant,
    ) -> Result<(), Fault> {
        let told = self.registry.see(|known| known.how_it_ended(name, lease.token));
        let back = if told.is_some() { Back::GivenUp } else { Back::Undone };
        let message = told.as_ref().map(|told| self.announcer.message(told)).unwrap_or_default();
        let (holder, request) =
            ((lease.session.as_str(), Some(lease.token)), format!("u:{}", Uuid::new_v4()));
        let returned = self.remote.release(name, holder, &request, back, &message, until).await;
        self.registry.change(|known| match &returned {
            Err(Fault::Away(_)) => known.give_up(name, lease.clone(), told.clone()),
            _ => known.is_returned(name, lease.token),
        });
        // What the server still had is told by the server, and what somebody else has ended or keeps is theirs to tell.
        let is_told = matches!(returned, Ok(Kept::Released { .. } | Kept::No { is_told: true }));
        if let Some(told) = told.filter(|_| returned.is_ok() && !is_told) {
            self.announcer.tell(self, name, lease, &told);
        }
        returned.map(drop)
    }

    /// Gives back everything that a session was granted here, and ends its waiting.
    pub(super) async fn close(self: &Arc<Self>, session: &str) -> Result<Answer, Refusal> {
        let waiting = self.waiting.close(session);
        let leases = self.registry.see(|known| known.of_session(session));
        // Together, so that a server that is away is waited for once.
        let given_back = leases.iter().map(|(name, lease)| self.give_back_closed(name, lease));
        let mut released = 0;
        for given_back in join_all(given_back).await {
            match given_back {
                Ok(_) => released += 1,
                Err(Refusal::NotHeld) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(Answer::Closed { released, waiting })
    }

    /// Gives back what a session has that was closed.
    pub(super) async fn give_back_closed(
        self: &Arc<Self>,
        name: &LockName,
        lease: &Lease,
    ) -> Result<u32, Refusal> {
        let (holder, request) =
            ((lease.session.as_str(), Some(lease.token)), format!("c:{}", Uuid::new_v4()));
        self.give_back(name, holder, &request, Back::Wholly).await
    }
}

/// Whether a lease has to be taken for over after it was not told that it was given back. Who gave it back once may have it
/// still, or was refused.
fn may_be_over(lease: &Lease, back: Back, fault: &Fault) -> bool {
    back != Back::Once || lease.depth == 1 && matches!(fault, Fault::Away(_))
}

//! The backend `embedded`: leases in this host's own store, for the clients of this host.
//!
//! Reading order: `decide` (the rules, pure), `draft` (a round of them), `leases` (their owner), `task` (its thread).
//! Invariant: a grant and its token are one commit, so the granted token is the registered one.

pub mod decide;
pub mod effects;
pub mod draft;
mod leases;
mod task;
#[cfg(test)]
mod tests;

use crate::{
    check::Holder,
    clock::Clock,
    config::Rules,
    name::{LEASES, LockName},
    request::{Answer, Request},
    store::Store,
};
use leases::Leases;
use lockstep_plugin_api::prelude::*;
use task::{Alive, Calls, start};

/// The leases of this host.
pub struct Embedded {
    store: Store,
    clock: Clock,
    calls: Calls,
    _alive: Alive,
}

/// Asks about them; cheap to clone.
#[derive(Clone)]
pub struct Asking(Calls);

impl Asking {
    /// # Errors
    /// What the request is refused with.
    pub async fn ask(&self, request: Request) -> Result<Answer> {
        self.0.ask(request).await
    }
}

impl Embedded {
    /// Reads what earlier processes left.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(context: &Context, rules: Rules) -> Result<Self> {
        let clock = Clock::start();
        let (calls, alive) = start(context, Leases::open(context, rules, clock)?);
        Ok(Self { store: Store::new(context.clone(), LEASES), clock, calls, _alive: alive })
    }

    pub fn asking(&self) -> Asking {
        Asking(self.calls.clone())
    }

    /// Who holds a lock; watched until the batch is committed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn holder(&self, name: &LockName) -> Result<Option<Holder>> {
        let now = self.clock.now();
        let held = self.store.lease(name, now)?;
        Ok(held.map(|held| Holder {
            user_id: held.lease.user_id.clone(),
            session: Some(held.lease.session.clone()),
            token: Some(held.lease.token),
            expires_at_us: Some(held.lease.shown_end_us(now)),
        }))
    }
}

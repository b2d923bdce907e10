//! What one request asks for, decided against everything that was drafted before it.

use super::Draft;
use crate::{
    embedded::decide,
    event::What,
    lease::Shown,
    line::Waiter,
    name::LockName,
    refusal::Refusal,
    request::{Answer, Ask, Request, Whose},
};
use lockstep_plugin_api::prelude::*;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

impl Draft<'_> {
    /// Decides one request.
    ///
    /// # Errors
    /// If the store cannot be read; the draft is of no use then.
    pub fn decide(&mut self, call: u64, request: &Request) -> Result<()> {
        let answer = match request {
            Request::Acquire { name, ask, wait } => return self.acquire(call, name, ask, *wait),
            Request::Extend { name, session, token, ttl } => self.extend(name, session, *token, *ttl),
            Request::Release { name, session, token, request_id } => {
                self.release(name, session, *token, request_id.as_deref())?
            }
            Request::ForceRelease { name, admin, reason, expected_token } => {
                self.force_release(name, admin, reason, *expected_token)?
            }
            Request::SessionClosed { session } => Ok(self.close(session)?),
            Request::Info { name } => Ok(Answer::Info(
                self.lease(name).map(|lease| Shown::Lease(Box::new(self.shown(name, &lease)))),
            )),
            Request::List { of } => Ok(Answer::List(self.list(of))),
        };
        self.answers.push((call, answer));
        Ok(())
    }

    fn acquire(&mut self, call: u64, name: &LockName, ask: &Ask, wait: Duration) -> Result<()> {
        if self.lease(name).is_none() {
            // Nobody overtakes; there is a line before a free lock only if its lease vanished from the store.
            self.hand_on(name)?;
        }
        let held = self.lease(name);
        if held.as_ref().is_none_or(|lease| lease.session != ask.session)
            && self.has_too_many(name, &ask.user_id)
        {
            self.answers.push((call, Err(Refusal::TooMany { most: self.rules.max_per_user })));
            return Ok(());
        }
        match self.try_grant(name, ask)? {
            Ok(lease) => {
                let answer = Answer::Lease(Box::new(self.shown(name, &lease)));
                self.answers.push((call, Ok(answer)));
            }
            Err(_) if !wait.is_zero() => self.join(call, name, ask, wait),
            Err(refusal) => self.refuse(call, name, ask, refusal),
        }
        Ok(())
    }

    fn has_too_many(&self, name: &LockName, user_id: &str) -> bool {
        let n_of_user = self.table.n_of_user(name, user_id) + self.owners.of(name, user_id);
        n_of_user >= i64::from(self.rules.max_per_user)
    }

    fn join(&mut self, call: u64, name: &LockName, ask: &Ask, wait: Duration) {
        let until = self.now.mono + wait;
        self.joined.push(Arc::new(Waiter { call, name: name.clone(), ask: ask.clone(), until }));
        self.owners.add(name, &ask.user_id, 1);
    }

    fn extend(
        &mut self,
        name: &LockName,
        session: &str,
        token: u64,
        ttl: Option<Duration>,
    ) -> Result<Answer, Refusal> {
        let held = self.lease(name);
        let lease = decide::extend(held.as_deref(), session, token, ttl, self.rules, self.now)?;
        let answer = Answer::Lease(Box::new(self.shown(name, &lease)));
        self.leases.insert(name.clone(), Some(Arc::new(lease)));
        Ok(answer)
    }

    fn release(
        &mut self,
        name: &LockName,
        session: &str,
        token: Option<u64>,
        request_id: Option<&str>,
    ) -> Result<Result<Answer, Refusal>> {
        let held = self.lease(name);
        let depth_before = held.as_ref().map_or(0, |lease| lease.depth);
        let left = match decide::release(held.as_deref(), session, token, request_id) {
            Ok(left) => left,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let depth = left.as_ref().map_or(0, |lease| lease.depth);
        self.tally.released += u64::from(depth < depth_before);
        match left {
            Some(lease) => drop(self.leases.insert(name.clone(), Some(Arc::new(lease)))),
            None => self.end(name, What::Released)?,
        }
        Ok(Ok(Answer::Released { released: depth == 0, depth }))
    }

    fn force_release(
        &mut self,
        name: &LockName,
        admin: &str,
        reason: &str,
        expected_token: Option<u64>,
    ) -> Result<Result<Answer, Refusal>> {
        let held = self.lease(name);
        let fence = self.fence(name)?;
        let token = match decide::force_release(held.as_deref(), fence, expected_token) {
            Ok(token) => token,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let lease = held.expect("without a lease it was refused");
        let answer = Answer::Lease(Box::new(self.shown(name, &lease)));
        self.register(name, token);
        self.end(name, What::Forced { admin: admin.to_owned(), reason: reason.to_owned() })?;
        Ok(Ok(answer))
    }

    /// Ends what a session has, and what it waits for.
    fn close(&mut self, session: &str) -> Result<Answer> {
        let waiting: Vec<Arc<Waiter>> = self.table.lines.of_session(session).cloned().collect();
        let joined = self.joined.iter().filter(|waiter| waiter.ask.session == session).cloned();
        let waiting: Vec<_> = waiting.into_iter().chain(joined).collect();
        let mut n_waiting = 0;
        for waiter in waiting {
            if self.leave(&waiter) {
                n_waiting += 1;
                self.answers.push((waiter.call, Err(Refusal::SessionClosed)));
            }
        }
        let names: BTreeSet<LockName> =
            self.table.of_session(session).chain(self.leases.keys()).cloned().collect();
        let mut n_released = 0;
        for name in names {
            if self.lease(&name).is_some_and(|lease| lease.session == session) {
                n_released += 1;
                self.tally.released += 1;
                self.end(&name, What::Released)?;
            }
        }
        Ok(Answer::Closed { released: n_released, waiting: n_waiting })
    }

    fn list(&self, of: &Whose) -> Vec<Shown> {
        let names: BTreeSet<&LockName> =
            self.table.leases().map(|(name, _)| name).chain(self.leases.keys()).collect();
        let wanted = names.into_iter().filter(|name| of.includes(name));
        let held = wanted.filter_map(|name| Some((name, self.lease(name)?)));
        held.map(|(name, lease)| Shown::Lease(Box::new(self.shown(name, &lease)))).collect()
    }
}

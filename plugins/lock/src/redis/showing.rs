//! How locks are shown, also those of other programs.

use super::{
    answers::Found,
    locks::{Locks, refusal},
};
use crate::{
    clock::Now,
    lease::{Lease, Shown, ShownLease},
    name::LockName,
    refusal::Refusal,
    request::{Answer, Whose},
};

impl Locks {
    pub(super) async fn info(&self, name: &LockName) -> Result<Answer, Refusal> {
        let asked = self.registry.clock.now();
        let found = self.remote.info(name).await.map_err(|fault| refusal(&fault))?;
        let lock = self.remote.names().lock(name);
        Ok(Answer::Info(found.map(|found| self.shown_as(Some(name), lock, found, asked))))
    }

    pub(super) async fn list(&self, of: &Whose) -> Result<Answer, Refusal> {
        let asked = self.registry.clock.now();
        let found = self.remote.list(of).await.map_err(|fault| refusal(&fault))?;
        let mut shown = Vec::new();
        for (lock, found) in found {
            let Some(rest) = self.remote.names().rest(&lock) else { continue };
            // What a lock is called says whose it is only together with what is in it.
            let tenant = match found.text.is_of(rest) {
                true => found.text.tenant_id(),
                false => rest
                    .split_once(':')
                    .map(|(tenant, _)| tenant.to_owned())
                    .filter(|tenant| tenant != "global"),
            };
            if matches!(of, Whose::Tenant(wanted) if *wanted != tenant) {
                continue;
            }
            let name = found.text.name().filter(|_| found.text.is_of(rest));
            shown.push(self.shown_as(name.as_ref(), lock, found, asked));
        }
        Ok(Answer::List(shown))
    }

    fn shown_as(&self, name: Option<&LockName>, lock: String, found: Found, asked: Now) -> Shown {
        let lease = found.row.as_ref().and_then(|row| row.lease(&self.registry.rules, asked).ok());
        match (name, lease) {
            (Some(name), Some(lease)) => Shown::Lease(Box::new(ShownLease::new(name, lock, &lease, asked))),
            _ => {
                let rest = self.remote.names().rest(&lock).unwrap_or_default();
                let expires_at_us = found.left.map(|left| found.text.ends_at_us(asked, left));
                Shown::Foreign(found.text.into_shown(&lock, rest, expires_at_us))
            }
        }
    }

    /// A lease as callers see it.
    pub fn shown(&self, name: &LockName, lease: &Lease) -> ShownLease {
        // Its end as it was computed when the server was asked, and as the server has it in its text.
        let then = Now { mono: lease.ends, wall_us: lease.expires_at_us };
        ShownLease::new(name, self.remote.names().lock(name), lease, then)
    }
}

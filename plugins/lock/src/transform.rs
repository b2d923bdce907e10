//! The transform: a change passes if its session may write its key now, and if what it read to know that is still so when
//! the batch is committed.
//!
//! Invariant: it never takes a lease, never gives one back and never waits.

use crate::{
    clock::Clock,
    config::LockConfig,
    decide::{Rules, may_write},
    effects::token_from_stored,
    leases::Leases,
    name::LockName,
    operations::operations,
    refusal::Refusal,
    store::Store,
    task::{Alive, Calls, start},
};
use lockstep_plugin_api::{Operations, prelude::*, record::SESSION_HEADER};
use serde::Deserialize;
use std::{borrow::Cow, time::Duration};

/// The `lock` transform.
pub struct Lock {
    store: Store,
    clock: Clock,
    calls: Calls,
    default_ttl: Duration,
    refused: Counter,
    _alive: Alive,
}

/// The lease under which a change is made, as its author knows it.
#[derive(Deserialize)]
struct Fence<'a> {
    /// The locked key, if it is another than the change's own.
    #[serde(borrow, default)]
    lock: Option<Cow<'a, str>>,
    token: u64,
}

impl Transform for Lock {
    type Config = LockConfig;

    fn check(config: &LockConfig) -> Result<()> {
        config.check()
    }

    fn new(config: LockConfig, context: &Context) -> Result<Self> {
        config.check()?;
        if !context.through_log() {
            return Err(Error::config(
                "locks need a pipeline through the log: the last transform must be one that commits",
            ));
        }
        let rules = Rules {
            longest_heartbeat: context.sync().heartbeat_interval,
            max_per_user: config.max_locks_per_user,
        };
        let clock = Clock::start();
        let (calls, alive) = start(context, Leases::open(context, rules, clock)?);
        Ok(Self {
            store: Store::new(context.clone()),
            clock,
            calls,
            default_ttl: config.default_timeout.into(),
            refused: context.counter("lock_refused_changes"),
            _alive: alive,
        })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        let session = record.header(SESSION_HEADER).cloned();
        record.remove_header(SESSION_HEADER);
        // What has a dot was decided where it was made: refused here, it would be true elsewhere and not here. If a lock was
        // disregarded by it, the resolver shows the conflict.
        if !record.is_notice() && record.change()?.dot().is_none() {
            let session = session.as_deref().and_then(|session| std::str::from_utf8(session).ok());
            self.check_change(record.change()?, session)?;
        }
        out.push(record);
        Ok(())
    }

    fn operations(&mut self) -> Operations {
        operations(&self.calls, self.default_ttl)
    }
}

impl Lock {
    fn check_change(&self, change: &Change, session: Option<&str>) -> Result<()> {
        // A key that cannot be has no lock; that it cannot be is for others to say.
        let own = LockName::new(change.tenant_id(), change.config_key()).ok();
        let Some(fence) = change.fence() else {
            return own.map_or(Ok(()), |own| self.check_lock(&own, session, None));
        };
        let fence: Fence<'_> = fence.read()?;
        let Some(fenced) = fenced_lock(change, &fence) else { return Err(self.refuse(&Refusal::StaleFence)) };
        self.check_lock(&fenced, session, Some(fence.token))?;
        match own {
            Some(own) if own != fenced => self.check_lock(&own, session, None),
            _ => Ok(()),
        }
    }

    fn check_lock(&self, name: &LockName, session: Option<&str>, token: Option<u64>) -> Result<()> {
        let now = self.clock.now();
        let held = self.store.lease(name, now)?;
        let fence = match token {
            Some(_) => self.store.fence(name)?.as_deref().map_or(Ok(0), token_from_stored)?,
            None => 0,
        };
        let lease = held.as_ref().map(|held| &*held.lease);
        may_write(lease, fence, session, token, now).map_err(|refusal| self.refuse(&refusal))
    }

    fn refuse(&self, refusal: &Refusal) -> Error {
        self.refused.add(1);
        refusal.to_error()
    }
}

/// The lock that a fence means: the change's own key, another key of the same tenant, or one by its whole name.
fn fenced_lock(change: &Change, fence: &Fence<'_>) -> Option<LockName> {
    let tenant = change.tenant_id();
    let Some(lock) = &fence.lock else { return LockName::new(tenant, change.config_key()).ok() };
    let whole = format!("config_lock:{}:", tenant.unwrap_or("global"));
    LockName::new(tenant, lock.strip_prefix(&whole).unwrap_or(lock)).ok()
}

#[cfg(test)]
mod tests;

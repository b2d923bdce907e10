//! The transform: a change passes if its session may write its key now, and if what it read to know that is still so when
//! the batch is committed.
//!
//! Invariant: it never takes a lease, never gives one back and never waits for one.

use crate::{
    backend::Backend,
    check::{Passes, may_write},
    config::LockConfig,
    name::{LEASES, LockName, PREFIX},
    operations::operations,
    refusal::Refusal,
    store::Store,
    writes::{token_from_stored, token_to_stored},
};
use lockstep_plugin_api::{Operations, prelude::*, record::SESSION_HEADER};
use serde::Deserialize;
use std::{borrow::Cow, time::Duration};

/// The `lock` transform.
pub struct Lock {
    leases: Backend,
    store: Store,
    /// What the names of locks begin with.
    prefix: String,
    default_ttl: Duration,
    refused: Counter,
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

    fn advise(_: &LockConfig, advice: &mut Advice) {
        advice.refuse_in(Way::Direct, needs_log());
    }

    fn new(config: LockConfig, context: &Context) -> Result<Self> {
        config.check()?;
        if !context.through_log() {
            return Err(needs_log());
        }
        Ok(Self {
            leases: Backend::open(&config, context)?,
            store: Store::new(context.clone(), LEASES),
            prefix: config.prefix().to_owned(),
            default_ttl: config.default_timeout.into(),
            refused: context.counter("lock_refused_changes"),
        })
    }

    fn prepare(&mut self, records: &mut [Record]) -> Result<()> {
        let prefix = &self.prefix;
        self.leases.prepare(|| locks_of(records, prefix))
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        let session = record.header(SESSION_HEADER).cloned();
        record.remove_header(SESSION_HEADER);
        if let Some(change) = to_check(&mut record)? {
            let session = session.as_deref().and_then(|session| std::str::from_utf8(session).ok());
            self.check_change(change, session)?;
        }
        out.push(record);
        Ok(())
    }

    fn operations(&mut self) -> Operations {
        operations(&self.leases.asking(), self.default_ttl)
    }
}

impl Lock {
    fn check_change(&self, change: &Change, session: Option<&str>) -> Result<()> {
        // A key that cannot be has no lock; that it cannot be is for others to say.
        let own = own_lock(change);
        let Some(fence) = fence_of(change)? else {
            return own.map_or(Ok(()), |own| self.check_lock(&own, session, None).map(drop));
        };
        if self.leases.is_shared() && change.base().is_none() {
            return Err(self.refuse(&Refusal::BaseRequired));
        }
        let Some(fenced) = fenced_lock(change, &fence, &self.prefix) else {
            return Err(self.refuse(&Refusal::StaleFence));
        };
        let passes = self.check_lock(&fenced, session, Some(fence.token))?;
        if let Some(own) = own.filter(|own| *own != fenced) {
            self.check_lock(&own, session, None)?;
        }
        match passes {
            Passes::AsItIs => Ok(()),
            Passes::Registering(token) => self.store.stage_fence(&fenced, token_to_stored(token)),
        }
    }

    fn check_lock(&self, name: &LockName, session: Option<&str>, token: Option<u64>) -> Result<Passes> {
        let holder = self.leases.holder(name)?;
        let registered = match token {
            Some(_) => token_from_stored(self.store.fence(name)?.as_deref())?,
            None => 0,
        };
        may_write(holder.as_ref(), registered, session, token).map_err(|refusal| self.refuse(&refusal))
    }

    fn refuse(&self, refusal: &Refusal) -> Error {
        self.refused.add(1);
        refusal.to_error()
    }
}

fn needs_log() -> Error {
    Error::config("locks need a pipeline through the log: the last transform must be one that commits")
}

/// The locks that a batch is about, each once.
fn locks_of(records: &mut [Record], prefix: &str) -> Vec<LockName> {
    let mut names = Vec::new();
    for record in records {
        // What cannot be read is refused when its turn comes.
        let Some(change) = to_check(record).unwrap_or_default() else { continue };
        let fenced = fence_of(change).ok().flatten().and_then(|fence| fenced_lock(change, &fence, prefix));
        names.extend(own_lock(change).into_iter().chain(fenced));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The change in a record, if its author may have to hold a lock for it.
///
/// What has a dot was decided where it was made: refused here, it would be true elsewhere and not here. If a lock was
/// disregarded by it, the resolver shows the conflict.
fn to_check(record: &mut Record) -> Result<Option<&Change>> {
    if record.is_notice() {
        return Ok(None);
    }
    let change = record.change()?;
    Ok(Some(change).filter(|change| change.dot().is_none()))
}

fn own_lock(change: &Change) -> Option<LockName> {
    LockName::new(change.tenant_id(), change.config_key()).ok()
}

fn fence_of(change: &Change) -> Result<Option<Fence<'_>>> {
    change.fence().map(Json::read).transpose()
}

/// The lock that a fence means: the change's own key, another key of the same tenant, or one by its whole name, as the
/// guide spells it or as this pipeline does.
fn fenced_lock(change: &Change, fence: &Fence<'_>, prefix: &str) -> Option<LockName> {
    let Some(lock) = &fence.lock else { return own_lock(change) };
    let tenant = change.tenant_id();
    let begins = |prefix| format!("{prefix}{}:", tenant.unwrap_or("global"));
    let key = [prefix, PREFIX].into_iter().find_map(|prefix| lock.strip_prefix(&begins(prefix)));
    LockName::new(tenant, key.unwrap_or(lock)).ok()
}

#[cfg(test)]
#[path = "transform/tests.rs"]
mod tests;

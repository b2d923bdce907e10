//! What this host writes down of the leases that it granted: the registered token with every grant, and every beginning and
//! end for subscribers and the audit.
//!
//! Invariant: a grant is answered only when its token is registered here, which it is only if it is greater than the one
//! before; and of each lease one end is told, whoever hears of it first.

use super::known::{Due, Known};
use crate::{
    clock::Clock,
    config::Rules,
    event::{Event, What},
    lease::Lease,
    meters::{Meters, Tally},
    name::{GRANTED, LockName},
    refusal::Refusal,
    request::Ask,
    store::Store,
    table::Held,
    writes::{FenceWrite, LeaseWrite, Writes, token_from_stored, token_to_stored},
};
use lockstep_plugin_api::{prelude::*, state::Committed};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tracing::warn;

/// How often a commit is tried because somebody else wrote the same in between.
const MOST_CONFLICTS: usize = 16;

/// The leases that were granted here.
pub struct Registry {
    pub store: Store,
    pub clock: Clock,
    pub rules: Rules,
    pub meters: Meters,
    /// Something is due earlier than it was.
    pub changed: Notify,
    known: Mutex<Known>,
}

/// A lease that the server granted.
pub struct Grant {
    pub name: LockName,
    pub lease: Lease,
    /// Whether it begins with this request.
    pub is_first: bool,
    /// The lease before it, which ended without anybody saying so.
    pub ended: Option<Lease>,
}

impl Registry {
    /// Reads what earlier processes left.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(context: &Context, rules: Rules) -> Result<Self> {
        let (store, clock) = (Store::new(context.clone(), GRANTED), Clock::start());
        let mut known = Known::default();
        for (name, held) in store.leases(clock.now())? {
            known.table.set(&name, Some(held));
        }
        let meters = Meters::new(context);
        Ok(Self { store, clock, rules, meters, changed: Notify::new(), known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that wants a lock, until it leaves.
    ///
    /// # Errors
    /// `TooMany`.
    pub fn join(&self, name: &LockName, ask: &Ask, until: Duration) -> Result<u64, Refusal> {
        self.known().join(name, ask, until, &self.rules)
    }

    pub fn leave(&self, call: u64) {
        self.known().table.lines.leave(call);
    }

    /// The lease of a lock, if it was granted here and is not known to have ended.
    pub fn lease(&self, name: &LockName) -> Option<Arc<Lease>> {
        self.known().lease(name)
    }

    /// The token that is registered for a lock.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn registered(&self, name: &LockName) -> Result<u64> {
        let registered = token_from_stored(self.store.fence(name)?.as_deref())?;
        self.known().note_registered(name, registered);
        Ok(registered)
    }

    /// Registers the token of a grant, and tells of it; nothing if a greater one is registered already. Waits for the disk.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn register(&self, grant: Grant) -> Result<Option<Arc<Lease>>> {
        let Grant { name, lease, is_first, ended } = grant;
        let lease = Arc::new(lease);
        for _ in 0..MOST_CONFLICTS {
            let fence = self.store.fence(&name)?;
            let registered = token_from_stored(fence.as_deref())?;
            let before = self.known().table.get(&name).cloned();
            let is_known = before.as_ref().is_some_and(|held| held.lease.token == lease.token);
            if registered > lease.token {
                self.known().note_registered(&name, registered);
                return Ok(None);
            }
            if let Some(before) = before.clone().filter(|_| is_known) {
                self.set(&name, Some(Held { lease: lease.clone(), stored: before.stored }));
                return Ok(Some(lease));
            }
            let held = Held { stored: lease.to_stored(), lease: lease.clone() };
            let mut writes = Writes::default();
            writes.leases.push(LeaseWrite {
                name: name.clone(),
                before: before.map(|held| held.stored),
                after: Some(held.clone()),
            });
            if registered < lease.token {
                let after = token_to_stored(lease.token);
                writes.fences.push(FenceWrite { name: name.clone(), before: fence, after });
                writes.events = self.beginning(&name, &lease, is_first, ended.as_ref());
            }
            if self.commit(&writes, &name)? {
                self.set(&name, Some(held));
                return Ok(Some(lease));
            }
        }
        Err(Error::retry(Duration::from_secs(1), "somebody else keeps writing the same leases"))
    }

    fn beginning(
        &self,
        name: &LockName,
        lease: &Arc<Lease>,
        is_first: bool,
        ended: Option<&Lease>,
    ) -> Vec<Event> {
        let event = |lease: &Arc<Lease>, what| Event { name: name.clone(), lease: lease.clone(), what };
        let mut events = Vec::new();
        if let Some(ended) = ended.filter(|ended| !self.is_told(name, ended.token)) {
            events.push(event(&Arc::new(ended.clone()), What::Expired));
        }
        if is_first {
            events.push(event(lease, What::Acquired));
        }
        events
    }

    /// Tells of the end of a lease, unless that was done, and registers a token above it. Waits for the disk.
    ///
    /// # Errors
    /// If the store refuses: it is told later then.
    pub fn end(&self, event: Event, token: Option<u64>) -> Result<()> {
        let (name, ended) = (event.name.clone(), event.lease.token);
        let is_told = self.is_told(&name, ended);
        let told = self.commit_end(&event, token, !is_told);
        if let Err(error) = &told {
            warn!(%error, lock = %name, "the end of a lease cannot be committed");
            if !is_told {
                self.change(|known| known.owed.push((event, token)));
            }
        }
        self.change(|known| known.ended(&name, ended));
        told
    }

    fn commit_end(&self, event: &Event, token: Option<u64>, is_news: bool) -> Result<()> {
        let name = &event.name;
        for _ in 0..MOST_CONFLICTS {
            let mut writes = Writes::default();
            let stored = self.store.lease(name, self.clock.now())?;
            if let Some(held) = stored.filter(|held| held.lease.token <= event.lease.token) {
                writes.leases.push(LeaseWrite { name: name.clone(), before: Some(held.stored), after: None });
            }
            if let Some(token) = token {
                let fence = self.store.fence(name)?;
                if token_from_stored(fence.as_deref())? < token {
                    let after = token_to_stored(token);
                    writes.fences.push(FenceWrite { name: name.clone(), before: fence, after });
                }
            }
            writes.events.extend(is_news.then(|| event.clone()));
            if writes.is_empty() || self.commit(&writes, name)? {
                return Ok(());
            }
        }
        Err(Error::retry(Duration::from_secs(1), "somebody else keeps writing the same leases"))
    }

    /// Commits; false if somebody else wrote in between, and then the lease is read anew.
    fn commit(&self, writes: &Writes, name: &LockName) -> Result<bool> {
        let now = self.clock.now();
        if self.store.commit(writes, now)? == Committed::Conflict {
            let stored = self.store.lease(name, now)?;
            self.set(name, stored);
            return Ok(false);
        }
        for fence in &writes.fences {
            self.known().note_registered(&fence.name, token_from_stored(Some(&fence.after))?);
        }
        self.meters.count(Tally::default(), &writes.events);
        writes.events.iter().for_each(Event::log);
        Ok(true)
    }

    /// Tells subscribers what other hosts did, in one commit. Waits for the disk.
    ///
    /// # Errors
    /// If the store refuses: they do not hear of it then.
    pub fn hear(&self, heard: &[(Event, String)]) -> Result<()> {
        let now = self.clock.now();
        let mut writes = Writes::default();
        for (event, node) in heard {
            let is_end = event.what != What::Acquired;
            if is_end && self.is_told(&event.name, event.lease.token) {
                continue;
            }
            writes.heard.push(event.to_notice(node, now.wall_us)?);
            if is_end && self.lease(&event.name).is_some_and(|lease| lease.token == event.lease.token) {
                let stored = self.store.lease(&event.name, now)?.map(|held| held.stored);
                writes.leases.push(LeaseWrite { name: event.name.clone(), before: stored, after: None });
            }
            if is_end {
                self.change(|known| known.ended(&event.name, event.lease.token));
            }
        }
        if !writes.is_empty() && self.store.commit(&writes, now)? == Committed::Conflict {
            // This host has just written down the end of one of them itself.
            writes.leases.clear();
            self.store.commit(&writes, now)?;
        }
        Ok(())
    }

    fn set(&self, name: &LockName, held: Option<Held>) {
        self.change(|known| known.set(name, held));
    }

    /// Whether the end of a lease was told here.
    pub fn is_told(&self, name: &LockName, token: u64) -> bool {
        self.known().is_told(name, token)
    }

    /// Looks at what is remembered.
    pub fn see<T>(&self, see: impl FnOnce(&Known) -> T) -> T {
        see(&self.known())
    }

    /// Changes what is remembered, and says so if something is due earlier by it.
    pub fn change(&self, change: impl FnOnce(&mut Known)) {
        let (mut known, now) = (self.known(), self.clock.now().mono);
        let before = known.idle_for(now);
        change(&mut known);
        let is_earlier = known.idle_for(now) < before;
        self.meters.held.set(known.table.leases().len() as i64);
        drop(known);
        if is_earlier {
            self.changed.notify_one();
        }
    }

    /// Tells what could not be told; false if it still cannot.
    pub fn pay(&self) -> bool {
        let owed = std::mem::take(&mut self.known().owed);
        for (i, (event, token)) in owed.iter().enumerate() {
            if self.commit_end(event, *token, true).is_err() {
                self.known().owed.extend(owed[i..].iter().cloned());
                return false;
            }
        }
        true
    }

    /// How long until something is due.
    pub fn idle_for(&self) -> Duration {
        self.known().idle_for(self.clock.now().mono)
    }

    /// What is due.
    pub fn due(&self) -> Vec<Due> {
        self.known().due(self.clock.now().mono)
    }
}

//! What this host writes down of the leases that it granted: the registered token with every grant, and every beginning and
//! end for subscribers and the audit.
//!
//! Invariant: a grant is answered only when its token is registered here, which it is only if it is greater than the one
//! before; and of each lease one end is told, whoever hears of it first. What is told of one lock is decided and committed
//! by one after the other, so that the last that subscribers hear is the last that happened.

mod hearing;

use super::{
    known::{Due, Known},
    order::Order,
};
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
    collections::{BTreeSet, VecDeque},
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
    /// Something could not be done, and nothing was left undone before.
    pub left: Notify,
    known: Mutex<Known>,
    order: Order,
}

/// A lease that the server granted.
pub struct Grant {
    pub name: LockName,
    pub lease: Arc<Lease>,
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
            known.begins(&name, held.lease.token);
            known.table.set(&name, Some(held));
        }
        let meters = Meters::new(context);
        let (changed, left, order) = (Notify::new(), Notify::new(), Order::default());
        Ok(Self { store, clock, rules, meters, changed, left, known: Mutex::new(known), order })
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

    /// Registers the token of a grant, and tells of it and of the end before it; false if a greater one is registered already,
    /// or if the lease is over: another host has taken it away meanwhile. Waits for the disk.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn register(&self, grant: Grant) -> Result<bool> {
        let Grant { name, lease, is_first, ended } = grant;
        let _word = self.order.take(&name);
        let mut owed = self.change(|known| {
            let ended = ended.filter(|ended| known.claim(&name, ended.token)).map(Arc::new);
            let end = ended.map(|lease| (Event { name: name.clone(), lease, what: What::Expired }, None));
            known.take_owed(&name).into_iter().chain(end).collect::<Vec<_>>()
        });
        let registered = self.try_register(&name, &lease, is_first, &mut owed);
        if !owed.is_empty() {
            self.change(|known| known.owed.append(&mut owed));
        }
        registered
    }

    /// The same, in one commit with ends that are owed.
    fn try_register(
        &self,
        name: &LockName,
        lease: &Arc<Lease>,
        is_first: bool,
        owed: &mut Vec<(Event, Option<u64>)>,
    ) -> Result<bool> {
        if self.is_told(name, lease.token) {
            return Ok(false);
        }
        let forced = owed.iter().filter_map(|(_, token)| *token).max().unwrap_or(0);
        for _ in 0..MOST_CONFLICTS {
            let fence = self.store.fence(name)?;
            let registered = token_from_stored(fence.as_deref())?;
            let before = self.known().table.get(name).cloned();
            let is_known = before.as_ref().is_some_and(|held| held.lease.token == lease.token);
            if registered > lease.token || forced >= lease.token {
                self.known().note_registered(name, registered.max(forced));
                return Ok(false);
            }
            if let Some(before) = before.clone().filter(|_| is_known) {
                self.set(name, Some(Held { lease: lease.clone(), stored: before.stored }));
                return Ok(true);
            }
            let held = Held { stored: lease.to_stored(), lease: lease.clone() };
            let mut writes = Writes::default();
            writes.leases.push(LeaseWrite {
                name: name.clone(),
                before: before.map(|held| held.stored),
                after: Some(held.clone()),
            });
            owed.iter().for_each(|(event, _)| self.say(&mut writes, event));
            let is_news = registered < lease.token;
            if is_news {
                let after = token_to_stored(lease.token);
                writes.fences.push(FenceWrite { name: name.clone(), before: fence, after });
                let what = What::Acquired;
                let begins = Event { name: name.clone(), lease: lease.clone(), what };
                writes.events.extend(is_first.then_some(begins));
            }
            if self.commit(&writes, name)? {
                owed.clear();
                self.change(|known| {
                    known.set(name, Some(held));
                    if is_news && is_first {
                        known.begins(name, lease.token);
                    }
                });
                return Ok(true);
            }
        }
        Err(Error::retry(Duration::from_secs(1), "somebody else keeps writing the same leases"))
    }

    /// Tells of the end of a lease, unless that was done, and registers a token above it. Waits for the disk.
    ///
    /// # Errors
    /// If the store refuses: it is told later then.
    pub fn end(&self, event: Event, token: Option<u64>) -> Result<()> {
        let (name, ended) = (event.name.clone(), event.lease.token);
        let _word = self.order.take(&name);
        let is_news = self.change(|known| known.claim(&name, ended));
        let told = self.commit_end(&event, token, is_news);
        if let Err(error) = &told {
            warn!(%error, lock = %name, "the end of a lease cannot be committed");
        }
        self.change(|known| {
            known.ended(&name, ended);
            known.owed.extend((is_news && told.is_err()).then_some((event, token)));
        });
        told
    }

    fn commit_end(&self, event: &Event, token: Option<u64>, is_news: bool) -> Result<()> {
        let name = &event.name;
        for _ in 0..MOST_CONFLICTS {
            let mut writes = Writes::default();
            writes.leases.extend(self.over(name, event.lease.token)?);
            if let Some(token) = token {
                let fence = self.store.fence(name)?;
                if token_from_stored(fence.as_deref())? < token {
                    let after = token_to_stored(token);
                    writes.fences.push(FenceWrite { name: name.clone(), before: fence, after });
                }
            }
            if is_news {
                self.say(&mut writes, event);
            }
            if writes.is_empty() || self.commit(&writes, name)? {
                return Ok(());
            }
        }
        Err(Error::retry(Duration::from_secs(1), "somebody else keeps writing the same leases"))
    }

    /// Tells of the end of a lease: subscribers only if they have not heard of a later one.
    fn say(&self, writes: &mut Writes, event: &Event) {
        let is_latest = self.known().is_latest(&event.name, event.lease.token);
        let said = if is_latest { &mut writes.events } else { &mut writes.unsaid };
        said.push(event.clone());
    }

    /// Takes out what the store has of a lease that ended, and nothing of a later one.
    fn over(&self, name: &LockName, token: u64) -> Result<Option<LeaseWrite>> {
        let stored = self.store.lease(name, self.clock.now())?;
        let stored = stored.filter(|held| held.lease.token <= token);
        Ok(stored.map(|held| LeaseWrite { name: name.clone(), before: Some(held.stored), after: None }))
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
        for events in [&writes.unsaid, &writes.events] {
            self.meters.count(Tally::default(), events);
            events.iter().for_each(Event::log);
        }
        Ok(true)
    }

    fn set(&self, name: &LockName, held: Option<Held>) {
        self.change(|known| known.set(name, held));
    }

    /// Whether the end of a lease was told here, or is about to be.
    pub fn is_told(&self, name: &LockName, token: u64) -> bool {
        self.known().is_told(name, token)
    }

    /// Looks at what is remembered.
    pub fn see<T>(&self, see: impl FnOnce(&Known) -> T) -> T {
        see(&self.known())
    }

    /// Changes what is remembered, and says so if something is due earlier by it.
    pub fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        let (mut known, now) = (self.known(), self.clock.now().mono);
        let (before, had_left) = (known.idle_for(now), known.has_left());
        let changed = change(&mut known);
        let (is_earlier, has_left) = (known.idle_for(now) < before, known.has_left());
        self.meters.held.set(known.table.leases().len() as i64);
        drop(known);
        if is_earlier {
            self.changed.notify_one();
        }
        if has_left && !had_left {
            self.left.notify_one();
        }
        changed
    }

    /// Tells what could not be told; false if it still cannot.
    pub fn pay(&self) -> bool {
        let names =
            self.see(|known| BTreeSet::from_iter(known.owed.iter().map(|(event, _)| event.name.clone())));
        names.iter().all(|name| self.pay_for(name))
    }

    fn pay_for(&self, name: &LockName) -> bool {
        let _word = self.order.take(name);
        let mut owed = VecDeque::from(self.known().take_owed(name));
        while let Some((event, token)) = owed.front() {
            if self.commit_end(event, *token, true).is_err() {
                self.known().owed.extend(owed);
                return false;
            }
            owed.pop_front();
        }
        true
    }

    /// How long until something is due.
    pub fn idle_for(&self) -> Duration {
        self.known().idle_for(self.clock.now().mono)
    }

    /// What is due, for whoever sees to it.
    pub fn take_due(&self) -> Vec<Due> {
        self.known().take_due(self.clock.now().mono)
    }
}

#[cfg(test)]
#[path = "registry/tests.rs"]
mod tests;

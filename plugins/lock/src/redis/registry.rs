//! What this host knows of the leases that it granted, and what it has written down of them: the registered token with
//! every grant, and every beginning and end for subscribers and the audit.
//!
//! Invariant: a grant is answered only when its token is registered here, which it is only if it is greater than the one
//! before; and of each lease one end is told, whoever hears of it first.

use crate::{
    clock::Clock,
    config::Rules,
    event::{Event, What},
    lease::Lease,
    line::Waiter,
    meters::{Meters, Tally},
    name::{GRANTED, LockName},
    refusal::Refusal,
    request::Ask,
    store::Store,
    table::{Held, Table},
    writes::{FenceWrite, LeaseWrite, Writes, token_from_stored, token_to_stored},
};
use lockstep_plugin_api::{prelude::*, state::Committed};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tracing::warn;

/// How often a commit is tried because somebody else wrote the same in between.
const MOST_CONFLICTS: usize = 16;

/// How many ends are remembered that were told.
const MOST_TOLD: usize = 10_000;

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

#[derive(Default)]
struct Known {
    /// The leases, and who waits for one.
    table: Table,
    next_call: u64,
    /// Leases whose holder asked for more time and was not answered, by token.
    unsure: HashMap<LockName, u64>,
    /// Leases that are over for their holder, which the server may still have.
    given_up: HashMap<LockName, Arc<Lease>>,
    /// The last lease of a lock whose end was told, by token.
    told: HashMap<LockName, u64>,
    /// Ends that the store did not take yet, with the token to register.
    owed: Vec<(Event, Option<u64>)>,
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

/// What has to be done because time goes on.
#[derive(Debug)]
pub enum Due {
    /// Nobody has asked for more time.
    Ended(LockName, Arc<Lease>),
    /// Somebody has, and the server has not answered.
    Unanswered(LockName, Arc<Lease>),
    /// The server may have it still.
    GivenUp(LockName, Arc<Lease>),
    /// Something is to be told.
    Owed,
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

    /// Counts a call that wants a lock, until it [leaves](Self::leave).
    ///
    /// # Errors
    /// `TooMany`.
    pub fn join(&self, name: &LockName, ask: &Ask, until: Duration) -> Result<u64, Refusal> {
        let mut known = self.known();
        let enters_again = known.table.get(name).is_some_and(|held| held.lease.session == ask.session);
        if !enters_again && known.table.n_of_user(&ask.user_id) >= self.rules.max_per_user as usize {
            return Err(Refusal::TooMany { most: self.rules.max_per_user });
        }
        known.next_call += 1;
        let call = known.next_call;
        known.table.lines.join(Arc::new(Waiter { call, name: name.clone(), ask: ask.clone(), until }));
        Ok(call)
    }

    pub fn leave(&self, call: u64) {
        self.known().table.lines.leave(call);
    }

    /// The lease of a lock, if it was granted here and is not known to have ended.
    pub fn lease(&self, name: &LockName) -> Option<Arc<Lease>> {
        self.known().table.get(name).map(|held| held.lease.clone())
    }

    /// What a session was granted here.
    pub fn of_session(&self, session: &str) -> Vec<(LockName, Arc<Lease>)> {
        let known = self.known();
        let lease = |name: &LockName| Some((name.clone(), known.table.get(name)?.lease.clone()));
        known.table.of_session(session).filter_map(lease).collect()
    }

    /// Whether a lease is over for its holder, whatever the server says.
    pub fn is_given_up(&self, name: &LockName, token: u64) -> bool {
        self.known().given_up.get(name).is_some_and(|lease| lease.token == token)
    }

    /// The token that is registered for a lock.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn registered(&self, name: &LockName) -> Result<u64> {
        token_from_stored(self.store.fence(name)?.as_deref())
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
        let told = self.commit_end(&event, token);
        if let Err(error) = &told {
            warn!(%error, lock = %name, "the end of a lease cannot be committed");
            self.known().owed.push((event, token));
        }
        let mut known = self.known();
        if known.table.get(&name).is_some_and(|held| held.lease.token <= ended) {
            known.table.set(&name, None);
        }
        known.unsure.remove(&name);
        known.note_told(&name, ended);
        drop(known);
        self.changed.notify_one();
        told
    }

    fn commit_end(&self, event: &Event, token: Option<u64>) -> Result<()> {
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
            if !self.is_told(name, event.lease.token) {
                writes.events.push(event.clone());
            }
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
                self.set(&event.name, None);
            }
            if is_end {
                self.known().note_told(&event.name, event.lease.token);
            }
        }
        if !writes.is_empty() {
            self.store.commit(&writes, now)?;
        }
        Ok(())
    }

    /// A lease lasts longer, or is held more or less often, by what the server said.
    pub fn update(&self, name: &LockName, lease: &Arc<Lease>) {
        let mut known = self.known();
        let Some(held) = known.table.get(name).filter(|held| held.lease.token == lease.token) else { return };
        let held = Held { lease: lease.clone(), stored: held.stored.clone() };
        known.table.set(name, Some(held));
        known.unsure.remove(name);
    }

    fn set(&self, name: &LockName, held: Option<Held>) {
        let mut known = self.known();
        known.table.set(name, held);
        known.unsure.remove(name);
        self.meters.held.set(known.table.leases().len() as i64);
        drop(known);
        self.changed.notify_one();
    }

    /// Another program's lock has no token, and so no number by which its end could be known again.
    fn is_told(&self, name: &LockName, token: u64) -> bool {
        token > 0 && self.known().told.get(name).is_some_and(|told| *told >= token)
    }

    /// The holder asked for more time, and the server did not answer.
    pub fn unanswered(&self, name: &LockName, token: u64) {
        let mut known = self.known();
        if known.table.get(name).is_some_and(|held| held.lease.token == token) {
            known.unsure.insert(name.clone(), token);
        }
        drop(known);
        self.changed.notify_one();
    }

    /// Whether that is so still.
    pub fn is_unanswered(&self, name: &LockName, token: u64) -> bool {
        self.known().unsure.get(name) == Some(&token)
    }

    /// A lease is over for its holder, and the server may still have it.
    pub fn give_up(&self, name: &LockName, lease: Arc<Lease>) {
        self.known().given_up.insert(name.clone(), lease);
    }

    /// The server has it no more.
    pub fn is_returned(&self, name: &LockName) {
        self.known().given_up.remove(name);
    }

    /// Tells what could not be told; false if it still cannot.
    pub fn pay(&self) -> bool {
        let owed = std::mem::take(&mut self.known().owed);
        for (i, (event, token)) in owed.iter().enumerate() {
            // It counts as told, so that nobody else tells it; here it is.
            self.known().told.remove(&event.name);
            let paid = self.commit_end(event, *token);
            self.known().note_told(&event.name, event.lease.token);
            if paid.is_err() {
                self.known().owed.extend(owed[i..].iter().cloned());
                return false;
            }
        }
        true
    }

    /// How long until something is due.
    pub fn idle_for(&self) -> Duration {
        const LATER: Duration = Duration::from_secs(3600);
        const SOON: Duration = Duration::from_secs(1);
        let known = self.known();
        let now = self.clock.now().mono;
        let unsure = known.unsure.keys().filter_map(|name| Some(given_up_at(&known.table.get(name)?.lease)));
        let first = unsure.chain(known.table.first_end()).min();
        let soon = (!known.owed.is_empty() || !known.given_up.is_empty()).then_some(SOON);
        let wait = first.map(|first| first.saturating_sub(now));
        wait.into_iter().chain(soon).min().unwrap_or(LATER)
    }

    /// What is due.
    pub fn due(&self) -> Vec<Due> {
        let known = self.known();
        let now = self.clock.now().mono;
        let lease = |name: &LockName| known.table.get(name).map(|held| held.lease.clone());
        let unsure = known.unsure.keys().filter_map(|name| Some((name, lease(name)?)));
        let unsure = unsure.filter(|(_, lease)| given_up_at(lease) <= now);
        let mut due: Vec<Due> = unsure.map(|(name, lease)| Due::Unanswered(name.clone(), lease)).collect();
        let ended = known.table.ended(now).filter(|name| !known.unsure.contains_key(name));
        due.extend(ended.filter_map(|name| Some(Due::Ended(name.clone(), lease(name)?))));
        let given_up = known.given_up.iter();
        due.extend(given_up.map(|(name, lease)| Due::GivenUp(name.clone(), lease.clone())));
        due.extend((!known.owed.is_empty()).then_some(Due::Owed));
        due
    }
}

impl Known {
    fn note_told(&mut self, name: &LockName, token: u64) {
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        let told = self.told.entry(name.clone()).or_default();
        *told = token.max(*told);
    }
}

/// When a holder that is not answered has to take its lease for lost: some time before it ends at the server.
fn given_up_at(lease: &Lease) -> Duration {
    lease.ends.saturating_sub(lease.ttl() / 10)
}

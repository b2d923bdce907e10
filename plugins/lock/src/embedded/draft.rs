//! One round of decisions: requests in the order they came, seen against the table and against each other, before any of
//! them is true.
//!
//! Invariant: a draft changes nothing. It becomes true by one commit of its [`Effects`], all of them or none, and only
//! then is anybody answered.

mod requests;

use crate::{
    clock::Now,
    config::Rules,
    embedded::{decide, effects::Effects},
    event::{Event, What, log_refused},
    lease::{Lease, ShownLease},
    line::Waiter,
    meters::Tally,
    name::LockName,
    owners::Owners,
    refusal::Refusal,
    request::{Answer, Ask},
    table::{Held, Table},
    writes::{FenceWrite, LeaseWrite, Writes, token_from_stored, token_to_stored},
};
use lockstep_plugin_api::prelude::*;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// How a draft reads the registered token of a lock, as the store has it.
pub type ReadFence<'a> = &'a dyn Fn(&LockName) -> Result<Option<Bytes>>;

/// Decisions that are not yet true.
pub struct Draft<'a> {
    table: &'a Table,
    rules: &'a Rules,
    now: Now,
    read_fence: ReadFence<'a>,
    leases: BTreeMap<LockName, Option<Arc<Lease>>>,
    fences: BTreeMap<LockName, Fence>,
    /// How many more locks a user has than the table says.
    owners: Owners,
    joined: Vec<Arc<Waiter>>,
    left: HashSet<u64>,
    events: Vec<Event>,
    answers: Vec<(u64, Result<Answer, Refusal>)>,
    tally: Tally,
}

/// A registered token: as the store has it, and as it shall be.
struct Fence {
    stored: Option<Bytes>,
    token: u64,
    is_new: bool,
}

impl<'a> Draft<'a> {
    /// Begins a round with what ended by itself: leases first, so that the next in line has them, then patience.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn new(table: &'a Table, rules: &'a Rules, now: Now, read_fence: ReadFence<'a>) -> Result<Self> {
        let mut draft = Self {
            table,
            rules,
            now,
            read_fence,
            leases: BTreeMap::new(),
            fences: BTreeMap::new(),
            owners: Owners::default(),
            joined: Vec::new(),
            left: HashSet::new(),
            events: Vec::new(),
            answers: Vec::new(),
            tally: Tally::default(),
        };
        for name in table.ended(now.mono) {
            draft.end(name, What::Expired)?;
        }
        for waiter in table.lines.due(now.mono) {
            draft.give_up(waiter)?;
        }
        Ok(draft)
    }

    fn refuse(&mut self, call: u64, name: &LockName, ask: &Ask, refusal: Refusal) {
        self.tally.contended += u64::from(matches!(refusal, Refusal::Locked { .. }));
        log_refused(name, &ask.user_id);
        self.answers.push((call, Err(refusal)));
    }

    /// Grants the lock, or says who has it.
    fn try_grant(&mut self, name: &LockName, ask: &Ask) -> Result<Result<Arc<Lease>, Refusal>> {
        let held = self.lease(name);
        let fence = if held.is_none() { self.fence(name)? } else { 0 };
        let lease = match decide::acquire(held.as_deref(), fence, ask, self.rules, self.now) {
            Ok(lease) => Arc::new(lease),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let depth_before = held.as_ref().map_or(0, |lease| lease.depth);
        self.tally.acquired += u64::from(lease.depth > depth_before);
        if held.is_none() {
            self.register(name, lease.token);
            self.owners.add(name, &lease.user_id, 1);
            self.events.push(Event { name: name.clone(), lease: lease.clone(), what: What::Acquired });
        }
        self.leases.insert(name.clone(), Some(lease.clone()));
        Ok(Ok(lease))
    }

    /// Ends a lease and gives the lock to the next in line.
    fn end(&mut self, name: &LockName, what: What) -> Result<()> {
        let Some(lease) = self.lease(name) else { return Ok(()) };
        self.leases.insert(name.clone(), None);
        self.owners.add(name, &lease.user_id, -1);
        self.events.push(Event { name: name.clone(), lease, what });
        self.hand_on(name)
    }

    /// Gives a free lock to the head of its line, and to whatever else the same session waits for it with: that would
    /// wait for itself.
    fn hand_on(&mut self, name: &LockName) -> Result<()> {
        let joined = self.joined.iter().filter(|waiter| waiter.name == *name).cloned();
        let line: Vec<Arc<Waiter>> = self.table.lines.of(name).cloned().chain(joined).collect();
        for waiter in line {
            let is_free = self.lease(name).is_none_or(|lease| lease.session == waiter.ask.session);
            if is_free && self.leave(&waiter) {
                let answer = self.try_grant(name, &waiter.ask)?;
                let answer = answer.map(|lease| Answer::Lease(Box::new(self.shown(name, &lease))));
                self.answers.push((waiter.call, answer));
            }
        }
        Ok(())
    }

    /// Refuses a call that has waited as long as it wanted to.
    fn give_up(&mut self, waiter: &Arc<Waiter>) -> Result<()> {
        if self.lease(&waiter.name).is_none() {
            self.hand_on(&waiter.name)?;
        }
        if self.leave(waiter) {
            let held = self.lease(&waiter.name).expect("a free lock is handed on to whoever waits");
            self.refuse(waiter.call, &waiter.name, &waiter.ask, Refusal::locked(&held, self.now));
        }
        Ok(())
    }

    /// Takes a call out of its line; false if it is out already.
    fn leave(&mut self, waiter: &Waiter) -> bool {
        let is_in = self.left.insert(waiter.call);
        if is_in {
            self.owners.add(&waiter.name, &waiter.ask.user_id, -1);
        }
        is_in
    }

    fn lease(&self, name: &LockName) -> Option<Arc<Lease>> {
        match self.leases.get(name) {
            Some(drafted) => drafted.clone(),
            None => self.table.get(name).map(|held| held.lease.clone()),
        }
    }

    /// The registered token; 0 if there never was one.
    fn fence(&mut self, name: &LockName) -> Result<u64> {
        if let Some(fence) = self.fences.get(name) {
            return Ok(fence.token);
        }
        let stored = (self.read_fence)(name)?;
        let token = token_from_stored(stored.as_deref())?;
        self.fences.insert(name.clone(), Fence { stored, token, is_new: false });
        Ok(token)
    }

    /// Registers a token, whose lock's fence has been read.
    fn register(&mut self, name: &LockName, token: u64) {
        let fence = self.fences.get_mut(name).expect("a token is derived from the one registered before it");
        (fence.token, fence.is_new) = (token, true);
    }

    fn shown(&self, name: &LockName, lease: &Lease) -> ShownLease {
        ShownLease::new(name, name.to_string(), lease, self.now)
    }

    /// What is to be committed, and answered after that.
    pub fn finish(self) -> Effects {
        let table = self.table;
        let write = |(name, after): (LockName, Option<Arc<Lease>>)| {
            let before = table.get(&name).map(|held| held.stored.clone());
            let after = after.map(|lease| Held { stored: lease.to_stored(), lease });
            LeaseWrite { name, before, after }
        };
        let changed =
            |write: &LeaseWrite| write.before != write.after.as_ref().map(|held| held.stored.clone());
        let fences = self.fences.into_iter().filter(|(_, fence)| fence.is_new);
        let left = self.left;
        let fence_write = |(name, fence): (_, Fence)| FenceWrite {
            name,
            before: fence.stored,
            after: token_to_stored(fence.token),
        };
        Effects {
            writes: Writes {
                leases: self.leases.into_iter().map(write).filter(changed).collect(),
                fences: fences.map(fence_write).collect(),
                events: self.events,
                ..Writes::default()
            },
            joined: self.joined.into_iter().filter(|waiter| !left.contains(&waiter.call)).collect(),
            left,
            answers: self.answers,
            tally: self.tally,
        }
    }
}

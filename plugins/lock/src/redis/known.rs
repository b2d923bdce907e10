//! What this host remembers of the leases that it granted: their ends, whose they are, and what is still to be done about
//! them.

use crate::{
    config::Rules,
    event::{Event, What},
    lease::Lease,
    line::Waiter,
    name::LockName,
    refusal::Refusal,
    request::Ask,
    table::{Held, Table},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How many locks are remembered that nobody holds here.
const MOST_TOLD: usize = 10_000;

/// How many of one lock. Ends of its leases are told by several tasks, so not always in their order.
const MOST_TOLD_OF_ONE: usize = 16;

/// When what could not be done is tried again.
const SOON: Duration = Duration::from_secs(1);

/// How long there is nothing to do where nobody holds a lock.
const LATER: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct Known {
    /// The leases, and who waits for one.
    pub table: Table,
    next_call: u64,
    /// Leases whose holder asked for more time and was not answered, by token.
    unsure: HashMap<LockName, u64>,
    /// Leases that are over for their holder, which the server may still have.
    given_up: HashMap<LockName, Arc<Lease>>,
    /// The last leases of a lock whose ends were told or are about to be, by token.
    told: HashMap<LockName, VecDeque<u64>>,
    /// The greatest token under which a lock was said to be taken.
    begun: HashMap<LockName, u64>,
    /// Tokens that are registered, as of when this host last looked.
    registered: HashMap<LockName, u64>,
    /// Ends that the store did not take yet, with the token to register.
    pub owed: Vec<(Event, Option<u64>)>,
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

impl Known {
    /// Counts a call that wants a lock, until it leaves.
    ///
    /// # Errors
    /// `TooMany`.
    pub fn join(
        &mut self,
        name: &LockName,
        ask: &Ask,
        until: Duration,
        rules: &Rules,
    ) -> Result<u64, Refusal> {
        let enters_again = self.table.get(name).is_some_and(|held| held.lease.session == ask.session);
        if !enters_again && self.table.n_of_user(name, &ask.user_id) >= i64::from(rules.max_per_user) {
            return Err(Refusal::TooMany { most: rules.max_per_user });
        }
        self.next_call += 1;
        let waiter = Waiter { call: self.next_call, name: name.clone(), ask: ask.clone(), until };
        self.table.lines.join(Arc::new(waiter));
        Ok(self.next_call)
    }

    /// The lease of a lock, if it was granted here and is not known to have ended.
    pub fn lease(&self, name: &LockName) -> Option<Arc<Lease>> {
        self.table.get(name).map(|held| held.lease.clone())
    }

    /// What a session was granted here.
    pub fn of_session(&self, session: &str) -> Vec<(LockName, Arc<Lease>)> {
        self.table.of_session(session).filter_map(|name| Some((name.clone(), self.lease(name)?))).collect()
    }

    /// Takes over what the store now has.
    pub fn set(&mut self, name: &LockName, held: Option<Held>) {
        self.table.set(name, held);
        self.unsure.remove(name);
    }

    /// A lease lasts longer, or is held more or less often.
    pub fn update(&mut self, name: &LockName, lease: &Arc<Lease>) {
        if let Some(held) = self.table.get(name).filter(|held| held.lease.token == lease.token) {
            let held = Held { lease: lease.clone(), stored: held.stored.clone() };
            self.set(name, Some(held));
        }
    }

    /// A lease has ended, and no earlier one is in force either.
    pub fn ended(&mut self, name: &LockName, token: u64) {
        if self.table.get(name).is_some_and(|held| held.lease.token <= token) {
            self.table.set(name, None);
        }
        if self.unsure.get(name).is_some_and(|unsure| *unsure <= token) {
            self.unsure.remove(name);
        }
    }

    /// Whether the end of a lease has yet to be told. Whoever hears yes tells it, and nobody else hears that again. Another
    /// program's lock has no token, and so no number by which its end could be known again.
    pub fn claim(&mut self, name: &LockName, token: u64) -> bool {
        if token == 0 {
            return true;
        }
        if self.is_told(name, token) {
            return false;
        }
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        let told = self.told.entry(name.clone()).or_default();
        if told.len() >= MOST_TOLD_OF_ONE {
            told.pop_front();
        }
        told.push_back(token);
        true
    }

    /// Whether the end of a lease was told, or is about to be.
    pub fn is_told(&self, name: &LockName, token: u64) -> bool {
        self.told.get(name).is_some_and(|told| told.contains(&token))
    }

    /// A new lease was granted, of which nobody has heard yet. A server that has forgotten everything may give a token once
    /// more, and then the end of that lease has yet to be told.
    pub fn granted(&mut self, name: &LockName, token: u64) {
        let is_new = self.registered(name).is_none_or(|registered| registered < token);
        if let Some(told) = self.told.get_mut(name).filter(|_| is_new) {
            told.retain(|told| *told != token);
        }
    }

    /// A lease is said to begin.
    pub fn begins(&mut self, name: &LockName, token: u64) {
        if self.begun.len() >= MOST_TOLD {
            self.begun.clear();
        }
        self.begun.insert(name.clone(), token);
    }

    /// Takes in what another host says: whether it is news. Messages may come late: a lock that was taken again is not free
    /// because an earlier lease of it ended, and none is taken under a token that is over.
    pub fn hears(&mut self, event: &Event) -> bool {
        let (name, token) = (&event.name, event.lease.token);
        let begun = self.begun.get(name).copied().unwrap_or(0);
        let held = self.table.get(name).map_or(0, |held| held.lease.token);
        if event.what == What::Acquired {
            let is_news = token > begun && token >= held && !self.is_told(name, token);
            if is_news {
                self.begins(name, token);
            }
            return is_news;
        }
        let latest = if token == 0 { held } else { held.max(begun) };
        let is_news = token >= latest && self.claim(name, token);
        if is_news {
            self.ended(name, token);
        }
        is_news
    }

    /// Takes what is owed of a lock and needs no token registered, for whoever commits something about it anyway.
    pub fn take_owed(&mut self, name: &LockName) -> Vec<(Event, Option<u64>)> {
        self.owed.extract_if(.., |(event, token)| event.name == *name && token.is_none()).collect()
    }

    pub fn note_registered(&mut self, name: &LockName, token: u64) {
        if self.registered.len() >= MOST_TOLD {
            self.registered.clear();
        }
        self.registered.insert(name.clone(), token);
    }

    /// What was registered when this host last looked; it may be more by now.
    pub fn registered(&self, name: &LockName) -> Option<u64> {
        self.registered.get(name).copied()
    }

    /// The holder asked for more time, and the server did not answer.
    pub fn unanswered(&mut self, name: &LockName, token: u64) {
        if self.table.get(name).is_some_and(|held| held.lease.token == token) {
            self.unsure.insert(name.clone(), token);
        }
    }

    /// Whether that is so still.
    pub fn is_unanswered(&self, name: &LockName, token: u64) -> bool {
        self.unsure.get(name) == Some(&token)
    }

    /// A lease is over for its holder, and the server may still have it.
    pub fn give_up(&mut self, name: &LockName, lease: Arc<Lease>) {
        self.given_up.insert(name.clone(), lease);
    }

    /// Whether a lease is over for its holder, whatever the server says.
    pub fn is_given_up(&self, name: &LockName, token: u64) -> bool {
        self.given_up.get(name).is_some_and(|lease| lease.token == token)
    }

    /// Whether a lease is no more, although the server may say that it has it.
    pub fn is_over(&self, name: &LockName, token: u64) -> bool {
        self.is_given_up(name, token) || self.is_told(name, token)
    }

    /// The server has it no more.
    pub fn is_returned(&mut self, name: &LockName, token: u64) {
        if self.is_given_up(name, token) {
            self.given_up.remove(name);
        }
    }

    /// How long until something is due.
    pub fn idle_for(&self, now: Duration) -> Duration {
        let unsure = self.unsure.keys().filter_map(|name| Some(given_up_at(&self.table.get(name)?.lease)));
        let first = unsure.chain(self.table.first_end()).min();
        let again = (!self.owed.is_empty() || !self.given_up.is_empty()).then_some(SOON);
        let wait = first.map(|first| first.saturating_sub(now));
        wait.into_iter().chain(again).min().unwrap_or(LATER)
    }

    /// What is due.
    pub fn due(&self, now: Duration) -> Vec<Due> {
        let unsure = self.unsure.keys().filter_map(|name| Some((name, self.lease(name)?)));
        let unsure = unsure.filter(|(_, lease)| given_up_at(lease) <= now);
        let mut due: Vec<Due> = Vec::from_iter((!self.owed.is_empty()).then_some(Due::Owed));
        due.extend(unsure.map(|(name, lease)| Due::Unanswered(name.clone(), lease)));
        let ended = self.table.ended(now).filter(|name| !self.unsure.contains_key(name));
        due.extend(ended.filter_map(|name| Some(Due::Ended(name.clone(), self.lease(name)?))));
        due.extend(self.given_up.iter().map(|(name, lease)| Due::GivenUp(name.clone(), lease.clone())));
        due
    }
}

/// When a holder that is not answered has to take its lease for lost: some time before it ends at the server.
fn given_up_at(lease: &Lease) -> Duration {
    lease.ends.saturating_sub(lease.ttl() / 10)
}

#[cfg(test)]
#[path = "known/tests.rs"]
mod tests;

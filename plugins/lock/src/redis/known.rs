//! What this host remembers of the leases that it granted: their ends, whose they are, and what is still to be done about
//! them.

use super::recent::Recent;
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
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How many ends of one lock's leases are remembered: they are not always told in their order.
const MOST_TOLD_OF_ONE: usize = 16;

/// How long there is nothing to do where nobody holds a lock.
const LATER: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub struct Known {
    /// The leases, and who waits for one.
    pub table: Table,
    next_call: u64,
    /// Leases whose holder asked for more time and was not answered, by token.
    unsure: HashMap<LockName, u64>,
    /// Leases whose end somebody sees to just now.
    in_hand: HashSet<LockName>,
    /// Leases that are over for their holder, which the server may still have, and how that was told; nothing if nobody was
    /// told that they began.
    given_up: HashMap<LockName, (Arc<Lease>, Option<What>)>,
    /// The last leases of a lock whose ends were told or are about to be, by token.
    told: Recent<VecDeque<u64>>,
    /// The greatest token under which a lock was said to be taken.
    begun: Recent<u64>,
    /// Tokens that are registered, as of when this host last looked.
    registered: Recent<u64>,
    /// Ends that the store did not take yet, with the token to register.
    pub owed: Vec<(Event, Option<u64>)>,
}

/// What has to be done because time goes on, or because it could not be done before.
#[derive(Debug, Clone)]
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
        let told = self.told.entry(name);
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

    /// A lease is said to begin.
    pub fn begins(&mut self, name: &LockName, token: u64) {
        let begun = self.begun.entry(name);
        *begun = token.max(*begun);
    }

    /// The greatest token under which a lock was said to be taken; 0 if it never was.
    pub fn begun(&self, name: &LockName) -> u64 {
        self.begun.get(name).copied().unwrap_or(0)
    }

    /// Whether subscribers are told of the end of a lease: not if they were told of a later one, which it would seem to end.
    /// What another program had has no token.
    pub fn is_latest(&self, name: &LockName, token: u64) -> bool {
        token == 0 || token >= self.begun(name)
    }

    /// Takes in what another host says: whether it is news. Messages may come late: a lock that was taken again is not free
    /// because an earlier lease of it ended, and none is taken under a token that is over.
    pub fn hears(&mut self, event: &Event) -> bool {
        let (name, token) = (&event.name, event.lease.token);
        let begun = self.begun(name);
        let held = self.table.get(name).map_or(0, |held| held.lease.token);
        if event.what == What::Acquired {
            let is_news = token > begun && token >= held && !self.is_told(name, token);
            if is_news {
                self.begins(name, token);
            }
            return is_news;
        }
        let latest = if token == 0 { held } else { held.max(begun) };
        self.ended(name, token);
        token >= latest && self.claim(name, token)
    }

    /// Takes what is owed of a lock, for whoever commits something about it anyway.
    pub fn take_owed(&mut self, name: &LockName) -> Vec<(Event, Option<u64>)> {
        self.owed.extract_if(.., |(event, _)| event.name == *name).collect()
    }

    pub fn note_registered(&mut self, name: &LockName, token: u64) {
        *self.registered.entry(name) = token;
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

    /// Whether the holder could not be told in time that it holds a lease still.
    pub fn is_lost(&self, name: &LockName, token: u64, now: Duration) -> bool {
        self.is_unanswered(name, token) && self.lease(name).is_some_and(|lease| given_up_at(&lease) <= now)
    }

    /// A lease is over for its holder, and the server may still have it; how that is told.
    pub fn give_up(&mut self, name: &LockName, lease: Arc<Lease>, what: Option<What>) {
        self.given_up.insert(name.clone(), (lease, what));
    }

    /// Whether a lease is over for its holder, whatever the server says.
    pub fn is_given_up(&self, name: &LockName, token: u64) -> bool {
        self.given_up.get(name).is_some_and(|(lease, _)| lease.token == token)
    }

    /// How it was told that a lease is over; nothing if it was not.
    pub fn how_it_ended(&self, name: &LockName, token: u64) -> Option<What> {
        let given_up = self.given_up.get(name).filter(|(lease, _)| lease.token == token);
        let told = given_up.and_then(|(_, what)| what.clone());
        told.or_else(|| self.is_told(name, token).then_some(What::Lost))
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
        let unsure = self.unsure.keys().filter(|name| !self.in_hand.contains(*name));
        let unsure = unsure.filter_map(|name| Some(given_up_at(&self.table.get(name)?.lease)));
        let mut ends = self.table.ends();
        let end = ends.find(|(_, name)| !self.in_hand.contains(*name)).map(|(ends, _)| ends);
        unsure.chain(end).min().map_or(LATER, |first| first.saturating_sub(now))
    }

    /// What is due and nobody sees to.
    pub fn due(&self, now: Duration) -> Vec<Due> {
        let unsure = self.unsure.keys().filter_map(|name| Some((name, self.lease(name)?)));
        let unsure = unsure.filter(|(_, lease)| given_up_at(lease) <= now);
        let unsure = unsure.map(|(name, lease)| Due::Unanswered(name.clone(), lease));
        let ended = self.table.ended(now).filter(|name| !self.unsure.contains_key(name));
        let ended = ended.filter_map(|name| Some(Due::Ended(name.clone(), self.lease(name)?)));
        unsure.chain(ended).filter(|due| due.name().is_none_or(|name| !self.in_hand.contains(name))).collect()
    }

    /// The same, and from now on somebody sees to it, until it is [done](Self::is_done).
    pub fn take_due(&mut self, now: Duration) -> Vec<Due> {
        let due = self.due(now);
        self.in_hand.extend(due.iter().filter_map(Due::name).cloned());
        due
    }

    /// Nobody sees to the end of this lock's lease any more.
    pub fn is_done(&mut self, name: &LockName) {
        self.in_hand.remove(name);
    }

    /// Whether something could not be done.
    pub fn has_left(&self) -> bool {
        !self.owed.is_empty() || !self.given_up.is_empty()
    }

    /// What could not be done.
    pub fn left(&self) -> Vec<Due> {
        let owed = (!self.owed.is_empty()).then_some(Due::Owed);
        let given_up =
            self.given_up.iter().map(|(name, (lease, _))| Due::GivenUp(name.clone(), lease.clone()));
        owed.into_iter().chain(given_up).collect()
    }
}

impl Due {
    /// The lock that it is about, if it is about one.
    pub fn name(&self) -> Option<&LockName> {
        match self {
            Self::Ended(name, _) | Self::Unanswered(name, _) | Self::GivenUp(name, _) => Some(name),
            Self::Owed => None,
        }
    }
}

/// When a holder that is not answered has to take its lease for lost: some time before it ends at the server.
fn given_up_at(lease: &Lease) -> Duration {
    lease.ends.saturating_sub(lease.ttl() / 10)
}

#[cfg(test)]
#[path = "known/tests.rs"]
mod tests;

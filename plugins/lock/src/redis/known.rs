//! What this host remembers of the leases that it granted: their ends, whose they are, and what is still to be done about
//! them.

use crate::{
    config::Rules,
    event::Event,
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
    /// The last leases of a lock whose ends were told, by token.
    told: HashMap<LockName, VecDeque<u64>>,
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
        if !enters_again && self.table.n_of_user(&ask.user_id) >= rules.max_per_user as usize {
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
        self.unsure.remove(name);
        self.note_told(name, token);
    }

    fn note_told(&mut self, name: &LockName, token: u64) {
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        if token == 0 {
            return;
        }
        let told = self.told.entry(name.clone()).or_default();
        if told.len() >= MOST_TOLD_OF_ONE {
            told.pop_front();
        }
        told.push_back(token);
    }

    /// Whether the end of a lease was told. Another program's lock has no token, and so no number by which its end could be
    /// known again.
    pub fn is_told(&self, name: &LockName, token: u64) -> bool {
        token > 0 && self.told.get(name).is_some_and(|told| told.contains(&token))
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

    /// The server has it no more.
    pub fn is_returned(&mut self, name: &LockName) {
        self.given_up.remove(name);
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
        let mut due: Vec<Due> = unsure.map(|(name, lease)| Due::Unanswered(name.clone(), lease)).collect();
        let ended = self.table.ended(now).filter(|name| !self.unsure.contains_key(name));
        due.extend(ended.filter_map(|name| Some(Due::Ended(name.clone(), self.lease(name)?))));
        due.extend(self.given_up.iter().map(|(name, lease)| Due::GivenUp(name.clone(), lease.clone())));
        due.extend((!self.owed.is_empty()).then_some(Due::Owed));
        due
    }
}

/// When a holder that is not answered has to take its lease for lost: some time before it ends at the server.
fn given_up_at(lease: &Lease) -> Duration {
    lease.ends.saturating_sub(lease.ttl() / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Now, lease::tests::lease};

    /// Knows of one lease, with this token, that lasts from 0 to 60 s.
    fn known(token: u64) -> (Known, LockName) {
        let (mut known, name) = (Known::default(), LockName::new(None, "app.x").expect("a name"));
        let lease = Arc::new(lease("s1", token, Now { mono: Duration::ZERO, wall_us: 0 }));
        known.set(&name, Some(Held { stored: lease.to_stored(), lease }));
        (known, name)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_is_due_at_its_end_and_earlier_if_its_holder_was_not_answered() {
        let (mut known, name) = known(7);
        assert_eq!((known.idle_for(at(10)), known.due(at(59)).len()), (at(50), 0));
        assert!(matches!(known.due(at(60))[..], [Due::Ended(..)]));
        known.unanswered(&name, 6);
        assert_eq!(known.idle_for(at(10)), at(50), "an answer about an earlier lease");
        known.unanswered(&name, 7);
        assert_eq!((known.idle_for(at(10)), known.due(at(53)).len()), (at(44), 0));
        assert!(matches!(known.due(at(54))[..], [Due::Unanswered(..)]));
        let lease = known.lease(&name).expect("a lease");
        known.update(&name, &lease);
        assert_eq!(known.idle_for(at(10)), at(50), "it was answered after all");
    }

    #[test]
    fn an_end_is_told_once_and_takes_no_later_lease_with_it() {
        let (mut known, name) = known(7);
        known.ended(&name, 6);
        assert!(known.lease(&name).is_some() && known.is_told(&name, 6) && !known.is_told(&name, 7));
        known.ended(&name, 7);
        assert!(known.lease(&name).is_none() && known.is_told(&name, 7));
        assert!(!known.is_told(&name, 0), "what has no token is told each time");
    }

    #[test]
    fn the_end_of_a_lease_is_news_although_that_of_a_later_one_was_told() {
        let (mut known, name) = known(7);
        // Given back here; taken and given back elsewhere, of which this host hears before it has written its own down.
        known.ended(&name, 8);
        assert!(known.is_told(&name, 8) && !known.is_told(&name, 7));
        (9..100).for_each(|token| known.ended(&name, token));
        assert_eq!(known.told[&name].len(), MOST_TOLD_OF_ONE);
    }

    #[test]
    fn what_was_given_up_is_so_until_the_server_has_it_no_more() {
        let (mut known, name) = known(7);
        let lease = known.lease(&name).expect("a lease");
        known.give_up(&name, lease);
        known.ended(&name, 7);
        assert!(known.is_given_up(&name, 7) && !known.is_given_up(&name, 8));
        assert!(matches!(known.due(at(1))[..], [Due::GivenUp(..)]));
        assert_eq!(known.idle_for(at(1)), SOON);
        known.is_returned(&name);
        assert_eq!((known.idle_for(at(1)), known.due(at(100)).len()), (LATER, 0));
    }
}

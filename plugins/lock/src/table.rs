//! What is held and who waits: the store's leases, found by name, by end, by session and by user.
//!
//! Invariant: it holds what is committed, never what a round is still deciding; that is a [`Draft`](crate::embedded::draft::Draft).

use crate::{lease::Lease, line::Lines, name::LockName, owners::Owners};
use lockstep_plugin_api::Bytes;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

/// The committed leases, and the calls that wait.
#[derive(Debug, Default)]
pub struct Table {
    held: HashMap<LockName, Held>,
    ends: BTreeSet<(Duration, LockName)>,
    sessions: HashMap<String, BTreeSet<LockName>>,
    owners: Owners,
    pub lines: Lines,
}

/// A lease beside the very bytes that the store has, which a commit expects to find there.
#[derive(Debug, Clone)]
pub struct Held {
    pub lease: Arc<Lease>,
    pub stored: Bytes,
}

impl Table {
    pub fn get(&self, name: &LockName) -> Option<&Held> {
        self.held.get(name)
    }

    /// Takes over what the store now has under this name.
    pub fn set(&mut self, name: &LockName, held: Option<Held>) {
        if let Some(before) = self.held.remove(name) {
            self.forget(name, &before.lease);
        }
        let Some(held) = held else { return };
        let lease = &held.lease;
        self.ends.insert((lease.ends, name.clone()));
        // Looked up before it is inserted: a session mostly has an entry, and needs no new text.
        match self.sessions.get_mut(&lease.session) {
            Some(names) => drop(names.insert(name.clone())),
            None => drop(self.sessions.insert(lease.session.clone(), BTreeSet::from([name.clone()]))),
        }
        self.owners.add(name, &lease.user_id, 1);
        self.held.insert(name.clone(), held);
    }

    fn forget(&mut self, name: &LockName, lease: &Lease) {
        self.ends.remove(&(lease.ends, name.clone()));
        if let Some(names) = self.sessions.get_mut(&lease.session) {
            names.remove(name);
            if names.is_empty() {
                self.sessions.remove(&lease.session);
            }
        }
        self.owners.add(name, &lease.user_id, -1);
    }

    /// The leases that have ended, the earliest first.
    pub fn ended(&self, mono: Duration) -> impl Iterator<Item = &LockName> {
        self.ends.iter().take_while(move |(ends, _)| *ends <= mono).map(|(_, name)| name)
    }

    /// When each lease ends, the earliest first.
    pub fn ends(&self) -> impl Iterator<Item = (Duration, &LockName)> {
        self.ends.iter().map(|(ends, name)| (*ends, name))
    }

    /// What a session holds.
    pub fn of_session(&self, session: &str) -> impl Iterator<Item = &LockName> {
        self.sessions.get(session).into_iter().flatten()
    }

    /// How many locks of a lock's tenant a user holds or waits for.
    pub fn n_of_user(&self, name: &LockName, user_id: &str) -> i64 {
        self.owners.of(name, user_id) + self.lines.n_of_user(name, user_id)
    }

    /// Every lease, in no order.
    pub fn leases(&self) -> impl ExactSizeIterator<Item = (&LockName, &Arc<Lease>)> {
        self.held.iter().map(|(name, held)| (name, &held.lease))
    }

    /// When the first lease ends by itself.
    pub fn first_end(&self) -> Option<Duration> {
        self.ends.first().map(|(ends, _)| *ends)
    }

    /// When something ends by itself: a lease, or somebody's patience.
    pub fn first_deadline(&self) -> Option<Duration> {
        self.first_end().into_iter().chain(self.lines.first_deadline()).min()
    }
}

//! Who waits for which lock, first come first served.

use crate::{name::LockName, owners::Owners, request::Ask};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// A call that waits for a lock.
#[derive(Debug)]
pub struct Waiter {
    pub call: u64,
    pub name: LockName,
    pub ask: Ask,
    /// How long it waits, on the monotonic clock.
    pub until: Duration,
}

/// One line per lock that is waited for.
#[derive(Debug, Default)]
pub struct Lines {
    waiters: HashMap<u64, Arc<Waiter>>,
    lines: HashMap<LockName, VecDeque<u64>>,
    deadlines: BTreeSet<(Duration, u64)>,
    owners: Owners,
}

impl Lines {
    /// Puts a call at the end of its lock's line.
    pub fn join(&mut self, waiter: Arc<Waiter>) {
        self.lines.entry(waiter.name.clone()).or_default().push_back(waiter.call);
        self.deadlines.insert((waiter.until, waiter.call));
        self.owners.add(&waiter.name, &waiter.ask.user_id, 1);
        self.waiters.insert(waiter.call, waiter);
    }

    /// Takes a call out, wherever it stands.
    pub fn leave(&mut self, call: u64) {
        let Some(waiter) = self.waiters.remove(&call) else { return };
        self.deadlines.remove(&(waiter.until, call));
        if let Some(line) = self.lines.get_mut(&waiter.name) {
            line.retain(|waiting| *waiting != call);
            if line.is_empty() {
                self.lines.remove(&waiter.name);
            }
        }
        self.owners.add(&waiter.name, &waiter.ask.user_id, -1);
    }

    /// The line of one lock, from its head.
    pub fn of<'a>(&'a self, name: &LockName) -> impl Iterator<Item = &'a Arc<Waiter>> {
        self.lines.get(name).into_iter().flatten().filter_map(|call| self.waiters.get(call))
    }

    /// Every call of one session.
    pub fn of_session<'a>(&'a self, session: &'a str) -> impl Iterator<Item = &'a Arc<Waiter>> {
        self.waiters.values().filter(move |waiter| waiter.ask.session == session)
    }

    /// The calls that have waited long enough.
    pub fn due(&self, mono: Duration) -> impl Iterator<Item = &Arc<Waiter>> {
        let due = self.deadlines.range(..=(mono, u64::MAX));
        due.filter_map(|(_, call)| self.waiters.get(call))
    }

    pub fn first_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub fn n_of_user(&self, name: &LockName, user_id: &str) -> i64 {
        self.owners.of(name, user_id)
    }

    pub fn len(&self) -> usize {
        self.waiters.len()
    }
}

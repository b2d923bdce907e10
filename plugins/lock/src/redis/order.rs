//! Who has the word about a lock: whoever decides what is told of it has committed that before anybody else decides.
//!
//! Invariant: whoever has the word about some locks waits for no other one, so nobody waits for ever.

use crate::name::LockName;
use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// The locks that somebody has the word about.
#[derive(Debug, Default)]
pub struct Order {
    taken: Mutex<HashSet<LockName>>,
    given_back: Condvar,
}

/// The word about some locks, until it is dropped.
#[derive(Debug)]
pub struct Word<'a> {
    order: &'a Order,
    about: Vec<LockName>,
}

impl Order {
    fn taken(&self) -> MutexGuard<'_, HashSet<LockName>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the word about a lock. Blocks the thread, for as long as a commit takes.
    pub fn take(&self, name: &LockName) -> Word<'_> {
        self.take_some(&[name])
    }

    /// Waits for the word about at least one of some locks, and takes it about as many as there are.
    pub fn take_some(&self, names: &[&LockName]) -> Word<'_> {
        let mut taken = self.taken();
        loop {
            let about = Vec::from_iter(names.iter().filter(|name| !taken.contains(**name)).copied().cloned());
            if !about.is_empty() || names.is_empty() {
                taken.extend(about.iter().cloned());
                return Word { order: self, about };
            }
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Word<'_> {
    pub fn is_about(&self, name: &LockName) -> bool {
        self.about.contains(name)
    }
}

impl Drop for Word<'_> {
    fn drop(&mut self) {
        let mut taken = self.order.taken();
        taken.retain(|name| !self.about.contains(name));
        drop(taken);
        self.order.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc::sync_channel, thread, time::Duration};

    #[test]
    fn whoever_wants_the_word_waits_for_it_and_takes_what_is_free() {
        let [one, two] = ["app.x", "app.y"].map(|key| LockName::new(None, key).expect("a name"));
        let order = Order::default();
        let word = order.take(&one);
        let some = order.take_some(&[&one, &two]);
        assert!(some.is_about(&two) && !some.is_about(&one));
        let (tell, told) = sync_channel(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                let _word = order.take_some(&[&one, &two]);
                tell.send(()).expect("somebody waits");
            });
            assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "others have the word");
            drop(word);
            told.recv().expect("it is free");
        });
    }
}

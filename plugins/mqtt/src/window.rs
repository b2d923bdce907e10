//! Which publish an acknowledgement is about.
//!
//! Invariant: an answer is given for a publish only if the broker has acknowledged that very publish, on the connection it
//! was sent on. Packet ids are given here, used again only when they are free, and void with the connection: a window
//! belongs to one connection, and what is unanswered when that ends is sent again on the next.

use crate::packet::Refusal;
use std::collections::{BTreeMap, HashMap};

/// The publishes on their way over one connection; `T` names what was published.
#[derive(Debug)]
pub(crate) struct Window<T> {
    last_id: u16,
    /// Grows by one from publish to publish.
    last_number: u64,
    by_id: HashMap<u16, u64>,
    /// Unanswered, oldest first.
    under_way: BTreeMap<u64, UnderWay<T>>,
}

#[derive(Debug)]
struct UnderWay<T> {
    what: T,
    id: u16,
    /// PUBREC came and PUBREL went: the broker has it, and says so with PUBCOMP.
    is_released: bool,
}

/// What an acknowledgement means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered<T> {
    /// The broker has it, or refuses it.
    Done(T, Option<Refusal>),
    /// The broker has it and waits to be told that it may forget the id.
    Release,
    /// Nothing is on its way under this id.
    Unknown,
}

impl<T> Window<T> {
    pub(crate) fn new() -> Self {
        Self { last_id: 0, last_number: 0, by_id: HashMap::new(), under_way: BTreeMap::new() }
    }

    /// How many are unanswered.
    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// The one that has waited longest.
    pub(crate) fn oldest(&self) -> Option<&T> {
        self.under_way.first_key_value().map(|(_, oldest)| &oldest.what)
    }

    /// Everything that is unanswered, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.under_way.values().map(|under_way| &under_way.what)
    }

    /// Gives a publish its id.
    ///
    /// # Panics
    /// If 65,535 are unanswered.
    pub(crate) fn publish(&mut self, what: T) -> u16 {
        assert!(self.len() < usize::from(u16::MAX), "a window is never that wide");
        let id = self.free_id();
        self.last_id = id;
        self.last_number += 1;
        self.by_id.insert(id, self.last_number);
        self.under_way.insert(self.last_number, UnderWay { what, id, is_released: false });
        id
    }

    fn free_id(&self) -> u16 {
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }

    /// PUBACK.
    pub(crate) fn acked(&mut self, id: u16, refusal: Option<Refusal>) -> Answered<T> {
        self.done(id, refusal)
    }

    /// PUBREC.
    pub(crate) fn received(&mut self, id: u16, refusal: Option<Refusal>) -> Answered<T> {
        if refusal.is_some() {
            return self.done(id, refusal);
        }
        let number = self.by_id.get(&id);
        match number.and_then(|number| self.under_way.get_mut(number)) {
            Some(under_way) => {
                under_way.is_released = true;
                Answered::Release
            }
            None => Answered::Unknown,
        }
    }

    /// PUBCOMP.
    pub(crate) fn completed(&mut self, id: u16) -> Answered<T> {
        let number = self.by_id.get(&id);
        match number.and_then(|number| self.under_way.get(number)) {
            Some(under_way) if under_way.is_released => self.done(id, None),
            _ => Answered::Unknown,
        }
    }

    fn done(&mut self, id: u16, refusal: Option<Refusal>) -> Answered<T> {
        let number = self.by_id.remove(&id);
        match number.and_then(|number| self.under_way.remove(&number)) {
            Some(UnderWay { what, id: own, .. }) => {
                debug_assert_eq!(own, id);
                Answered::Done(what, refusal)
            }
            None => Answered::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    //! A broker that takes what it reads, acknowledges in an order of its own, and whose connection is cut anywhere.
    //!
    //! The witness is what the broker has taken; nobody else may say that something was published.

    use super::*;
    use proptest::{prelude::*, strategy::ValueTree};
    use std::collections::{BTreeSet, VecDeque};

    /// Who says which publish an acknowledgement is about.
    trait Mapping {
        fn publish(&mut self, what: u32) -> u16;
        fn acked(&mut self, id: u16) -> Option<u32>;
        /// What has to be published again.
        fn cut(&mut self, unanswered: &BTreeSet<u32>) -> Vec<u32>;
    }

    struct Ours(Window<u32>);
    impl Mapping for Ours {
        fn publish(&mut self, what: u32) -> u16 {
            self.0.publish(what)
        }
        fn acked(&mut self, id: u16) -> Option<u32> {
            match self.0.acked(id, None) {
                Answered::Done(what, None) => Some(what),
                _ => None,
            }
        }
        fn cut(&mut self, unanswered: &BTreeSet<u32>) -> Vec<u32> {
            self.0 = Window::new();
            unanswered.iter().copied().collect()
        }
    }

    /// The obvious one: tokens wait in a queue, each acknowledgement answers the one in front, and a client library sends
    /// again by itself what it thinks is unacknowledged.
    struct Naive {
        tokens: VecDeque<u32>,
        last_id: u16,
    }
    impl Mapping for Naive {
        fn publish(&mut self, what: u32) -> u16 {
            self.tokens.push_back(what);
            self.last_id = self.last_id % 10 + 1;
            self.last_id
        }
        fn acked(&mut self, _id: u16) -> Option<u32> {
            self.tokens.pop_front()
        }
        fn cut(&mut self, _unanswered: &BTreeSet<u32>) -> Vec<u32> {
            Vec::new()
        }
    }

    /// How many publishes are said to be done that the broker has not taken, and how many are never said to be.
    fn run(mapping: &mut dyn Mapping, steps: &[(u8, u8)]) -> (usize, usize) {
        let mut next = 0;
        let (mut to_broker, mut acks) = (VecDeque::new(), Vec::new());
        let (mut taken, mut unanswered, mut n_false) = (BTreeSet::new(), BTreeSet::new(), 0);
        let heard = |mapping: &mut dyn Mapping, id, taken: &BTreeSet<u32>, unanswered: &mut BTreeSet<u32>| {
            let what = mapping.acked(id);
            what.is_some_and(|what| unanswered.remove(&what) && !taken.contains(&what))
        };
        for (step, choice) in steps {
            match step % 8 {
                0..=2 if unanswered.len() < 10 => {
                    unanswered.insert(next);
                    to_broker.push_back((mapping.publish(next), next));
                    next += 1;
                }
                3 | 4 => {
                    if let Some((id, what)) = to_broker.pop_front() {
                        taken.insert(what);
                        acks.push(id);
                    }
                }
                5 | 6 if !acks.is_empty() => {
                    let id = acks.swap_remove(usize::from(*choice) % acks.len());
                    n_false += usize::from(heard(mapping, id, &taken, &mut unanswered));
                }
                7 if *choice < 64 => {
                    to_broker.clear();
                    acks.clear();
                    for what in mapping.cut(&unanswered) {
                        to_broker.push_back((mapping.publish(what), what));
                    }
                }
                _ => {}
            }
        }
        // A connection that lasts: everything arrives, everything is acknowledged.
        for (id, what) in to_broker {
            taken.insert(what);
            acks.push(id);
        }
        for id in acks {
            n_false += usize::from(heard(mapping, id, &taken, &mut unanswered));
        }
        (n_false, unanswered.len())
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, u8)>> {
        prop::collection::vec((any::<u8>(), any::<u8>()), 0..400)
    }

    proptest! {
        #[test]
        fn nothing_is_said_to_be_published_that_the_broker_has_not_taken(steps in steps()) {
            prop_assert_eq!(run(&mut Ours(Window::new()), &steps), (0, 0));
        }
    }

    #[test]
    fn the_obvious_mapping_answers_falsely() {
        let mut random = proptest::test_runner::TestRunner::deterministic();
        let n_false: usize = (0..100)
            .map(|_| {
                let steps = steps().new_tree(&mut random).expect("steps").current();
                run(&mut Naive { tokens: VecDeque::new(), last_id: 0 }, &steps).0
            })
            .sum();
        assert!(n_false > 0, "the test above would not notice");
    }

    #[test]
    fn an_id_is_used_again_only_when_it_is_free() {
        let mut window = Window::new();
        assert_eq!((window.publish(0), window.publish(1)), (1, 2));
        for what in 2..u32::from(u16::MAX) {
            let id = window.publish(what);
            assert_eq!(window.acked(id, None), Answered::Done(what, None));
        }
        assert_eq!(window.publish(9), 3, "1 and 2 are on their way");
        assert_eq!((window.len(), window.oldest()), (3, Some(&0)));
    }

    #[test]
    fn exactly_once_is_done_when_it_is_complete() {
        let mut window = Window::new();
        let id = window.publish("a");
        assert_eq!(window.completed(id), Answered::Unknown, "it was not released");
        assert_eq!(window.received(id, None), Answered::Release);
        assert_eq!(window.received(id, None), Answered::Release, "the broker repeats itself");
        assert_eq!(window.completed(id), Answered::Done("a", None));
        assert_eq!(window.completed(id), Answered::Unknown);
        let id = window.publish("b");
        let refused = window.received(id, Some(Refusal::NotAuthorized));
        assert_eq!(refused, Answered::Done("b", Some(Refusal::NotAuthorized)));
    }
}

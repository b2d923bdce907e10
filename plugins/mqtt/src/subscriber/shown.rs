//! What the snapshot of a connection has shown, so that live messages which it was ahead of still count in their order.
//!
//! Two connections have no common order: the snapshot may show the second of two messages that come live after it. The
//! first then stands last, and the second is no repeat of what was shown, but what the topic says again.

use crate::packet::Message;
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
};

/// Payloads by topic, as hashes: there are as many as the broker retains.
#[derive(Debug, Default)]
pub(super) struct Shown {
    hasher: RandomState,
    by_topic: HashMap<u64, Payload>,
}

#[derive(Debug)]
struct Payload {
    hash: u64,
    /// Something else of the topic has been handed over since.
    is_replaced: bool,
}

impl Shown {
    /// The snapshot shows this message.
    pub(super) fn show(&mut self, message: &Message) {
        let hash = self.hasher.hash_one(&message.payload);
        let topic = self.hasher.hash_one(&message.topic);
        self.by_topic.insert(topic, Payload { hash, is_replaced: false });
    }

    /// This message is handed over live, after the snapshot.
    pub(super) fn follow(&mut self, message: &mut Message) {
        if self.by_topic.is_empty() {
            return;
        }
        let Entry::Occupied(mut shown) = self.by_topic.entry(self.hasher.hash_one(&message.topic)) else {
            return;
        };
        if shown.get().hash == self.hasher.hash_one(&message.payload) {
            message.is_said_again = shown.remove().is_replaced;
        } else {
            shown.get_mut().is_replaced = true;
        }
    }

    /// Everything has come that the snapshot was ahead of.
    pub(super) fn forget(&mut self) {
        self.by_topic = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, payload: &'static str) -> Message {
        Message {
            topic: topic.into(),
            payload: bytes::Bytes::from_static(payload.as_bytes()),
            ack: None,
            is_retained: false,
            is_said_again: false,
            properties: Vec::new(),
            content_type: None,
        }
    }

    fn is_said_again(shown: &mut Shown, topic: &str, payload: &'static str) -> bool {
        let mut message = message(topic, payload);
        shown.follow(&mut message);
        message.is_said_again
    }

    #[test]
    fn what_was_shown_ahead_of_another_message_is_said_again_when_its_turn_comes() {
        let mut shown = Shown::default();
        shown.show(&message("a", "2"));
        shown.show(&message("b", "2"));
        assert!(!is_said_again(&mut shown, "a", "1"));
        assert!(!is_said_again(&mut shown, "b", "2"), "nothing came between");
        assert!(is_said_again(&mut shown, "a", "2"));
        assert!(!is_said_again(&mut shown, "a", "2"), "once");
        assert!(!is_said_again(&mut shown, "c", "2"));
    }

    #[test]
    fn what_is_forgotten_was_not_shown() {
        let mut shown = Shown::default();
        shown.show(&message("a", "2"));
        shown.forget();
        assert!(!is_said_again(&mut shown, "a", "1") && !is_said_again(&mut shown, "a", "2"));
    }
}

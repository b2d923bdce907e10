//! The messages that have come and were not polled yet, and what may be acknowledged.
//!
//! Invariant: what waits here is bounded in messages and bytes; when it is full, the task stops reading, and the broker
//! keeps the rest. A place names its connection, and is void with it.

use crate::{
    desk::Desk,
    ledger::Ledger,
    packet::{Ack, Message},
};
use lockstep_plugin_api::prelude::*;
use std::{collections::VecDeque, fmt, str::FromStr, time::Duration};

/// How many messages may wait.
const MOST_MESSAGES: usize = 4096;

/// How many bytes of messages may wait; one message may go beyond.
const MOST_BYTES: usize = 8 << 20;

/// How many bytes of messages one poll takes; one message may go beyond.
const POLL_BYTES: usize = 4 << 20;

/// Where a message stands: the how many-th of which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    connection: u64,
    number: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}, message {}", self.connection, self.number)
    }
}

impl FromStr for Place {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (connection, number) =
            text.strip_prefix("connection ").and_then(|rest| rest.split_once(", message ")).ok_or(())?;
        let number_of = |text: &str| text.parse().map_err(|_| ());
        Ok(Self { connection: number_of(connection)?, number: number_of(number)? })
    }
}

/// What came from the broker.
#[derive(Debug, PartialEq)]
pub(crate) enum Arrival {
    Message(Message),
    /// A message that was larger than it may be.
    TooLarge {
        topic: String,
        n_bytes: usize,
    },
}

/// What came, and what the broker waits for after it.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) arrival: Arrival,
    pub(crate) ack: Option<Ack>,
    pub(crate) is_retained: bool,
}

impl Arrival {
    /// About how much memory it takes.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.n_bytes(),
            Self::TooLarge { topic, .. } => topic.len(),
        }
    }
}

/// What one poll takes.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) arrivals: Vec<(Place, Arrival)>,
    /// With these, everything has come that the broker retained.
    pub(crate) has_caught_up: bool,
}

/// Shared by the source, its replies and its task.
pub(crate) type Inbox = Desk<Arrivals>;

/// What has come, and what of it is not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    waiting: VecDeque<(Place, Arrival)>,
    n_bytes: usize,
    /// How many of the waiting come before the end of what was retained.
    catches_up_after: Option<usize>,
    /// Counts from 1; 0 is before the first.
    connection: u64,
    ledger: Ledger,
}

/// What the source and its replies do with it.
impl Inbox {
    /// Takes at most `max` messages, waiting at most `wait` for the first.
    ///
    /// # Errors
    /// `NotConnected` if there are none and the broker is away.
    pub(crate) fn take(&self, max: usize, wait: Duration) -> Result<Taken> {
        let taken = self.wait_for(wait, |laid| {
            let arrivals = &mut laid.what;
            if arrivals.waiting.is_empty() && arrivals.catches_up_after.is_none() {
                return laid.check().err().map(Err);
            }
            let was_full = !arrivals.has_room();
            let taken = arrivals.take(max);
            if was_full {
                self.ask();
            }
            Some(Ok(taken))
        });
        taken.unwrap_or_else(|| Ok(Taken::default()))
    }

    /// These messages are of no concern to anybody.
    pub(crate) fn pass_over(&self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        let mut laid = self.lock();
        let Arrivals { connection, ledger, .. } = &mut laid.what;
        let of_this = places.iter().filter(|place| place.connection == *connection);
        of_this.for_each(|place| ledger.done(place.number));
        self.ask();
    }

    /// Every message up to this one is taken care of.
    pub(crate) fn commit(&self, place: Place) {
        let mut laid = self.lock();
        let Arrivals { connection, ledger, .. } = &mut laid.what;
        // A message of an earlier connection comes again on this one.
        if place.connection == *connection {
            ledger.done_through(place.number);
            self.ask();
        }
    }
}

/// What the task does with it.
impl Inbox {
    /// Another connection: places of the one before are void.
    pub(crate) fn begin_again(&self) {
        let mut laid = self.lock();
        laid.what.connection += 1;
        laid.what.ledger = Ledger::default();
    }

    /// Whether more may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().what.has_room()
    }

    /// Puts in what has come.
    pub(crate) fn push(&self, arrivals: &mut Vec<Delivered>) {
        let mut laid = self.lock();
        arrivals.drain(..).for_each(|delivered| laid.what.push(delivered));
        self.tell();
    }

    /// What was retained has all come.
    pub(crate) fn caught_up(&self) {
        let mut laid = self.lock();
        laid.what.catches_up_after = Some(laid.what.waiting.len());
        self.tell();
    }

    /// The acknowledgements that are due, and whether retained messages wait to be taken care of.
    pub(crate) fn take_due(&self, due: &mut Vec<Ack>) -> bool {
        let mut laid = self.lock();
        laid.what.ledger.take_due(due);
        laid.what.ledger.has_retained()
    }
}

impl Arrivals {
    fn has_room(&self) -> bool {
        self.waiting.len() < MOST_MESSAGES && self.n_bytes < MOST_BYTES
    }

    fn push(&mut self, delivered: Delivered) {
        let Delivered { arrival, ack, is_retained } = delivered;
        let number = self.ledger.add(ack, is_retained);
        self.n_bytes += arrival.n_bytes();
        self.waiting.push_back((Place { connection: self.connection, number }, arrival));
    }

    fn take(&mut self, max: usize) -> Taken {
        let mut taken = Taken::default();
        let mut n_bytes = 0;
        while taken.arrivals.len() < max && n_bytes < POLL_BYTES {
            let Some((place, arrival)) = self.waiting.pop_front() else { break };
            n_bytes += arrival.n_bytes();
            taken.arrivals.push((place, arrival));
        }
        self.n_bytes -= n_bytes;
        if let Some(n_before) = self.catches_up_after {
            let n_left = n_before.saturating_sub(taken.arrivals.len());
            taken.has_caught_up = n_left == 0;
            self.catches_up_after = (n_left > 0).then_some(n_left);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str) -> Arrival {
        Arrival::Message(Message {
            topic: topic.into(),
            payload: bytes::Bytes::new(),
            ack: None,
            is_retained: false,
            properties: Vec::new(),
            content_type: None,
        })
    }

    fn arrive(inbox: &Inbox, ids: &[u16]) {
        let arrival = |id: &u16| Delivered {
            arrival: message(&id.to_string()),
            ack: Some(Ack::AtLeastOnce(*id)),
            is_retained: false,
        };
        inbox.push(&mut ids.iter().map(arrival).collect());
    }

    fn places(inbox: &Inbox, max: usize) -> Vec<Place> {
        let taken = inbox.take(max, Duration::ZERO).expect("the broker is there");
        taken.arrivals.into_iter().map(|(place, _)| place).collect()
    }

    fn due(inbox: &Inbox) -> Vec<Ack> {
        let mut due = Vec::new();
        inbox.take_due(&mut due);
        due
    }

    #[test]
    fn a_message_is_acknowledged_when_its_place_is_committed_and_not_before() {
        let inbox = Inbox::new(Arrivals::default());
        inbox.begin_again();
        arrive(&inbox, &[5, 6, 7]);
        let places = places(&inbox, 9);
        assert_eq!(due(&inbox), []);
        inbox.pass_over(&places[2..]);
        inbox.commit(places[0]);
        assert_eq!(due(&inbox), [Ack::AtLeastOnce(5)]);
        inbox.commit(places[1]);
        assert_eq!(due(&inbox), [Ack::AtLeastOnce(6), Ack::AtLeastOnce(7)]);
    }

    #[test]
    fn a_place_of_an_earlier_connection_acknowledges_nothing() {
        let inbox = Inbox::new(Arrivals::default());
        inbox.begin_again();
        arrive(&inbox, &[5]);
        let before = places(&inbox, 9);
        inbox.begin_again();
        arrive(&inbox, &[5]);
        inbox.commit(before[0]);
        inbox.pass_over(&before);
        assert_eq!(due(&inbox), []);
        inbox.commit(places(&inbox, 9)[0]);
        assert_eq!(due(&inbox), [Ack::AtLeastOnce(5)]);
    }

    #[test]
    fn what_was_retained_is_all_there_with_the_last_of_it() {
        let inbox = Inbox::new(Arrivals::default());
        inbox.begin_again();
        arrive(&inbox, &[1, 2]);
        inbox.caught_up();
        arrive(&inbox, &[3]);
        assert!(!inbox.take(1, Duration::ZERO).expect("messages").has_caught_up);
        assert!(inbox.take(2, Duration::ZERO).expect("messages").has_caught_up);
        inbox.caught_up();
        assert!(inbox.take(9, Duration::ZERO).expect("nothing").has_caught_up, "nothing was retained");
    }

    #[test]
    fn a_broker_that_is_away_is_told_when_nothing_waits() {
        let inbox = Inbox::new(Arrivals::default());
        inbox.begin_again();
        arrive(&inbox, &[1]);
        inbox.set_away("it is away");
        assert_eq!(places(&inbox, 9).len(), 1);
        let error = inbox.take(9, Duration::ZERO).expect_err("away");
        assert_eq!((error.kind(), error.message()), (ErrorKind::NOT_CONNECTED, "it is away"));
    }

    #[test]
    fn what_messages_carry_beside_their_payload_fills_the_inbox_too() {
        let inbox = Inbox::new(Arrivals::default());
        let Arrival::Message(plain) = message("t") else { panic!("a message") };
        let properties = (0..100_000).map(|_| (String::new(), String::new())).collect();
        for _ in 0..2 {
            let arrival = Arrival::Message(Message { properties: Vec::clone(&properties), ..plain.clone() });
            inbox.push(&mut vec![Delivered { arrival, ack: None, is_retained: false }]);
        }
        assert!(!inbox.has_room());
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = Place { connection: 3, number: 1042 };
        assert_eq!(
            (place.to_string().as_str(), place.to_string().parse()),
            ("connection 3, message 1042", Ok(place))
        );
        assert_eq!("3:1".parse::<Place>(), Err(()));
    }
}

//! Which batches are finished, and whether every receiver is there for those that are not.
//!
//! Invariant: a batch is finished when every receiver has taken or refused each of its records; batches are told in order.

use lockstep_plugin_api::prelude::*;
use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One record of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) seq: u64,
    pub(crate) id: u64,
}

/// Why a receiver takes nothing, and when it is asked again if it said when.
#[derive(Debug, Clone)]
pub(crate) struct Away {
    pub(crate) why: String,
    pub(crate) until: Option<Instant>,
}

impl Away {
    fn error(&self) -> Error {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        match left.filter(|left| !left.is_zero()) {
            Some(left) => Error::retry(left, &self.why),
            None => Error::not_connected(&self.why),
        }
    }
}

/// Counts what is left of each batch.
#[derive(Debug)]
pub(crate) struct Tally {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Oldest first, without a hole between their numbers.
    open: VecDeque<Open>,
    /// The last batch that was taken in.
    newest: u64,
    /// By receiver.
    away: Vec<Option<Away>>,
}

#[derive(Debug)]
struct Open {
    seq: u64,
    /// Deliveries: each message to each receiver.
    n_left: usize,
    failed: Vec<(u64, Error)>,
}

impl Tally {
    pub(crate) fn new(n_receivers: usize) -> Self {
        let state = State { open: VecDeque::new(), newest: 0, away: vec![None; n_receivers] };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch in that it does not know, with what of it cannot be sent.
    pub(crate) fn take(&self, seq: u64, n_deliveries: usize, failed: Vec<(u64, Error)>) {
        let mut state = self.lock();
        state.newest = seq;
        state.open.push_back(Open { seq, n_left: n_deliveries, failed });
    }

    /// Whether a batch is on its way or done already.
    pub(crate) fn knows(&self, seq: u64) -> bool {
        seq <= self.lock().newest
    }

    /// A receiver took the message of this record, or refused it for good.
    pub(crate) fn settle(&self, ticket: Ticket, outcome: Result<()>) {
        let mut state = self.lock();
        let Some(open) = state.open_of(ticket.seq) else { return };
        open.n_left = open.n_left.saturating_sub(1);
        if let Err(error) = outcome
            && open.failed.iter().all(|(id, _)| *id != ticket.id)
        {
            open.failed.push((ticket.id, error));
        }
        self.changed.notify_all();
    }

    /// A receiver takes nothing; true if it was there before.
    pub(crate) fn is_away(&self, receiver: usize, away: Away) -> bool {
        let was_there = self.lock().away[receiver].replace(away).is_none();
        self.changed.notify_all();
        was_there
    }

    /// A receiver is there; true if it was away before.
    pub(crate) fn is_back(&self, receiver: usize) -> bool {
        self.lock().away[receiver].take().is_some()
    }

    /// How far everything has come; waits for news, and for none if a receiver is away.
    pub(crate) fn acked(&self, wait: Duration) -> Result<Acked> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            if let Some(acked) = state.take_finished() {
                return Ok(acked);
            }
            if state.open.is_empty() {
                return Ok(Acked { through_seq: state.newest, failed: Vec::new() });
            }
            if let Some(away) = state.away() {
                return Err(away.error());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Acked { through_seq: state.finished(), failed: Vec::new() });
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until nothing is on its way.
    pub(crate) fn wait_finished(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        let mut state = self.lock();
        while state.open.iter().any(|open| open.n_left > 0) {
            if let Some(away) = state.away() {
                return Err(away.error());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::not_connected(
                    "a receiver has not answered everything within the deadline",
                ));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl State {
    fn open_of(&mut self, seq: u64) -> Option<&mut Open> {
        let first = self.open.front()?.seq;
        self.open.get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    fn away(&self) -> Option<&Away> {
        self.away.iter().flatten().next()
    }

    /// The last batch before the oldest unfinished one.
    fn finished(&self) -> u64 {
        self.open.front().map_or(self.newest, |open| open.seq - 1)
    }

    fn take_finished(&mut self) -> Option<Acked> {
        let mut acked = None::<Acked>;
        while let Some(open) = self.open.pop_front_if(|open| open.n_left == 0) {
            let acked = acked.get_or_insert_default();
            acked.through_seq = open.seq;
            acked.failed.extend(open.failed);
        }
        acked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(seq: u64, id: u64) -> Ticket {
        Ticket { seq, id }
    }

    fn away(why: &str) -> Away {
        Away { why: why.to_owned(), until: None }
    }

    #[test]
    fn batches_are_told_in_order_and_a_record_that_two_receivers_refuse_once() {
        let tally = Tally::new(2);
        tally.take(1, 4, Vec::new());
        tally.take(2, 2, Vec::new());
        assert!(tally.knows(2) && !tally.knows(3));
        for _ in 0..2 {
            tally.settle(ticket(2, 3), Ok(()));
            tally.settle(ticket(1, 1), Ok(()));
        }
        assert_eq!(tally.acked(Duration::ZERO).expect("there").through_seq, 0);
        for _ in 0..2 {
            tally.settle(ticket(1, 2), Err(Error::rejected("refused", "no")));
        }
        let acked = tally.acked(Duration::from_secs(5)).expect("there");
        assert_eq!((acked.through_seq, acked.failed.len(), acked.failed[0].0), (2, 1, 2));
        assert_eq!(tally.acked(Duration::ZERO).expect("there").failed.len(), 0);
    }

    #[test]
    fn a_batch_of_which_nothing_is_sent_is_finished_with_what_could_not_be() {
        let tally = Tally::new(1);
        tally.take(1, 0, vec![(7, Error::rejected("bad_message", "no"))]);
        let acked = tally.acked(Duration::ZERO).expect("there");
        assert_eq!((acked.through_seq, acked.failed.len()), (1, 1));
    }

    #[test]
    fn a_receiver_that_is_away_is_told_only_while_something_waits_for_it() {
        let tally = Tally::new(2);
        assert!(tally.is_away(1, away("gone")) && !tally.is_away(1, away("gone still")));
        assert_eq!(tally.acked(Duration::ZERO).expect("nothing waits").through_seq, 0);
        tally.take(1, 1, Vec::new());
        let error = tally.acked(Duration::from_secs(5)).expect_err("away");
        assert_eq!((error.kind(), error.message()), (ErrorKind::NOT_CONNECTED, "gone still"));
        tally.wait_finished(Duration::from_secs(5)).expect_err("away");
        let until = Some(Instant::now() + Duration::from_secs(30));
        tally.is_away(1, Away { why: "busy".to_owned(), until });
        let error = tally.acked(Duration::from_secs(5)).expect_err("away");
        assert_eq!(error.kind(), ErrorKind::RETRY);
        assert!(error.retry_after() > Duration::from_secs(20));
        tally.settle(ticket(1, 1), Ok(()));
        assert_eq!(tally.acked(Duration::ZERO).expect("news come first").through_seq, 1);
        assert!(tally.is_back(1) && !tally.is_back(1));
    }
}

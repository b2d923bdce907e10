//! Which batches are finished, and whether the server is there for those that are not.
//!
//! Invariant: a batch is finished when each of its records is written or failed, and batches are told in their order.

use crate::connection::Away;
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
    /// By connection.
    away: Vec<Option<Away>>,
}

#[derive(Debug)]
struct Open {
    seq: u64,
    n_left: usize,
    failed: Vec<(u64, Error)>,
}

impl Tally {
    pub(crate) fn new(n_connections: usize) -> Self {
        let state = State { open: VecDeque::new(), newest: 0, away: vec![None; n_connections] };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch in; false if it is on its way already.
    pub(crate) fn take(&self, seq: u64, n_records: usize) -> bool {
        let mut state = self.lock();
        if seq <= state.newest {
            return false;
        }
        state.newest = seq;
        state.open.push_back(Open { seq, n_left: n_records, failed: Vec::new() });
        true
    }

    /// These records are written.
    pub(crate) fn written(&self, tickets: impl IntoIterator<Item = Ticket>) {
        let mut state = self.lock();
        for ticket in tickets {
            state.settle(ticket);
        }
        if state.open.front().is_some_and(|open| open.n_left == 0) {
            self.changed.notify_all();
        }
    }

    /// This record failed.
    pub(crate) fn failed(&self, ticket: Ticket, error: Error) {
        let mut state = self.lock();
        if let Some(open) = state.settle(ticket) {
            open.failed.push((ticket.id, error));
        }
        self.changed.notify_all();
    }

    /// A connection is lost; true if it is the first of all.
    pub(crate) fn is_away(&self, connection: usize, away: Away) -> bool {
        let mut state = self.lock();
        let is_first = state.away().is_none();
        state.away[connection] = Some(away);
        self.changed.notify_all();
        is_first
    }

    /// A connection is there; true if it was the last one that was lost.
    pub(crate) fn is_back(&self, connection: usize) -> bool {
        let mut state = self.lock();
        state.away[connection].take().is_some() && state.away().is_none()
    }

    /// How far everything has come; waits for news, and for none if the server is away.
    pub(crate) fn acked(&self, wait: Duration) -> Result<Acked> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            let acked = state.take_finished();
            let left = until.saturating_duration_since(Instant::now());
            if acked.is_some() || state.open.is_empty() || left.is_zero() {
                return match (acked, state.away()) {
                    (Some(acked), _) => Ok(acked),
                    (None, Some(away)) if !state.open.is_empty() => Err(away.error()),
                    (None, _) => Ok(Acked { through_seq: state.finished(), failed: Vec::new() }),
                };
            }
            if let Some(away) = state.away() {
                return Err(away.error());
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
                    "the server has not answered everything within the deadline",
                ));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl State {
    fn settle(&mut self, ticket: Ticket) -> Option<&mut Open> {
        let first = self.open.front()?.seq;
        let open = self.open.get_mut(usize::try_from(ticket.seq.checked_sub(first)?).ok()?)?;
        open.n_left = open.n_left.saturating_sub(1);
        Some(open)
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

    #[test]
    fn batches_are_told_in_order_with_what_failed() {
        let tally = Tally::new(2);
        assert!(tally.take(1, 2) && tally.take(2, 1));
        assert!(!tally.take(1, 2), "it is on its way");
        tally.written([ticket(2, 3), ticket(1, 1)]);
        assert_eq!(tally.acked(Duration::ZERO).expect("there").through_seq, 0);
        tally.failed(ticket(1, 2), Error::rejected("forbidden", "no"));
        let acked = tally.acked(Duration::from_secs(5)).expect("there");
        assert_eq!((acked.through_seq, acked.failed.len(), acked.failed[0].0), (2, 1, 2));
        let again = tally.acked(Duration::ZERO).expect("there");
        assert_eq!((again.through_seq, again.failed.len()), (2, 0));
        assert!(!tally.take(2, 1), "it is finished");
    }

    #[test]
    fn a_server_that_is_away_is_told_only_while_something_waits_for_it() {
        let tally = Tally::new(2);
        assert!(tally.is_away(1, Away("gone".to_owned())));
        assert!(!tally.is_away(0, Away("gone too".to_owned())) && !tally.is_back(0));
        assert_eq!(tally.acked(Duration::ZERO).expect("nothing waits").through_seq, 0);
        tally.take(1, 1);
        let error = tally.acked(Duration::from_secs(5)).expect_err("away");
        assert_eq!((error.kind(), error.message()), (ErrorKind::NOT_CONNECTED, "gone"));
        tally.wait_finished(Duration::from_secs(5)).expect_err("away");
        tally.written([ticket(1, 1)]);
        assert_eq!(tally.acked(Duration::ZERO).expect("news come first").through_seq, 1);
        tally.wait_finished(Duration::ZERO).expect("finished");
        assert!(tally.is_back(1) && !tally.is_back(1));
    }

    #[test]
    fn an_empty_batch_is_finished_at_once() {
        let tally = Tally::new(1);
        tally.take(1, 0);
        assert_eq!(tally.acked(Duration::ZERO).expect("there").through_seq, 1);
    }
}

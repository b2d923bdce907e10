//! Which batches of a [`PipelinedSink`](crate::sink::PipelinedSink) are finished, and whether its servers are there for
//! those that are not.
//!
//! Invariant: a batch is finished when everything that was begun for its records is done or failed; batches are told in
//! their order, and each failed record once.

use crate::{
    error::{Error, Result},
    sink::Acked,
};
use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One record of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The batch's number.
    pub seq: u64,
    /// The record's.
    pub id: u64,
}

/// Why a server takes nothing, and when it is asked again if it said when.
#[derive(Debug, Clone)]
pub struct Away {
    /// A sentence for the operator.
    pub why: String,
    /// As the server asked; before that nobody has to try.
    pub until: Option<Instant>,
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

/// Counts what is left of each batch. The sink's calls and the tasks that write share it.
#[derive(Debug)]
pub struct Tally {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Oldest first, without a hole between their numbers.
    open: VecDeque<Open>,
    /// The last batch that was taken in.
    newest: u64,
    /// By server, or by connection.
    away: Vec<Option<Away>>,
}

#[derive(Debug)]
struct Open {
    seq: u64,
    n_left: usize,
    failed: Vec<(u64, Error)>,
}

impl Tally {
    /// For so many servers, or connections, which all are there.
    pub fn new(n_servers: usize) -> Self {
        let state = State { open: VecDeque::new(), newest: 0, away: vec![None; n_servers] };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a batch is on its way or done already.
    pub fn knows(&self, seq: u64) -> bool {
        seq <= self.lock().newest
    }

    /// Takes a batch in that is not known: how much is begun for its records, and which of them failed at once.
    pub fn take(&self, seq: u64, n_begun: usize, failed: Vec<(u64, Error)>) {
        let mut state = self.lock();
        state.newest = seq;
        state.open.push_back(Open { seq, n_left: n_begun, failed });
    }

    /// Something that was begun for each of these records is done.
    pub fn done(&self, tickets: impl IntoIterator<Item = Ticket>) {
        let mut state = self.lock();
        for ticket in tickets {
            state.settle(ticket);
        }
        self.tell(&state);
    }

    /// Something that was begun for this record failed.
    pub fn failed(&self, ticket: Ticket, error: Error) {
        let mut state = self.lock();
        if let Some(open) = state.settle(ticket)
            && open.failed.iter().all(|(id, _)| *id != ticket.id)
        {
            open.failed.push((ticket.id, error));
        }
        self.tell(&state);
    }

    fn tell(&self, state: &State) {
        if state.open.front().is_some_and(|open| open.n_left == 0) {
            self.changed.notify_all();
        }
    }

    /// A server takes nothing; gives how many do not now, if this one did before.
    pub fn lost(&self, server: usize, away: Away) -> Option<usize> {
        let mut state = self.lock();
        let was_away = state.away[server].replace(away).is_some();
        self.changed.notify_all();
        (!was_away).then(|| state.all_away().count())
    }

    /// A server is there; gives how many still are not, if this one was not before.
    pub fn back(&self, server: usize) -> Option<usize> {
        let mut state = self.lock();
        let was_away = state.away[server].take().is_some();
        was_away.then(|| state.all_away().count())
    }

    /// How far everything has come; waits for news, and for none if a server is away.
    ///
    /// # Errors
    /// `NotConnected` or `Retry`, if there is no news and a server is away that something waits for.
    pub fn acked(&self, wait: Duration) -> Result<Acked> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            if let Some(acked) = state.take_finished() {
                return Ok(acked);
            }
            let left = until.saturating_duration_since(Instant::now());
            match state.away() {
                _ if state.open.is_empty() => return Ok(state.told()),
                Some(away) => return Err(away.error()),
                None if left.is_zero() => return Ok(state.told()),
                None => {}
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until nothing is on its way.
    ///
    /// # Errors
    /// `NotConnected` or `Retry`, if something is and a server is away, or when the time is over.
    pub fn wait_finished(&self, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        let mut state = self.lock();
        while state.open.iter().any(|open| open.n_left > 0) {
            if let Some(away) = state.away() {
                return Err(away.error());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::not_connected("not everything was answered within the deadline"));
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

    fn all_away(&self) -> impl Iterator<Item = &Away> {
        self.away.iter().flatten()
    }

    fn away(&self) -> Option<&Away> {
        self.all_away().next()
    }

    /// Nothing new: the last batch before the oldest unfinished one.
    fn told(&self) -> Acked {
        let through_seq = self.open.front().map_or(self.newest, |open| open.seq - 1);
        Acked { through_seq, failed: Vec::new() }
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
    use crate::error::ErrorKind;

    fn ticket(seq: u64, id: u64) -> Ticket {
        Ticket { seq, id }
    }

    fn away(why: &str) -> Away {
        Away { why: why.to_owned(), until: None }
    }

    #[test]
    fn batches_are_told_in_order_and_a_record_that_failed_twice_once() {
        let tally = Tally::new(2);
        tally.take(1, 4, Vec::new());
        tally.take(2, 2, Vec::new());
        assert!(tally.knows(2) && !tally.knows(3));
        for _ in 0..2 {
            tally.done([ticket(2, 3), ticket(1, 1)]);
        }
        assert_eq!(tally.acked(Duration::ZERO).expect("there").through_seq, 0);
        for _ in 0..2 {
            tally.failed(ticket(1, 2), Error::rejected("refused", "no"));
        }
        let acked = tally.acked(Duration::from_secs(5)).expect("there");
        assert_eq!((acked.through_seq, acked.failed.len(), acked.failed[0].0), (2, 1, 2));
        let again = tally.acked(Duration::ZERO).expect("there");
        assert_eq!((again.through_seq, again.failed.len()), (2, 0));
        tally.done([ticket(1, 1)]);
        assert!(tally.knows(2), "it is finished");
    }

    #[test]
    fn a_batch_of_which_nothing_is_begun_is_finished_with_what_failed() {
        let tally = Tally::new(1);
        tally.take(1, 0, vec![(7, Error::rejected("bad_message", "no"))]);
        let acked = tally.acked(Duration::ZERO).expect("there");
        assert_eq!((acked.through_seq, acked.failed.len()), (1, 1));
    }

    #[test]
    fn a_server_that_is_away_is_told_only_while_something_waits_for_it() {
        let tally = Tally::new(2);
        assert_eq!((tally.lost(1, away("gone")), tally.lost(1, away("gone still"))), (Some(1), None));
        assert_eq!(tally.acked(Duration::ZERO).expect("nothing waits").through_seq, 0);
        tally.take(1, 1, Vec::new());
        let error = tally.acked(Duration::from_secs(5)).expect_err("away");
        assert_eq!((error.kind(), error.message()), (ErrorKind::NOT_CONNECTED, "gone still"));
        tally.wait_finished(Duration::from_secs(5)).expect_err("away");
        let until = Some(Instant::now() + Duration::from_secs(3600));
        tally.lost(1, Away { why: "busy".to_owned(), until });
        let error = tally.acked(Duration::from_secs(5)).expect_err("away");
        assert_eq!(error.kind(), ErrorKind::RETRY);
        assert!(error.retry_after() > Duration::from_secs(20));
        tally.done([ticket(1, 1)]);
        assert_eq!(tally.acked(Duration::ZERO).expect("news come first").through_seq, 1);
        tally.wait_finished(Duration::ZERO).expect("finished");
    }

    #[test]
    fn whoever_goes_and_comes_back_learns_how_many_others_are_away() {
        let tally = Tally::new(2);
        assert_eq!((tally.lost(1, away("a")), tally.lost(0, away("b"))), (Some(1), Some(2)));
        assert_eq!((tally.back(0), tally.back(0), tally.back(1)), (Some(1), None, Some(0)));
    }
}

//! Which batches are on their way to the brokers, and what became of their messages.
//!
//! Invariant: a batch is finished when each of its messages has been reported, and it is told only after every batch
//! before it. Messages are numbered in the order they are sent in; the number is all that the client carries.

use lockstep_plugin_api::Error;
use std::{
    collections::VecDeque,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The batches of one producer.
pub(crate) struct Flight {
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    /// The oldest first, so with growing numbers.
    batches: VecDeque<InFlight>,
    next_number: usize,
    through: u64,
    failed: Vec<(u64, Error)>,
    /// When a broker answered last, or the first batch was begun while there was none.
    since: Instant,
    /// Why a message cannot be delivered although nothing is wrong with it.
    broken: Option<String>,
    has_news: bool,
}

struct InFlight {
    seq: u64,
    first: usize,
    /// The records' ids, by message.
    ids: Vec<u64>,
    n_left: usize,
    failed: Vec<(u64, Error)>,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Every batch up to this one is finished; 0 if none is.
    pub(crate) through: u64,
    /// The records of finished batches that were not written.
    pub(crate) failed: Vec<(u64, Error)>,
    pub(crate) broken: Option<String>,
}

impl Flight {
    pub(crate) fn new() -> Self {
        let state = State {
            batches: VecDeque::new(),
            next_number: 0,
            through: 0,
            failed: Vec::new(),
            since: Instant::now(),
            broken: None,
            has_news: false,
        };
        Self { state: Mutex::new(state), news: Condvar::new() }
    }

    /// Begins a batch of the records with these ids; gives the number of its first message.
    pub(crate) fn begin(&self, seq: u64, ids: Vec<u64>) -> usize {
        let mut state = self.state();
        let first = state.next_number;
        state.next_number += ids.len();
        if state.batches.is_empty() {
            state.since = Instant::now();
        }
        state.batches.push_back(InFlight { seq, first, n_left: ids.len(), ids, failed: Vec::new() });
        if state.finish() {
            self.news.notify_all();
        }
        first
    }

    /// A message was written.
    pub(crate) fn written(&self, number: usize) {
        self.report(number, None);
    }

    /// A message cannot be written, ever or now, for a reason of its own.
    pub(crate) fn failed(&self, number: usize, error: Error) {
        self.report(number, Some(error));
    }

    fn report(&self, number: usize, error: Option<Error>) {
        let mut state = self.state();
        state.since = Instant::now();
        let place = state.batches.partition_point(|batch| batch.first + batch.ids.len() <= number);
        let Some(batch) = state.batches.get_mut(place).filter(|batch| batch.first <= number) else { return };
        if let Some(error) = error {
            batch.failed.push((batch.ids[number - batch.first], error));
        }
        batch.n_left -= 1;
        if batch.n_left == 0 && state.finish() {
            self.news.notify_all();
        }
    }

    /// A message was given up for no reason of its own: it and all behind it have to be sent again, by another producer.
    pub(crate) fn break_off(&self, reason: String) {
        let mut state = self.state();
        state.broken.get_or_insert(reason);
        state.has_news = true;
        self.news.notify_all();
    }

    /// What happened since the last look, waiting for it.
    pub(crate) fn news(&self, wait: Duration) -> News {
        let mut state = self.state();
        if !state.has_news && !wait.is_zero() {
            let waited = self.news.wait_timeout_while(state, wait, |state| !state.has_news);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.has_news = false;
        News { through: state.through, failed: mem::take(&mut state.failed), broken: state.broken.clone() }
    }

    /// Waits until nothing is on its way; says whether that is so.
    pub(crate) fn wait_empty(&self, wait: Duration) -> bool {
        let is_busy = |state: &mut State| !state.batches.is_empty() && state.broken.is_none();
        let waited = self.news.wait_timeout_while(self.state(), wait, is_busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.batches.is_empty()
    }

    /// Since when nothing has been answered although something is on its way.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        let state = self.state();
        (!state.batches.is_empty()).then_some(state.since)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes finished batches off the front; says whether there were any.
    fn finish(&mut self) -> bool {
        let mut is_news = false;
        while self.batches.front().is_some_and(|batch| batch.n_left == 0) {
            let batch = self.batches.pop_front().expect("there is a front");
            self.through = batch.seq;
            self.failed.extend(batch.failed);
            is_news = true;
        }
        self.has_news |= is_news;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_told_in_order_whatever_order_they_finish_in() {
        let flight = Flight::new();
        assert_eq!(flight.begin(7, vec![70, 71]), 0);
        assert_eq!(flight.begin(8, vec![80]), 2);
        flight.written(2);
        flight.written(1);
        assert_eq!(flight.news(Duration::ZERO).through, 0);
        flight.failed(0, Error::rejected("too_large", "x"));
        let news = flight.news(Duration::from_secs(1));
        assert_eq!(news.through, 8);
        assert_eq!(news.failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [70]);
        assert!(flight.news(Duration::ZERO).failed.is_empty(), "told once");
        assert!(flight.waits_since().is_none() && flight.wait_empty(Duration::ZERO));
    }

    #[test]
    fn an_empty_batch_is_finished_at_once_but_not_before_its_turn() {
        let flight = Flight::new();
        flight.begin(1, vec![1]);
        flight.begin(2, Vec::new());
        assert_eq!(flight.news(Duration::ZERO).through, 0);
        flight.written(0);
        assert_eq!(flight.news(Duration::ZERO).through, 2);
    }

    #[test]
    fn who_waits_is_woken_when_a_message_is_given_up() {
        let flight = Flight::new();
        flight.begin(1, vec![1]);
        std::thread::scope(|scope| {
            scope.spawn(|| flight.break_off("timed out".to_owned()));
            let news = flight.news(Duration::from_secs(10));
            assert_eq!(news.broken.as_deref(), Some("timed out"));
        });
        assert!(!flight.wait_empty(Duration::from_secs(10)), "nobody waits for what will not come");
    }
}

//! The batches a sink was given, and how far the broker has them.
//!
//! Invariant: a batch is finished when each of its records is answered, and told as finished when all before it are. Until
//! then its records are here, in order, to be published as often as connections end.

use crate::desk::Desk;
use lockstep_plugin_api::prelude::*;
use std::{collections::VecDeque, mem, time::Duration};

/// How many bytes of records are taken at a time; one record may go beyond.
const MOST_BYTES: usize = 256 << 10;

/// One record: its batch and its place in that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    seq: u64,
    index: usize,
}

/// Shared by the sink and its task.
pub(crate) type Outbox = Desk<Batches>;

/// What was put and what became of it.
#[derive(Debug)]
pub(crate) struct Batches {
    /// Given and not told as finished, by number without gaps.
    unfinished: VecDeque<Put>,
    last_seq: u64,
    through_seq: u64,
    failed: Vec<(u64, Error)>,
    has_news: bool,
    /// The first record that was not handed to the task on this connection.
    next: Token,
}

#[derive(Debug)]
struct Put {
    batch: Batch,
    is_answered: Vec<bool>,
    n_unanswered: usize,
    failed: Vec<(u64, Error)>,
}

/// What the sink does with it.
impl Outbox {
    /// Takes a batch. One that is here already is the host's repeat after the broker was away.
    pub(crate) fn put(&self, seq: u64, batch: Batch) {
        self.lock().what.put(seq, batch);
        self.ask();
    }

    /// How far the broker has what it was sent, waiting at most `wait` for news.
    ///
    /// # Errors
    /// `NotConnected` if something is unanswered and the broker is away.
    pub(crate) fn acked(&self, wait: Duration) -> Result<Acked> {
        let acked = self.wait_for(wait, |laid| {
            let Batches { has_news, through_seq, failed, unfinished, .. } = &mut laid.what;
            if mem::take(has_news) {
                return Some(Ok(Acked { through_seq: *through_seq, failed: mem::take(failed) }));
            }
            if unfinished.is_empty() { None } else { laid.check().err().map(Err) }
        });
        acked.unwrap_or_else(|| Ok(Acked { through_seq: self.lock().what.through_seq, failed: Vec::new() }))
    }

    /// Waits until everything is answered.
    ///
    /// # Errors
    /// `NotConnected` if the broker is away, `Retry` if it takes longer than that.
    pub(crate) fn flush(&self, wait: Duration) -> Result<()> {
        let flushed = self.wait_for(wait, |laid| match laid.what.unfinished.is_empty() {
            true => Some(Ok(())),
            false => laid.check().err().map(Err),
        });
        let late = Duration::from_millis(100);
        flushed.unwrap_or_else(|| Err(Error::retry(late, "the broker still has publishes to answer")))
    }
}

/// What the task does with it.
impl Outbox {
    /// Another connection: everything that is unanswered is to be published on it.
    pub(crate) fn begin_again(&self) {
        let mut laid = self.lock();
        laid.what.next = Token { seq: laid.what.through_seq + 1, index: 0 };
    }

    /// The next records to publish, in order; few if they are large.
    pub(crate) fn take(&self, max: usize) -> Vec<(Token, Record)> {
        let mut taken = Vec::new();
        if max == 0 {
            return taken;
        }
        let mut laid = self.lock();
        let mut n_bytes = 0;
        while taken.len() < max && n_bytes < MOST_BYTES {
            let Some(next) = laid.what.take_next() else { break };
            n_bytes += next.1.size();
            taken.push(next);
        }
        taken
    }

    /// What became of a record.
    pub(crate) fn answer(&self, token: Token, result: Result<()>) {
        let mut laid = self.lock();
        laid.what.answer(token, result);
        if laid.what.has_news {
            self.tell();
        }
    }
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            unfinished: VecDeque::new(),
            last_seq: 0,
            through_seq: 0,
            failed: Vec::new(),
            has_news: false,
            next: Token { seq: 1, index: 0 },
        }
    }
}

impl Batches {
    fn put(&mut self, seq: u64, batch: Batch) {
        if seq <= self.last_seq {
            return;
        }
        if self.unfinished.is_empty() {
            // Whatever number the host begins with.
            self.through_seq = seq - 1;
        }
        self.last_seq = seq;
        let n_unanswered = batch.len();
        let is_answered = vec![false; n_unanswered];
        self.unfinished.push_back(Put { batch, is_answered, n_unanswered, failed: Vec::new() });
        self.finish();
    }

    fn of(&mut self, token: Token) -> Option<&mut Put> {
        let at = token.seq.checked_sub(self.through_seq + 1)?;
        self.unfinished.get_mut(at as usize)
    }

    /// The next unanswered record from `next` on, which is then behind it.
    fn take_next(&mut self) -> Option<(Token, Record)> {
        self.next = self.next.max(Token { seq: self.through_seq + 1, index: 0 });
        loop {
            let token = self.next;
            let put = self.of(token)?;
            let Some(is_answered) = put.is_answered.get(token.index) else {
                self.next = Token { seq: token.seq + 1, index: 0 };
                continue;
            };
            let record = (!is_answered).then(|| put.batch[token.index].clone());
            self.next.index += 1;
            if let Some(record) = record {
                return Some((token, record));
            }
        }
    }

    fn answer(&mut self, token: Token, result: Result<()>) {
        let Some(put) = self.of(token) else { return };
        if mem::replace(&mut put.is_answered[token.index], true) {
            return;
        }
        put.n_unanswered -= 1;
        if let Err(error) = result {
            put.failed.push((put.batch[token.index].id(), error));
        }
        self.finish();
    }

    fn finish(&mut self) {
        while self.unfinished.front().is_some_and(|put| put.n_unanswered == 0) {
            let put = self.unfinished.pop_front().expect("there is a front");
            self.through_seq += 1;
            self.failed.extend(put.failed);
            self.has_news = true;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn batch(ids: &[u64]) -> Batch {
        let record = |id: &u64| {
            let mut record = Record::new(id.to_string());
            record.set_id(*id);
            record
        };
        Batch::new(ids.iter().map(record).collect())
    }

    fn taken(outbox: &Outbox, max: usize) -> (Vec<u64>, Vec<Token>) {
        outbox.take(max).into_iter().map(|(token, record)| (record.id(), token)).unzip()
    }

    fn acked(outbox: &Outbox) -> (u64, Vec<u64>) {
        let acked = outbox.acked(Duration::ZERO).expect("the broker is there");
        (acked.through_seq, acked.failed.into_iter().map(|(id, _)| id).collect())
    }

    #[test]
    fn batches_are_told_in_order_and_failed_records_with_their_batch() {
        let outbox = Outbox::new(Batches::default());
        outbox.put(1, batch(&[1, 2]));
        outbox.put(2, batch(&[3]));
        let (ids, tokens) = taken(&outbox, 9);
        assert_eq!(ids, [1, 2, 3]);
        outbox.answer(tokens[2], Ok(()));
        outbox.answer(tokens[1], Err(Error::rejected("forbidden", "no")));
        assert_eq!(acked(&outbox), (0, vec![]));
        outbox.answer(tokens[0], Ok(()));
        assert_eq!(acked(&outbox), (2, vec![2]));
        assert_eq!(acked(&outbox), (2, vec![]), "each is told once");
    }

    #[test]
    fn another_connection_is_given_what_is_unanswered_in_order() {
        let outbox = Outbox::new(Batches::default());
        outbox.put(1, batch(&[1, 2, 3]));
        outbox.put(2, batch(&[4, 5]));
        let (_, tokens) = taken(&outbox, 4);
        outbox.answer(tokens[1], Ok(()));
        outbox.begin_again();
        let (ids, again) = taken(&outbox, 9);
        assert_eq!(ids, [1, 3, 4, 5]);
        outbox.answer(tokens[0], Ok(()));
        outbox.answer(again[0], Ok(()));
        again[1..].iter().for_each(|token| outbox.answer(*token, Ok(())));
        assert_eq!(acked(&outbox), (2, vec![]));
    }

    #[test]
    fn a_repeat_is_the_batch_that_is_here() {
        let outbox = Outbox::new(Batches::default());
        outbox.put(7, batch(&[1]));
        outbox.set_away("the broker is away");
        assert_eq!(outbox.acked(Duration::ZERO).expect_err("away").kind(), ErrorKind::NOT_CONNECTED);
        outbox.put(7, batch(&[1]));
        outbox.begin_again();
        outbox.well();
        let (ids, tokens) = taken(&outbox, 9);
        assert_eq!(ids, [1]);
        outbox.answer(tokens[0], Ok(()));
        outbox.put(7, batch(&[1]));
        assert_eq!((acked(&outbox), taken(&outbox, 9).0), ((7, vec![]), vec![]));
        outbox.set_away("again");
        assert_eq!(acked(&outbox), (7, vec![]), "nothing is unanswered");
    }

    #[test]
    fn large_records_are_taken_one_by_one() {
        let outbox = Outbox::new(Batches::default());
        let large = |id| {
            let mut record = Record::new(vec![0; 1 << 20]);
            record.set_id(id);
            record
        };
        outbox.put(1, Batch::new((1..=3).map(large).collect()));
        assert_eq!([taken(&outbox, 9).0, taken(&outbox, 9).0], [[1], [2]]);
    }

    #[test]
    fn an_empty_batch_is_finished_when_its_turn_comes() {
        let outbox = Outbox::new(Batches::default());
        outbox.put(1, batch(&[1]));
        outbox.put(2, batch(&[]));
        let (_, tokens) = taken(&outbox, 9);
        outbox.answer(tokens[0], Ok(()));
        assert_eq!(acked(&outbox), (2, vec![]));
    }
}

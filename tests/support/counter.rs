//! Workers that add one to a number which they have to lock first, and somebody who stops them at the worst moment.
//!
//! The oracle is arithmetic: the number at the end is how many additions were accepted, or some were lost. It is the same
//! for worker processes that use the product and for threads that use another lock, so one is the control of the other.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a worker takes between reading the number and writing it: long enough to be stopped in between.
pub const THINKING: Duration = Duration::from_millis(10);

/// The number, and the lock in front of it.
pub trait Guarded {
    /// Takes the lock and gives its token; nothing if it was not given in time.
    fn acquire(&mut self) -> Option<u64>;
    /// The number now.
    fn read(&mut self) -> u64;
    /// Writes another number as the holder of this token.
    fn write(&mut self, number: u64, token: u64) -> Wrote;
    /// Gives the lock back, if it is still held.
    fn release(&mut self);
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrote {
    Accepted,
    /// With this code.
    Refused(String),
}

/// What a worker did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub n_grants: u64,
    pub n_accepted: u64,
    /// By code.
    pub n_refused: BTreeMap<String, u64>,
}

/// The workers, seen by whoever disturbs them.
pub trait Workers {
    /// Who was granted the lock next, if anybody was within the limit.
    fn next_grant(&mut self, limit: Duration) -> Option<usize>;
    /// From now on this worker does nothing.
    fn stop(&mut self, worker: usize);
    /// It goes on where it was.
    fn go_on(&mut self, worker: usize);
    /// Ends them all.
    fn finish(self) -> Vec<Tally>;
}

/// The sum of what all workers did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub tally: Tally,
    /// How many holders were stopped until somebody else held the lock.
    pub n_overtaken: u64,
}

/// One worker, until `is_over`.
pub fn work(
    guarded: &mut impl Guarded,
    mut granted: impl FnMut(),
    mut think: impl FnMut(),
    is_over: impl Fn() -> bool,
) -> Tally {
    let mut tally = Tally::default();
    while !is_over() {
        let Some(token) = guarded.acquire() else { continue };
        tally.n_grants += 1;
        granted();
        let number = guarded.read();
        think();
        match guarded.write(number + 1, token) {
            Wrote::Accepted => tally.n_accepted += 1,
            Wrote::Refused(code) => *tally.n_refused.entry(code).or_default() += 1,
        }
        guarded.release();
    }
    tally
}

/// How often a holder is stopped at least, however long that takes.
pub const LEAST_OVERTAKEN: u64 = 3;

/// Every few grants it stops the worker that was granted the lock, until another one has it.
pub fn disturb(mut workers: impl Workers, duration: Duration, limit: Duration) -> Outcome {
    let start = Instant::now();
    let mut outcome = Outcome::default();
    while start.elapsed() < duration || outcome.n_overtaken < LEAST_OVERTAKEN {
        let mut holder = workers.next_grant(limit).expect("somebody is granted the lock");
        for _ in 0..2 {
            holder = workers.next_grant(limit).expect("somebody is granted the lock");
        }
        workers.stop(holder);
        let other = loop {
            // What the stopped one has said before it was stopped may still be on its way.
            match workers.next_grant(limit) {
                Some(next) if next == holder => {}
                other => break other,
            }
        };
        workers.go_on(holder);
        assert!(other.is_some(), "a lease ends although its holder is stopped");
        outcome.n_overtaken += 1;
    }
    for tally in workers.finish() {
        outcome.tally.n_grants += tally.n_grants;
        outcome.tally.n_accepted += tally.n_accepted;
        for (code, n) in tally.n_refused {
            *outcome.tally.n_refused.entry(code).or_default() += n;
        }
    }
    outcome
}

impl Outcome {
    /// How many accepted additions the number does not hold.
    pub fn n_lost(&self, number: u64) -> i64 {
        self.tally.n_accepted.cast_signed() - number.cast_signed()
    }
}

//! Whose turn it is to commit: everybody's, or the batch's alone.
//!
//! A batch that others wrote into while it was applied is applied again. Where they do so again and again, it gets its way
//! in the end: for one attempt nobody else commits.

use super::super::run::{Ended, Run};
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long somebody waits before it looks whether the run is over: a transform may hang in its turn.
const LOOK: Duration = Duration::from_millis(50);

/// What commits at this moment.
#[derive(Debug, Default)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    n_others: usize,
    is_batch_alone: bool,
}

/// A commit of somebody else; over when it is dropped.
pub struct OtherTurn<'a>(&'a Turns);

/// The batch's own turn; over when it is dropped.
pub struct BatchTurn<'a>(&'a Turns);

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, run: &Run, state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>, Ended> {
        run.go_on()?;
        Ok(self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Waits while the batch is alone.
    pub fn other(&self, run: &Run) -> Result<OtherTurn<'_>, Ended> {
        let mut state = self.lock();
        while state.is_batch_alone {
            state = self.wait(run, state)?;
        }
        state.n_others += 1;
        Ok(OtherTurn(self))
    }

    /// Lets nobody else begin, and waits for those who have. There is one batch at a time.
    pub fn batch(&self, run: &Run) -> Result<BatchTurn<'_>, Ended> {
        let mut state = self.lock();
        state.is_batch_alone = true;
        let turn = BatchTurn(self);
        while state.n_others > 0 {
            state = self.wait(run, state)?;
        }
        drop(state);
        Ok(turn)
    }
}

impl Drop for OtherTurn<'_> {
    fn drop(&mut self) {
        self.0.lock().n_others -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for BatchTurn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_batch_alone = false;
        self.0.changed.notify_all();
    }
}

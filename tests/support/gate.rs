//! Lets a test that measures time have the machine to itself.
//!
//! Every [`Site`](crate::Site) holds a [`Busy`]; [`quiet`] waits until no other thread has one and keeps new ones out.
//! The invariant: a thread that is inside already is never made to wait, so nothing can lock itself out.

use std::{
    cell::Cell,
    sync::{Condvar, Mutex, PoisonError},
};

#[derive(Default)]
struct State {
    n_busy: usize,
    n_waiting_for_quiet: usize,
    is_quiet: bool,
}

static STATE: Mutex<State> = Mutex::new(State { n_busy: 0, n_waiting_for_quiet: 0, is_quiet: false });
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// How many guards this thread holds; only the first of them counts.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Held while a test runs hosts.
#[derive(Debug)]
pub(crate) struct Busy(());

/// Held while a test measures.
#[derive(Debug)]
pub struct Quiet(());

impl Busy {
    pub(crate) fn new() -> Self {
        if enter_first() {
            let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
            let keep_out = |state: &mut State| state.is_quiet || state.n_waiting_for_quiet > 0;
            let mut state = CHANGED.wait_while(state, keep_out).unwrap_or_else(PoisonError::into_inner);
            state.n_busy += 1;
        }
        Self(())
    }
}

/// Waits until no other test runs hosts, and keeps them waiting until the guard is dropped.
///
/// # Panics
/// If this thread already has a site: make the guard first.
pub fn quiet() -> Quiet {
    assert!(enter_first(), "ask for quiet before making a site");
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.n_waiting_for_quiet += 1;
    let others = |state: &mut State| state.is_quiet || state.n_busy > 0;
    let mut state = CHANGED.wait_while(state, others).unwrap_or_else(PoisonError::into_inner);
    state.n_waiting_for_quiet -= 1;
    state.is_quiet = true;
    Quiet(())
}

fn enter_first() -> bool {
    HELD.with(|held| held.replace(held.get() + 1) == 0)
}

fn leave_last() -> bool {
    HELD.with(|held| held.replace(held.get() - 1) == 1)
}

impl Drop for Busy {
    fn drop(&mut self) {
        if leave_last() {
            STATE.lock().unwrap_or_else(PoisonError::into_inner).n_busy -= 1;
            CHANGED.notify_all();
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        leave_last();
        STATE.lock().unwrap_or_else(PoisonError::into_inner).is_quiet = false;
        CHANGED.notify_all();
    }
}

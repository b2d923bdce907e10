//! How far a source is with what was there before it started: known topics, retained messages, a cache.
//!
//! Invariant: it counts as caught up only when everything it had handed over by then is taken care of.

use crate::registry::{CatchUpCell, ComponentParts, RArc};
use lockstep_plugin_api::context::{CATCHING_UP, CAUGHT_UP};
use std::sync::atomic::Ordering;

/// One source's way to the present.
pub struct CatchUp {
    cell: RArc<CatchUpCell>,
    /// Every batch before this one has to be settled.
    until: Option<u64>,
    is_over: bool,
}

impl CatchUp {
    pub fn new(parts: &ComponentParts) -> Self {
        Self { cell: parts.catch_up.clone(), until: None, is_over: false }
    }

    /// Whether the source said that it has something to catch up with.
    pub fn is_under_way(&self) -> bool {
        self.cell.state.load(Ordering::Acquire) == CATCHING_UP
    }

    /// Looks after a poll, with the number of the next batch; true once, when the source has caught up.
    pub fn look(&mut self, next_seq: u64, is_settled_before: impl FnOnce(u64) -> bool) -> bool {
        if self.is_over || self.cell.state.load(Ordering::Acquire) != CAUGHT_UP {
            return false;
        }
        self.is_over = is_settled_before(*self.until.get_or_insert(next_seq));
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_caught_up_when_what_it_gave_until_then_is_settled() {
        let cell = RArc::new(CatchUpCell { state: CATCHING_UP.into() });
        let mut catch_up = CatchUp { cell: cell.clone(), until: None, is_over: false };
        assert!(catch_up.is_under_way() && !catch_up.look(3, |_| true));
        cell.state.store(CAUGHT_UP, Ordering::Release);
        assert!(!catch_up.look(5, |seq| seq < 5), "batch 4 is not settled");
        assert!(catch_up.look(9, |seq| seq <= 5), "what came later does not matter");
        assert!(!catch_up.look(9, |_| true), "told once");
    }
}

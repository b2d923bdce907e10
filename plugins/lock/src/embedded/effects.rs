//! What a round of decisions would have happen: what is written and told, who waits, who is answered.

use crate::{line::Waiter, meters::Tally, refusal::Refusal, request::Answer, table::Table, writes::Writes};
use std::{collections::HashSet, sync::Arc};

/// What a finished draft would have happen.
#[derive(Default)]
pub struct Effects {
    pub writes: Writes,
    pub joined: Vec<Arc<Waiter>>,
    pub left: HashSet<u64>,
    pub answers: Vec<(u64, Result<Answer, Refusal>)>,
    pub tally: Tally,
}

impl Table {
    /// Makes committed effects the table's own.
    pub fn adopt(&mut self, effects: &mut Effects) {
        for write in effects.writes.leases.drain(..) {
            self.set(&write.name, write.after);
        }
        for call in effects.left.drain() {
            self.lines.leave(call);
        }
        effects.joined.drain(..).for_each(|waiter| self.lines.join(waiter));
    }
}

//! What a round of decisions would have happen: what is written, what is told, who is answered.
//!
//! Invariant: every write says what it expects to find, so that the commit fails if it is something else.

use crate::{
    event::Event,
    line::Waiter,
    name::LockName,
    refusal::Refusal,
    request::Answer,
    table::{Held, Table},
};
use lockstep_plugin_api::prelude::*;
use std::{collections::HashSet, sync::Arc};

/// What the draft does to the metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub acquired: u64,
    pub released: u64,
    /// Refused because somebody else holds it, and for no other reason.
    pub contended: u64,
}

/// What a finished draft would have happen.
#[derive(Default)]
pub struct Effects {
    pub leases: Vec<LeaseWrite>,
    pub fences: Vec<FenceWrite>,
    pub events: Vec<Event>,
    pub joined: Vec<Arc<Waiter>>,
    pub left: HashSet<u64>,
    pub answers: Vec<(u64, Result<Answer, Refusal>)>,
    pub tally: Tally,
}

/// A lease that begins, changes or goes.
pub struct LeaseWrite {
    pub name: LockName,
    pub before: Option<Bytes>,
    pub after: Option<Held>,
}

/// A token that is registered.
pub struct FenceWrite {
    pub name: LockName,
    pub before: Option<Bytes>,
    pub after: Bytes,
}

impl Effects {
    /// Whether there is nothing for the store in it.
    pub fn is_only_answers(&self) -> bool {
        self.leases.is_empty() && self.fences.is_empty() && self.events.is_empty()
    }
}

impl Table {
    /// Makes committed effects the table's own.
    pub fn adopt(&mut self, effects: &mut Effects) {
        for write in effects.leases.drain(..) {
            self.set(&write.name, write.after);
        }
        for call in effects.left.drain() {
            self.lines.leave(call);
        }
        effects.joined.drain(..).for_each(|waiter| self.lines.join(waiter));
    }
}

/// Reads a registered token.
///
/// # Errors
/// If the stored text is no number.
pub fn token_from_stored(stored: &[u8]) -> Result<u64> {
    serde_json::from_slice(stored).map_err(Error::failed)
}

/// Writes a registered token.
pub fn token_to_stored(token: u64) -> Bytes {
    Bytes::from(token.to_string().into_bytes())
}

//! What operators see: totals that are staged with each batch, shown as metrics.

use crate::{manual::Moved, node::Counts, turn::Turn};
use lockstep_plugin_api::prelude::*;

impl Counts {
    /// The counts after this turn, and after what it did to the cases that somebody decides.
    pub fn after(self, turn: &Turn, moved: &Moved) -> Self {
        let is_conflict = u64::from(turn.outcome().is_some());
        // What nobody has to decide is decided on the spot.
        let is_resolved = is_conflict * u64::from(turn.pending().1.is_none());
        let n_decided = moved.decided().map_or(0, |case| case.n_detected);
        let moved = |count: u64, before: u64, after: u64| (count + after).saturating_sub(before);
        let (before, after) = (&turn.before, &turn.after);
        let tombstones = [before, after].map(|siblings| u64::from(siblings.is_tombstone()));
        Self {
            conflicts_detected: self.conflicts_detected + is_conflict,
            conflicts_resolved: self.conflicts_resolved + is_resolved + n_decided,
            tombstones: moved(self.tombstones, tombstones[0], tombstones[1]),
            context_entries: moved(
                self.context_entries,
                before.n_context_entries(),
                after.n_context_entries(),
            ),
        }
    }
}

/// What operators see.
#[derive(Debug)]
pub struct Metrics {
    detected: Tally,
    resolved: Tally,
    tombstones: Gauge,
    context_entries: Gauge,
    pub clock_ahead: Counter,
}

impl Metrics {
    /// The metrics of this component.
    pub fn new(context: &Context) -> Self {
        let fed = |name: &str| {
            context.feeds(name, name);
            Tally { counter: context.counter(name), seen: 0 }
        };
        Self {
            detected: fed("conflicts_detected"),
            resolved: fed("conflicts_resolved"),
            tombstones: context.gauge("resolver_tombstones"),
            context_entries: context.gauge("resolver_context_entries"),
            clock_ahead: context.counter("resolver_clock_ahead"),
        }
    }

    /// Begins at what is stored.
    pub fn start(&mut self, counts: &Counts) {
        self.detected.seen = counts.conflicts_detected;
        self.resolved.seen = counts.conflicts_resolved;
        self.show(counts);
    }

    /// Goes on to what is staged.
    pub fn follow(&mut self, counts: &Counts) {
        self.detected.reach(counts.conflicts_detected);
        self.resolved.reach(counts.conflicts_resolved);
        self.show(counts);
    }

    fn show(&self, counts: &Counts) {
        self.tombstones.set(counts.tombstones as i64);
        self.context_entries.set(counts.context_entries as i64);
    }
}

/// A counter that follows a stored total, so that a batch that is applied again does not count twice.
#[derive(Debug)]
struct Tally {
    counter: Counter,
    seen: u64,
}

impl Tally {
    fn reach(&mut self, total: u64) {
        if total > self.seen {
            self.counter.add(total - self.seen);
            self.seen = total;
        }
    }
}

//! What is counted, by either backend alike.

use crate::event::{Event, What};
use lockstep_plugin_api::prelude::*;

/// What requests did to the metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub acquired: u64,
    pub released: u64,
    /// Refused because somebody else holds it, and for no other reason.
    pub contended: u64,
}

/// The metrics of the leases.
pub struct Meters {
    acquired: Counter,
    released: Counter,
    contended: Counter,
    expired: Counter,
    forced: Counter,
    lost: Counter,
    pub held: Gauge,
    pub waiting: Gauge,
}

impl Meters {
    pub fn new(context: &Context) -> Self {
        context.feeds("locks_acquired", "lock_statistics.acquired");
        context.feeds("locks_released", "lock_statistics.released");
        context.feeds("lock_contentions", "lock_statistics.contentions");
        Self {
            acquired: context.counter("locks_acquired"),
            released: context.counter("locks_released"),
            contended: context.counter("lock_contentions"),
            expired: context.counter("locks_expired"),
            forced: context.counter("locks_forced"),
            lost: context.counter("locks_lost"),
            held: context.gauge("locks_held"),
            waiting: context.gauge("locks_waiting"),
        }
    }

    pub fn count(&self, tally: Tally, events: &[Event]) {
        self.acquired.add(tally.acquired);
        self.released.add(tally.released);
        self.contended.add(tally.contended);
        for event in events {
            match event.what {
                What::Expired => self.expired.add(1),
                What::Forced { .. } => self.forced.add(1),
                What::Lost => self.lost.add(1),
                What::Acquired | What::Released => {}
            }
        }
    }
}

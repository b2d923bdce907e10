//! The notice by which a host says that it lives, once per `sync_settings.heartbeat_interval`.

use crate::log::Log;
use crate::store::Commit;
use lockstep_plugin_api::{Change, Json, Record, time};
use std::time::{Duration, Instant};
use tracing::debug;

/// What the notice is called, as event type and as key: hosts have no key of their own.
const HEARTBEAT: &str = "heartbeat";

/// When the next notice is due.
pub struct Heartbeat {
    interval: Duration,
    due: Instant,
}

impl Heartbeat {
    /// The first notice comes one interval from now. An interval of zero is none at all.
    pub fn new(interval: Duration) -> Self {
        Self { interval, due: Instant::now() + interval }
    }

    /// Puts the notice into the log if it is due. Waits for nothing: one that is refused is left out.
    pub fn beat(&mut self, log: &Log, node_id: &str) {
        let now = Instant::now();
        if self.interval.is_zero() || now < self.due {
            return;
        }
        self.due = now + self.interval;
        log.submit(Commit::default(), vec![notice(node_id)], |result| {
            if let Err(error) = result {
                debug!(%error, "a heartbeat was left out");
            }
        });
    }
}

fn notice(node_id: &str) -> Record {
    let mut change = Change::new(HEARTBEAT, Json::null());
    change.set_event_type(HEARTBEAT);
    change.set_source_node(Some(node_id.into()));
    change.set_timestamp_us(Some(time::now_us()));
    Record::notice(change)
}

//! The sink: shows changes to the clients that subscribed to their keys.

use crate::{
    config::Settings,
    endpoint::{self, Hold, Role},
    outbox::Outbox,
    subscriptions::ConnectionNumber,
};
use lockstep_plugin_api::prelude::*;
use std::sync::Arc;

/// Queues each change for every connection that wants it; a batch is written when it is queued everywhere.
pub(crate) struct WebSocketSink {
    hold: Hold,
    /// Kept between changes, so that finding receivers allocates once.
    receivers: Vec<(ConnectionNumber, Arc<Outbox>)>,
}

impl Sink for WebSocketSink {
    type Config = Settings;

    fn new(settings: Settings, context: &Context) -> Result<Self> {
        let hold = endpoint::open(&settings, Role::Sink, context)?;
        Ok(Self { hold, receivers: Vec::new() })
    }

    fn write(&mut self, batch: &[Record], failures: &mut Failures) -> Result<()> {
        for record in batch {
            match record.known_change() {
                Some(change) => self.publish(change),
                None => match read(record) {
                    Ok(change) => self.publish(&change),
                    Err(error) => failures.push(record, error),
                },
            }
        }
        Ok(())
    }
}

fn read(record: &Record) -> Result<Change> {
    let value = record.value().ok_or_else(|| Error::rejected("bad_message", "the record has no value"))?;
    Change::from_json(&value)
}

impl WebSocketSink {
    fn publish(&mut self, change: &Change) {
        self.hold.server().publish(change, &mut self.receivers);
    }
}

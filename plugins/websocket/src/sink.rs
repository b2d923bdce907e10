//! The sink: shows changes to the clients that subscribed to their keys.

use crate::{
    config::Settings,
    endpoint::{self, Hold, Role},
    wire::Form,
};
use lockstep_plugin_api::prelude::*;

/// Queues each change for every connection that wants it; a batch is written when it is queued everywhere.
pub(crate) struct WebSocketSink {
    hold: Hold,
    through_log: bool,
}

impl Sink for WebSocketSink {
    type Config = Settings;

    fn advise(settings: &Settings, advice: &mut Advice) {
        settings.advise(advice);
    }

    fn new(settings: Settings, context: &Context) -> Result<Self> {
        let hold = endpoint::open(&settings, Role::Sink, context)?;
        Ok(Self { hold, through_log: context.through_log() })
    }

    fn write(&mut self, batch: &[Record], failures: &mut Failures) -> Result<()> {
        let server = self.hold.server();
        let mut delivery = server.fanout.begin(&server.metrics, server.settings.naive_timestamps);
        for record in batch {
            let read;
            let change = match record.known_change() {
                Some(change) => Ok(change),
                None => {
                    read = record.to_change();
                    read.as_ref().map_err(Clone::clone)
                }
            };
            match change.and_then(|change| Ok((change, self.form(record, change)?))) {
                Ok((change, form)) => delivery.publish(change, form),
                Err(error) => failures.push(record, error),
            }
        }
        Ok(())
    }
}

impl WebSocketSink {
    fn form(&self, record: &Record, change: &Change) -> Result<Form> {
        if !self.through_log {
            return Ok(Form::Direct);
        }
        if change.revision().is_none() {
            let message = "the record has no revision: a transform of this sink gave it a value without one";
            return Err(Error::rejected("bad_message", message));
        }
        Ok(Form::of_entry(record.is_notice()))
    }
}

//! `subscribe`: which keys a client wants to know of, and from where in the log on.

use crate::{
    outbox::{Reading, Reason},
    server::Connection,
    wire::{self, Refusal, SubscribeRequest},
};
use lockstep_plugin_api::prelude::*;
use serde_json::value::RawValue;

/// From where on a subscription gets what is in the log.
struct Start {
    /// Everything after this revision comes, one by one.
    revision: u64,
    /// What is read from the log first; `None` goes on as before.
    reading: Option<Reading>,
}

impl Start {
    /// Whether the state comes before the changes.
    fn has_snapshot(&self) -> bool {
        matches!(self.reading, Some(Reading::Snapshot { .. } | Reading::Resync(_)))
    }
}

impl Connection {
    /// Gives the client these patterns instead of the ones it had.
    pub(crate) fn subscribe(&self, request: SubscribeRequest, id: Option<&RawValue>) -> Result<(), Refusal> {
        if request.patterns.len() > self.server.settings.max_patterns {
            return Err(wire::TOO_MANY_PATTERNS.at("/patterns", "has more items than `max_patterns`"));
        }
        let globs = request.patterns.iter().map(|pattern| Glob::new(pattern)).collect::<Result<_, _>>();
        let globs = globs.map_err(|_| wire::BAD_PATTERN.at("/patterns", "has an item that is no glob"))?;
        let tenant = self.tenant(request.tenant_id.clone())?;
        let asks_for_history = request.since.is_some() || request.snapshot;
        if asks_for_history && self.server.log.history().is_none() {
            let is_through_log = self.server.log.position().is_some();
            return Err(if is_through_log { wire::HISTORY_AWAY } else { wire::NO_HISTORY });
        }
        // Nobody publishes meanwhile: everything of the old patterns comes before `subscribed`, of the new ones after.
        let mut state = self.server.fanout.state();
        let position = self.server.log.position();
        let start = position.as_ref().map(|position| self.start(&request, position, state.delivered));
        state.subscriptions.replace(self.number, &self.outbox, tenant.as_deref(), globs);
        if let Some(reading) = start.as_ref().and_then(|start| start.reading) {
            self.outbox.rewind(reading);
        }
        if id.is_some() || asks_for_history {
            let at = position.as_ref().zip(start.as_ref());
            let at = at.map(|(position, start)| (position.epoch.as_str(), start.revision));
            let has_snapshot = start.as_ref().is_some_and(Start::has_snapshot);
            self.push(wire::subscribed(id, &request.patterns, at, has_snapshot));
        }
        Ok(())
    }

    fn start(&self, request: &SubscribeRequest, position: &LogPosition, delivered: u64) -> Start {
        let LogPosition { epoch, head, .. } = position;
        let snapshot = Reading::Snapshot { after: 0, through: *head };
        let Some(since) = &request.since else {
            return match self.outbox.reading() {
                _ if request.snapshot => Start { revision: *head, reading: Some(snapshot) },
                None => Start { revision: delivered.max(self.outbox.live_after()), reading: None },
                Some(Reading::History { after }) => Start { revision: after, reading: None },
                // What was sent of it was for the old patterns.
                Some(Reading::Snapshot { .. }) => Start { revision: *head, reading: Some(snapshot) },
                Some(resync) => Start { revision: *head, reading: Some(resync) },
            };
        };
        let is_known = since.epoch.as_ref().is_none_or(|seen| seen == epoch) && since.revision <= *head;
        match (is_known, request.snapshot) {
            (false, _) => Start { revision: *head, reading: Some(Reading::Resync(Reason::EpochChanged)) },
            (true, true) => Start { revision: *head, reading: Some(snapshot) },
            (true, false) => {
                Start { revision: since.revision, reading: Some(Reading::History { after: since.revision }) }
            }
        }
    }
}

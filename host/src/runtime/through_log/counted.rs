//! What the guide's metrics document learns of a batch whose authors are told: how many changes of which type were
//! committed or were not, and how long they had been on their way.

use super::super::{failed::FailedRecord, flight::Flight};
use crate::telemetry::{Event, GuideMetrics};
use lockstep_plugin_api::{
    Change,
    change::{CONFIG_CREATED, CONFIG_DELETED, CONFIG_UPDATED},
};
use std::borrow::Cow;

/// What a record that is no change counts as.
const NO_CHANGE: &str = "unknown";

/// The type of each change that a part of a batch became.
#[derive(Debug, Default)]
pub struct EventTypes(Vec<Cow<'static, str>>);

impl EventTypes {
    /// Nearly every change is of a type that needs no copy.
    pub fn push(&mut self, change: &Change) {
        let known = [CONFIG_CREATED, CONFIG_UPDATED, CONFIG_DELETED];
        let event_type = change.event_type();
        let known = known.into_iter().find(|known| *known == event_type);
        self.0.push(known.map_or_else(|| event_type.to_owned().into(), Cow::Borrowed));
    }

    /// These were committed, those were given up.
    pub fn count<'a>(
        &'a self,
        guide: &GuideMetrics,
        flight: &Flight,
        failed: impl IntoIterator<Item = &'a FailedRecord>,
    ) {
        let latency = flight.polled_at.elapsed();
        let committed = self.0.iter().map(|event_type| Event { event_type, latency, is_success: true });
        let given_up = failed.into_iter().map(|failed| {
            let event_type = failed.record.known_change().map_or(NO_CHANGE, Change::event_type);
            Event { event_type, latency, is_success: false }
        });
        guide.record(committed.chain(given_up));
    }
}

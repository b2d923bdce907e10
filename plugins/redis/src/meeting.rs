//! Where a sink finds the source of the same place in the same pipeline: what a cell shows and the sink's state does not
//! know has to go through it.
//!
//! A static of the library, which outlives every component: an entry holds its source weakly.

use crate::source::inbox::Inbox;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// A place, in one pipeline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Meeting {
    pub(crate) pipeline: String,
    pub(crate) endpoint: String,
}

/// Whether a place has a source.
#[derive(Debug)]
pub(crate) enum Met {
    Source(Arc<Inbox>),
    /// It had one, which has ended.
    Gone,
    Nobody,
}

static SOURCES: Mutex<BTreeMap<Meeting, Weak<Inbox>>> = Mutex::new(BTreeMap::new());

fn sources() -> MutexGuard<'static, BTreeMap<Meeting, Weak<Inbox>>> {
    SOURCES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meeting {
    /// A source of a pipeline through the log is there.
    pub(crate) fn open(&self, inbox: &Arc<Inbox>) {
        sources().insert(self.clone(), Arc::downgrade(inbox));
    }

    /// A sink comes: a source of an earlier run of the pipeline is nobody's.
    pub(crate) fn enter(&self) {
        sources().retain(|meeting, inbox| meeting != self || inbox.strong_count() > 0);
    }

    pub(crate) fn source(&self) -> Met {
        match sources().get(self).map(Weak::upgrade) {
            Some(Some(inbox)) => Met::Source(inbox),
            Some(None) => Met::Gone,
            None => Met::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_meets_the_source_of_its_pipeline_and_place() {
        let meeting = |pipeline: &str, endpoint: &str| Meeting {
            pipeline: pipeline.to_owned(),
            endpoint: endpoint.to_owned(),
        };
        let (here, inbox) = (meeting("p", "redis:a"), Arc::new(Inbox::default()));
        here.open(&inbox);
        assert!(matches!(here.source(), Met::Source(found) if Arc::ptr_eq(&found, &inbox)));
        assert!(matches!(meeting("p", "redis:b").source(), Met::Nobody));
        assert!(matches!(meeting("q", "redis:a").source(), Met::Nobody));
        drop(inbox);
        assert!(matches!(here.source(), Met::Gone));
        here.enter();
        assert!(matches!(here.source(), Met::Nobody));
    }
}

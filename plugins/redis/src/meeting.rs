//! Where the source and the sinks of one place in one pipeline find each other: what a cell shows and the sink's state does
//! not know has to go through the source, and the cell of what the source read without one is written by the sink.
//!
//! A static of the library, which outlives every component: it holds them weakly.

use crate::{sink::renewal::Renewals, source::inbox::Inbox};
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

#[derive(Debug, Default)]
struct Present {
    source: Option<Weak<Inbox>>,
    sinks: Vec<Weak<Renewals>>,
}

static PRESENT: Mutex<BTreeMap<Meeting, Present>> = Mutex::new(BTreeMap::new());

fn present() -> MutexGuard<'static, BTreeMap<Meeting, Present>> {
    PRESENT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meeting {
    /// A source of a pipeline through the log is there. Sinks of an earlier run of the pipeline are nobody's.
    pub(crate) fn open(&self, inbox: &Arc<Inbox>) {
        let mut present = present();
        let here = present.entry(self.clone()).or_default();
        here.sinks.retain(|sink| sink.strong_count() > 0);
        here.source = Some(Arc::downgrade(inbox));
    }

    /// A sink comes. A source of an earlier run is nobody's, and the sink in whose place it comes is gone.
    pub(crate) fn enter(&self, renewals: &Arc<Renewals>) {
        let mut present = present();
        let here = present.entry(self.clone()).or_default();
        here.source.take_if(|inbox| inbox.strong_count() == 0);
        here.sinks.retain(|sink| sink.strong_count() > 0);
        here.sinks.push(Arc::downgrade(renewals));
    }

    pub(crate) fn source(&self) -> Met {
        match present().get(self).and_then(|here| here.source.as_ref()).map(Weak::upgrade) {
            Some(Some(inbox)) => Met::Source(inbox),
            Some(None) => Met::Gone,
            None => Met::Nobody,
        }
    }

    /// The sinks of the place, each of which may be given a part of the keys; `None` if one of them has ended.
    pub(crate) fn sinks(&self) -> Option<Vec<Arc<Renewals>>> {
        let present = present();
        let Some(here) = present.get(self) else { return Some(Vec::new()) };
        here.sinks.iter().map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meeting(pipeline: &str, endpoint: &str) -> Meeting {
        Meeting { pipeline: pipeline.to_owned(), endpoint: endpoint.to_owned() }
    }

    #[test]
    fn a_sink_meets_the_source_of_its_pipeline_and_place() {
        let (here, inbox) = (meeting("p", "redis:a"), Arc::new(Inbox::default()));
        here.open(&inbox);
        assert!(matches!(here.source(), Met::Source(found) if Arc::ptr_eq(&found, &inbox)));
        assert!(matches!(meeting("p", "redis:b").source(), Met::Nobody));
        assert!(matches!(meeting("q", "redis:a").source(), Met::Nobody));
        drop(inbox);
        assert!(matches!(here.source(), Met::Gone));
        here.enter(&Arc::new(Renewals::default()));
        assert!(matches!(here.source(), Met::Nobody));
    }

    #[test]
    fn a_source_meets_every_sink_of_its_place_or_waits_for_the_one_that_is_opened_again() {
        let here = meeting("p", "redis:c");
        assert!(here.sinks().is_some_and(|sinks| sinks.is_empty()));
        let (first, second) = (Arc::new(Renewals::default()), Arc::new(Renewals::default()));
        here.enter(&first);
        here.enter(&second);
        assert_eq!(here.sinks().map(|sinks| sinks.len()), Some(2));
        drop(second);
        assert!(here.sinks().is_none());
        here.open(&Arc::new(Inbox::default()));
        assert_eq!(here.sinks().map(|sinks| sinks.len()), Some(1));
    }
}

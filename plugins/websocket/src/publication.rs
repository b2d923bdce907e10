//! A change or a notice as subscribers are shown it: its frame is made once, whoever gets it.

use std::{ops::Range, sync::Arc};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

/// What is queued for everybody who wants it.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) text: Utf8Bytes,
    /// Whose answer has to come first, if its author is the one who gets it.
    pub(crate) event: Option<Uuid>,
    /// Its place in the log; a direct pipeline has none.
    pub(crate) entry: Option<Entry>,
}

/// Where a publication stands in the log, and what it takes to conflate it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) revision: u64,
    /// What a later entry replaces; notices replace nothing and are replaced by nothing.
    pub(crate) subject: Option<Subject>,
}

/// Whose value an entry is, and where its frame says what the value was before.
#[derive(Debug)]
pub(crate) struct Subject {
    /// The tenant, NUL, the key.
    pub(crate) name: Arc<str>,
    pub(crate) old_value: Range<usize>,
}

/// What a conflated message stands for beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflated {
    /// The first revision of the key that it stands for.
    pub(crate) from_revision: u64,
    /// The value before that.
    pub(crate) old_value: Box<str>,
}

impl Publication {
    /// The place in the log; 0 without one.
    pub(crate) fn revision(&self) -> u64 {
        self.entry.as_ref().map_or(0, |entry| entry.revision)
    }

    /// Whose value it is, if a later one can stand for it.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        self.entry.as_ref()?.subject.as_ref()
    }

    /// What a message has to add that stands for this one and those behind it.
    pub(crate) fn as_first(&self) -> Option<Conflated> {
        let old_value = self.text.get(self.subject()?.old_value.clone())?;
        Some(Conflated { from_revision: self.revision(), old_value: old_value.into() })
    }

    /// The frame, with what it stands for.
    pub(crate) fn frame(&self, conflated: Option<&Conflated>) -> Utf8Bytes {
        let (Some(conflated), Some(subject)) = (conflated, self.subject()) else { return self.text.clone() };
        let Conflated { from_revision, old_value } = conflated;
        let text = self.text.as_str();
        let head = &text[..subject.old_value.start];
        let tail = text[subject.old_value.end..].strip_suffix('}').expect("a frame is a JSON object");
        format!("{head}{old_value}{tail},\"from_revision\":{from_revision}}}").into()
    }
}

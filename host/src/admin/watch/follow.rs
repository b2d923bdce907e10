//! One watcher's way through the log.
//!
//! Invariant: after each page, everything up to `after` that concerns the watcher was given to it, or it was told that
//! changes were left out and got the newest entry of every key that changed in them.

use super::{Asked, line};
use crate::log::Log;
use crate::store::StoreError;
use lockstep_plugin_api::Record;
use std::time::Duration;

/// About how much is read and sent at once.
const MAX_RECORDS: usize = 500;
const MAX_BYTES: u64 = 256 << 10;

/// Who was at the end of the log and is now so many entries behind it gets current values and not each change.
pub(super) const MAX_LAG: u64 = 10_000;

pub(super) struct Watcher {
    log: Log,
    asked: Asked,
    after: u64,
    way: Way,
    /// What is to be said before anything else.
    ahead: String,
    /// Whether it was told of the gap that it is in.
    in_gap: bool,
}

/// What the watcher is given.
enum Way {
    /// Every entry.
    History {
        /// It had come to the end of the log once.
        was_at_end: bool,
    },
    /// The newest entry of each key, up to the end that the log had.
    Current {
        until: u64,
        /// Whoever begins here has nothing that a deletion before that end could take away. A later one may be of a key
        /// that was shown.
        with_deletions: bool,
    },
}

impl Watcher {
    pub fn new(log: Log, asked: Asked) -> Self {
        let (epoch, head) = (log.epoch().to_owned(), log.head());
        let is_other = |since: &super::Since| {
            since.revision > head || since.epoch.as_ref().is_some_and(|other| *other != epoch)
        };
        let history = Way::History { was_at_end: false };
        let current = Way::Current { until: head, with_deletions: false };
        let (after, way, reason) = match &asked.since {
            // What it has is of another log, and of no use here.
            Some(since) if is_other(since) => (0, current, Some("epoch_changed")),
            Some(since) => (since.revision, history, None),
            None if asked.snapshot => (0, current, None),
            None => (head, history, None),
        };
        let mut ahead = line::watching(&epoch, after);
        ahead.extend(reason.map(|reason| line::resync(&epoch, after, reason)));
        Self { log, asked, after, way, ahead, in_gap: false }
    }

    /// What comes next; nothing at the end of the log.
    pub fn next_page(&mut self) -> Result<String, StoreError> {
        let mut page = std::mem::take(&mut self.ahead);
        let head = self.log.head();
        match self.way {
            Way::History { was_at_end: true } if head.saturating_sub(self.after) > MAX_LAG => {
                page += &self.resync("slow");
                self.way = Way::Current { until: head, with_deletions: true };
            }
            Way::History { .. } if self.after < head => self.read_history(head, &mut page)?,
            Way::History { .. } => self.way = Way::History { was_at_end: true },
            Way::Current { until, with_deletions } => self.read_current(until, with_deletions, &mut page)?,
        }
        Ok(page)
    }

    fn read_history(&mut self, head: u64, page: &mut String) -> Result<(), StoreError> {
        let read = self.log.read(self.after, MAX_RECORDS, MAX_BYTES)?;
        if read.gap.is_some() && !self.in_gap {
            *page += &self.resync("compacted");
        }
        self.in_gap = read.gap.is_some();
        read.batch.iter().for_each(|record| self.add(record, page));
        self.after = read.through;
        let Way::History { was_at_end } = &mut self.way else { return Ok(()) };
        *was_at_end |= self.after >= head;
        Ok(())
    }

    fn read_current(
        &mut self,
        until: u64,
        with_deletions: bool,
        page: &mut String,
    ) -> Result<(), StoreError> {
        let read = self.log.current(self.after, MAX_RECORDS, MAX_BYTES)?;
        let was_gone = |record: &&Record| {
            let change = record.known_change().filter(|change| change.is_deletion());
            change.is_some_and(|change| change.revision().is_some_and(|revision| revision <= until))
        };
        let shown = read.batch.iter().filter(|record| with_deletions || !was_gone(record));
        shown.for_each(|record| self.add(record, page));
        self.after = read.through.max(self.after);
        if self.after >= until {
            // Now it has all current values.
            *page += &self.bookmark();
            self.way = Way::History { was_at_end: true };
        }
        Ok(())
    }

    fn add(&self, record: &Record, page: &mut String) {
        let Some(change) = record.known_change() else { return };
        let patterns = &self.asked.patterns;
        let is_wanted =
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(change.config_key()));
        if is_wanted && change.tenant_id() == self.asked.tenant.as_deref() {
            page.extend(line::entry(record));
        }
    }

    /// How far it has come.
    pub fn bookmark(&self) -> String {
        line::bookmark(self.log.epoch(), self.after)
    }

    fn resync(&self, reason: &str) -> String {
        line::resync(self.log.epoch(), self.after, reason)
    }

    pub fn is_at_end(&self) -> bool {
        self.after >= self.log.head()
    }

    /// Waits for something new, at most this long.
    pub fn wait(&self, limit: Duration) {
        self.log.wait(self.after, limit);
    }
}

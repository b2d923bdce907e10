//! Reading the log page by page.

use std::sync::Arc;

use lockstep_plugin_api::{Batch, Record};

use super::entry::decode;
use super::ring::Recent;
use super::{Log, Shared};
use crate::store::{EntryPage, ReadLimit, StoreError, StoredEntry};

/// Entries in revision order.
#[derive(Debug, Clone)]
pub struct Page {
    pub batch: Batch,
    /// Everything up to here is covered: the next page is read after it.
    pub through: u64,
    /// The page starts where history is incomplete.
    pub gap: Option<Gap>,
}

/// Entries between `after` and `compacted` are gone, but for the newest one of each key. A reader hears of it with each
/// page until it has passed `compacted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub after: u64,
    pub compacted: u64,
}

impl Log {
    /// Entries after revision `after`: at least one if there is one, at most `max_records` of about `max_bytes`.
    pub fn read(&self, after: u64, max_records: usize, max_bytes: u64) -> Result<Page, StoreError> {
        let (head, recent) = {
            let ring = self.shared().ring();
            if after >= ring.head() {
                return Ok(Page { batch: Batch::new(Vec::new()), through: ring.head(), gap: None });
            }
            (ring.head(), ring.after(after, max_records))
        };
        match recent {
            Some(recent) => self.shared().recent_page(&recent, after, max_records, max_bytes),
            None => self.read_stored(after, max_records, max_bytes, head),
        }
    }

    /// As [`Log::read`], but from the disk, and no further than `head`.
    pub(super) fn read_stored(
        &self,
        after: u64,
        max_records: usize,
        max_bytes: u64,
        head: u64,
    ) -> Result<Page, StoreError> {
        let limit = ReadLimit { through: head, records: max_records, bytes: max_bytes };
        let found = self.shared().store.entries(after, limit)?;
        let gap = (after < found.compacted).then_some(Gap { after, compacted: found.compacted });
        Ok(Page { gap, ..self.shared().stored_page(found, head)? })
    }

    /// As [`Log::read`], of the entries that are the newest of their key. Notices are the newest of nothing.
    ///
    /// Read to its end and then on with [`Log::read`], it gives the newest entry of every key. An entry that is
    /// replaced in the meantime is left out here and comes later.
    pub fn current(&self, after: u64, max_records: usize, max_bytes: u64) -> Result<Page, StoreError> {
        let head = self.head();
        let limit = ReadLimit { through: head, records: max_records, bytes: max_bytes };
        self.shared().stored_page(self.shared().store.current_entries(after, limit)?, head)
    }
}

impl Shared {
    pub(super) fn record(&self, entry: &StoredEntry) -> Result<Record, StoreError> {
        decode(entry.value(), &self.epoch, entry.revision).ok_or_else(|| self.damaged())
    }

    fn stored_page(&self, found: EntryPage, head: u64) -> Result<Page, StoreError> {
        let last = found.entries.last().map_or(0, |entry| entry.revision);
        let records = found.entries.iter().map(|entry| self.record(entry)).collect::<Result<_, _>>()?;
        let through = if found.is_end { head } else { last };
        Ok(Page { batch: Batch::new(records), through, gap: None })
    }

    /// One commit that fits is passed on as it is; of several, or of a part, a batch is made.
    fn recent_page(
        &self,
        recent: &[Arc<Recent>],
        after: u64,
        max_records: usize,
        max_bytes: u64,
    ) -> Result<Page, StoreError> {
        let batches = recent.iter().map(|commit| commit.batch(&self.epoch).ok_or_else(|| self.damaged()));
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let mut n_skipped = batches[0].len() - recent[0].n_after(after);
        let (mut n_records, mut n_bytes) = (0, 0);
        let wanted = batches.iter().flat_map(|batch| batch.iter()).skip(n_skipped).take_while(|record| {
            n_bytes += record.size() as u64;
            n_records < max_records && (n_bytes <= max_bytes || n_records == 0) && {
                n_records += 1;
                true
            }
        });
        let n_wanted = wanted.count();
        let through = after + n_wanted as u64;
        if n_skipped == 0 && n_wanted == batches[0].len() {
            return Ok(Page { batch: batches[0].clone(), through, gap: None });
        }
        let mut records = Vec::with_capacity(n_wanted);
        for batch in &batches {
            let part = batch.iter().skip(n_skipped).take(n_wanted - records.len());
            records.extend(part.cloned());
            n_skipped = 0;
        }
        Ok(Page { batch: Batch::new(records), through, gap: None })
    }
}

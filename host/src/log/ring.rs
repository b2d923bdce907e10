//! The newest entries in memory, so that whoever keeps up never reads the disk.
//!
//! Invariant: it holds every entry from its first to the head without a gap, in at most its bytes, and each commit's
//! batch is made once, by the first who reads it, and shared by all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_plugin_api::{Batch, Bytes, Change, Record};

use super::entry::decode;

/// What a record takes beside the bytes of its entry.
const RECORD_BYTES: usize = size_of::<Record>() + size_of::<Change>();

pub(super) struct Ring {
    max_bytes: usize,
    n_bytes: usize,
    head: u64,
    commits: VecDeque<Arc<Recent>>,
}

/// The entries of one commit.
pub(super) struct Recent {
    first: u64,
    n_records: usize,
    n_bytes: usize,
    content: Mutex<Content>,
}

enum Content {
    /// As they are stored.
    Entries(Vec<Bytes>),
    Batch(Batch),
}

impl Ring {
    pub fn new(head: u64, max_bytes: usize) -> Self {
        Self { max_bytes, n_bytes: 0, head, commits: VecDeque::new() }
    }

    /// The newest revision.
    pub fn head(&self) -> u64 {
        self.head
    }

    pub fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    pub fn n_records(&self) -> u64 {
        self.commits.front().map_or(0, |commit| self.head + 1 - commit.first)
    }

    /// Takes the entries of the next commit.
    pub fn push(&mut self, first: u64, entries: Vec<Bytes>) {
        if first != self.head + 1 {
            // Nobody else appends; if somebody did, what follows is still right.
            self.commits.clear();
            self.n_bytes = 0;
        }
        let n_records = entries.len();
        let n_bytes = entries.iter().map(|entry| entry.len() + RECORD_BYTES).sum();
        let content = Mutex::new(Content::Entries(entries));
        self.head = first + n_records as u64 - 1;
        self.n_bytes += n_bytes;
        self.commits.push_back(Arc::new(Recent { first, n_records, n_bytes, content }));
        while self.n_bytes > self.max_bytes {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.n_bytes -= oldest.n_bytes;
        }
    }

    /// The commits that hold the entries after revision `after`, up to `max_records` of them and at least one commit.
    /// `None` if it does not reach back that far.
    pub fn after(&self, after: u64, max_records: usize) -> Option<Vec<Arc<Recent>>> {
        if self.commits.front()?.first > after + 1 {
            return None;
        }
        let start = self.commits.partition_point(|commit| commit.last() <= after);
        let mut n_records = 0;
        let wanted = self.commits.iter().skip(start).take_while(|commit| {
            let is_wanted = n_records < max_records;
            n_records += commit.n_after(after);
            is_wanted
        });
        Some(wanted.map(Arc::clone).collect())
    }
}

impl Recent {
    fn last(&self) -> u64 {
        self.first + self.n_records as u64 - 1
    }

    /// How many of its entries come after revision `after`.
    pub fn n_after(&self, after: u64) -> usize {
        (self.last() - after.clamp(self.first - 1, self.last())) as usize
    }

    /// The records of the commit; `None` if an entry cannot be read.
    pub fn batch(&self, epoch: &str) -> Option<Batch> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match &*content {
            Content::Batch(batch) => return Some(batch.clone()),
            Content::Entries(entries) => {
                let records = entries.iter().zip(self.first..);
                let records = records.map(|(entry, revision)| decode(entry, epoch, revision));
                Batch::new(records.collect::<Option<_>>()?)
            }
        };
        *content = Content::Batch(batch.clone());
        Some(batch)
    }
}

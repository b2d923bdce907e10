//! How a client comes along in the log: sent somewhere in it, given pages, and live again.

use super::{Behind, Outbox, Pushed, Reading, Then, Waiting, queue::Item, stage::Stage};
use crate::publication::Publication;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;

impl Outbox {
    /// What the client gets begins after this revision of the log; only before it is shown anything.
    pub(crate) fn begin_after(&self, revision: u64) {
        let mut waiting = self.waiting();
        if waiting.stage == Stage::default() {
            waiting.stage = Stage::Live { after: Some(revision) };
        }
    }

    /// Reads on from elsewhere: what waits of the log is forgotten.
    pub(crate) fn rewind(&self, reading: Reading) {
        let mut waiting = self.waiting();
        waiting.queue.drop_entries();
        self.set_behind(&mut waiting, reading);
    }

    /// What is to be read for this client, if it is behind.
    pub(crate) fn reading(&self) -> Option<Reading> {
        match self.waiting().stage {
            Stage::Behind(reading) => Some(reading),
            Stage::Live { .. } => None,
        }
    }

    /// After which revision a live client gets everything; 0 without a log.
    pub(crate) fn live_after(&self) -> u64 {
        match self.waiting().stage {
            Stage::Live { after } => after.unwrap_or(0),
            Stage::Behind(_) => 0,
        }
    }

    /// Waits until the client is behind. Cancel-safe.
    pub(crate) async fn behind(&self) -> Behind {
        loop {
            if let Some(behind) = self.waiting().behind() {
                return behind;
            }
            self.fell_behind.notified().await;
        }
    }

    /// Waits until there is room for a page; false if the client took nothing for as long as `patience`. Cancel-safe.
    pub(crate) async fn has_room(&self, patience: Duration) -> bool {
        loop {
            let n_taken = {
                let mut waiting = self.waiting();
                if waiting.has_room(self.limit) {
                    waiting.wants_all_room = false;
                    return true;
                }
                waiting.wants_room = true;
                waiting.n_taken
            };
            if timeout(patience, self.drained.notified()).await.is_err() {
                let mut waiting = self.waiting();
                // It cannot take what is held back from it.
                let was_held = waiting.queue.is_held();
                waiting.hold_nothing_back();
                self.filled.notify_one();
                if waiting.n_taken == n_taken && !was_held {
                    return false;
                }
            }
        }
    }

    /// Tells the client that it has missed something, and what comes instead.
    pub(crate) fn resync(&self, behind: Behind, message: Utf8Bytes, reading: Reading) -> Pushed {
        let mut waiting = self.waiting();
        if !waiting.is_at(behind) {
            return Pushed::Skipped;
        }
        let pushed = self.put(&mut waiting, Item::Text(message));
        waiting.stage = Stage::Behind(reading);
        drop(waiting);
        self.filled.notify_one();
        pushed
    }

    /// Queues a page of the log as far as there is room, and says what comes next; nothing, if the client was sent
    /// somewhere else meanwhile. What did not fit is read again.
    pub(crate) fn push_page(&self, behind: Behind, page: &[Arc<Publication>], then: Then) -> Pushed {
        let mut waiting = self.waiting();
        if !waiting.is_at(behind) {
            return Pushed::Skipped;
        }
        // What a sink's transforms made of one entry stays together.
        for (n_before, entry) in page.chunk_by(|a, b| a.revision() == b.revision()).enumerate() {
            let n_bytes: usize = entry.iter().map(|publication| Item::shown(publication).bytes()).sum();
            if waiting.queue.bytes() > 0 && waiting.queue.bytes() + n_bytes > self.limit / 2 {
                waiting.stage = Stage::Behind(behind.reading.with_after(entry[0].revision() - 1));
                // What did not fit where there was room fits where nothing waits; until then it is not read again.
                waiting.wants_all_room = n_before == 0;
                drop(waiting);
                self.filled.notify_one();
                return Pushed::Queued;
            }
            for publication in entry {
                if let Some(event) = publication.event.filter(|event| waiting.unanswered.contains(event)) {
                    waiting.queue.push(Item::AnswerTo(event));
                }
                waiting.queue.push(Item::shown(publication));
            }
        }
        match then {
            Then::Read(reading) => waiting.stage = Stage::Behind(reading),
            Then::Live { after, bookmark } => {
                waiting.stage = Stage::Live { after: Some(after) };
                // Not for want of room are the entries before it to be read again.
                waiting.queue.push(Item::Bookmark(bookmark));
            }
        }
        drop(waiting);
        self.filled.notify_one();
        Pushed::Queued
    }

    pub(super) fn set_behind(&self, waiting: &mut Waiting, reading: Reading) {
        waiting.turn += 1;
        waiting.stage = Stage::Behind(reading);
        self.fell_behind.notify_one();
    }
}

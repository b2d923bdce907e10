//! What waits to be written to one client, bounded in bytes, and how far that client has come in the log.
//!
//! Nobody ever waits to put something in: what a slow client cannot take is conflated, then forgotten and read from the
//! log again, and a client without a log behind it, or one that takes nothing at all, loses its connection. An author is
//! answered before it sees its own change: where the change is shown first, it and what comes behind it are held back
//! until the answer is there (GAP-13).

mod queue;
mod writer;
#[cfg(test)]
mod tests;

pub(crate) use writer::write_frames;

use crate::publication::Publication;
use queue::{Item, Queue};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};
use tokio_tungstenite::tungstenite::{Utf8Bytes, protocol::frame::coding::CloseCode};
use uuid::Uuid;

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: CloseCode,
    pub(crate) reason: &'static str,
}

/// The client did not read what it subscribed to.
pub(crate) const TOO_SLOW: Closing = Closing { code: CloseCode::Again, reason: "too slow" };

/// What waits for one client.
pub(crate) struct Outbox {
    limit: usize,
    waiting: Mutex<Waiting>,
    /// Something was put in.
    filled: Notify,
    /// `Waiting::closing` was set.
    closed: Notify,
    /// `Waiting::stage` is no longer live.
    fell_behind: Notify,
    /// There is room for a page of the log again.
    drained: Notify,
    /// Something was put in by [`Outbox::show`] and its task was not told yet.
    is_untold: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    queue: Queue,
    ping: bool,
    /// The client's own changes that are on their way through the pipeline.
    unanswered: Vec<Uuid>,
    stage: Stage,
    /// How often the client was sent somewhere in the log: whoever reads for it sees by this that it was sent elsewhere.
    turn: u64,
    /// The last publication that was shown, so that a client with many matching patterns gets it once.
    shown: u64,
    /// How many items were taken out to be written.
    n_taken: u64,
    wants_room: bool,
    /// Once set, nothing more is taken in.
    closing: Option<Closing>,
}

/// How the client gets what is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// From the sink, as it happens, beginning after this revision; `None` if there was no log when it connected.
    Live { after: Option<u64> },
    /// From the log itself, until it has caught up.
    Behind(Reading),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Live { after: None }
    }
}

/// What a client that is behind is to get next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The word that it has missed something, and then a snapshot.
    Resync(Reason),
    /// The newest entry of every key up to the revision `through`, of which those up to `after` are queued; then history.
    Snapshot { after: u64, through: u64 },
    /// Every entry after this revision.
    History { after: u64 },
}

/// Why a client cannot have every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// History does not reach back to what it has seen.
    Compacted,
    /// It reads too slowly.
    Slow,
    /// What it has seen was another log.
    EpochChanged,
}

impl Reason {
    /// As on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compacted => "compacted",
            Self::Slow => "slow",
            Self::EpochChanged => "epoch_changed",
        }
    }
}

/// A client that has fallen behind, and what it is to get next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    turn: u64,
    pub(crate) reading: Reading,
}

/// What to do with a client once a page is queued.
#[derive(Debug)]
pub(crate) enum Then {
    /// More is to be read.
    Read(Reading),
    /// It has caught up to this revision; the message says so to the client.
    Live { after: u64, bookmark: Utf8Bytes },
}

/// What to write next.
enum Next {
    Ping,
    Text(Utf8Bytes),
    Close(Closing),
}

/// What became of something that was put in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// Queued, after this many entries were conflated into later ones.
    Conflated(usize),
    /// The client has it already, or gets it from the log.
    Skipped,
    /// There is no room even so: what waited is read from the log again.
    FellBehind,
    /// There is no room and no log: the connection is being closed because of it.
    Overflowed,
    /// The connection was being closed already.
    Closed,
}

impl Outbox {
    /// Holds `limit` bytes, and always at least one item, whatever its size.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
            filled: Notify::new(),
            closed: Notify::new(),
            fell_behind: Notify::new(),
            drained: Notify::new(),
            is_untold: AtomicBool::new(false),
        }
    }

    /// Queues a message that is said once.
    pub(crate) fn push(&self, frame: Utf8Bytes) -> Pushed {
        let mut waiting = self.waiting();
        let pushed = self.put(&mut waiting, Item::Text(frame));
        drop(waiting);
        self.filled.notify_one();
        pushed
    }

    /// Queues what the sink shows to everybody; `number` is greater from publication to publication. The client's own
    /// change waits for its answer. The task that writes is told by [`Outbox::tell`], for many publications at once.
    pub(crate) fn show(&self, publication: &Arc<Publication>, number: u64) -> Pushed {
        let mut waiting = self.waiting();
        if std::mem::replace(&mut waiting.shown, number) == number || waiting.has(publication) {
            return Pushed::Skipped;
        }
        self.put_shown(&mut waiting, publication)
    }

    /// Whether this is the first thing to tell since [`Outbox::tell`].
    pub(crate) fn is_first_untold(&self) -> bool {
        !self.is_untold.swap(true, Ordering::AcqRel)
    }

    /// Wakes the task that writes.
    pub(crate) fn tell(&self) {
        self.is_untold.store(false, Ordering::Release);
        self.filled.notify_one();
    }

    /// The client made this change; [`Outbox::answer`] will follow.
    pub(crate) fn expect_answer(&self, event: Uuid) {
        self.waiting().unanswered.push(event);
    }

    /// Queues the answer to a change, in front of the change itself if that waits for it.
    pub(crate) fn answer(&self, event: Uuid, frame: Utf8Bytes) -> Pushed {
        let mut waiting = self.waiting();
        waiting.unanswered.retain(|unanswered| *unanswered != event);
        let pushed = match waiting.queue.fill(event, frame) {
            Ok(()) => Pushed::Queued,
            Err(frame) => self.put(&mut waiting, Item::Text(frame)),
        };
        drop(waiting);
        self.filled.notify_one();
        pushed
    }

    /// Asks the client for a sign of life, ahead of what is queued.
    pub(crate) fn ping(&self) {
        self.waiting().ping = true;
        self.filled.notify_one();
    }

    /// Closes the connection once what is queued has been written. The first reason counts.
    pub(crate) fn close(&self, closing: Closing) {
        self.waiting().closing.get_or_insert(closing);
        self.notify_closed();
    }

    /// Waits until the connection is being closed, and says why. Cancel-safe.
    pub(crate) async fn closed(&self) -> Closing {
        loop {
            if let Some(closing) = self.waiting().closing {
                return closing;
            }
            self.closed.notified().await;
        }
    }

    fn notify_closed(&self) {
        self.closed.notify_one();
        self.filled.notify_one();
    }

    async fn filled(&self) {
        self.filled.notified().await;
    }

    fn put_shown(&self, waiting: &mut Waiting, publication: &Arc<Publication>) -> Pushed {
        let item = Item::shown(publication);
        let full_soon = waiting.queue.bytes() + item.bytes() > self.limit / 2;
        if let Some(event) =
            publication.event.filter(|event| !full_soon && waiting.unanswered.contains(event))
        {
            waiting.queue.push(Item::AnswerTo(event));
        }
        self.put(waiting, item)
    }

    fn put(&self, waiting: &mut Waiting, item: Item) -> Pushed {
        if waiting.closing.is_some() {
            return Pushed::Closed;
        }
        let is_entry = item.is_entry();
        let pushed = self.make_room(waiting, item.bytes());
        match pushed {
            Pushed::Overflowed => self.notify_closed(),
            // The entry itself is read from the log again too.
            Pushed::FellBehind if is_entry => {}
            _ => waiting.queue.push(item),
        }
        if waiting.queue.bytes() > self.limit / 2 {
            waiting.hold_nothing_back();
        }
        pushed
    }

    fn make_room(&self, waiting: &mut Waiting, n_bytes: usize) -> Pushed {
        let fits =
            |waiting: &Waiting, limit| waiting.queue.is_empty() || waiting.queue.bytes() + n_bytes <= limit;
        if fits(waiting, self.limit) {
            return Pushed::Queued;
        }
        waiting.hold_nothing_back();
        let n_conflated = if waiting.queue.has_entries() { waiting.queue.conflate() } else { 0 };
        // Some room has to be won, or the next entry would have all of them looked through again.
        if n_conflated > 0 && fits(waiting, self.limit / 4 * 3) {
            return Pushed::Conflated(n_conflated);
        }
        if waiting.queue.has_entries() {
            waiting.queue.drop_entries();
            if fits(waiting, self.limit) {
                self.set_behind(waiting, Reading::Resync(Reason::Slow));
                return Pushed::FellBehind;
            }
        }
        waiting.give_up();
        Pushed::Overflowed
    }

    /// Closes the connection of a client that takes nothing.
    pub(crate) fn give_up(&self) -> Pushed {
        let mut waiting = self.waiting();
        if waiting.closing.is_some() {
            return Pushed::Closed;
        }
        waiting.give_up();
        drop(waiting);
        self.notify_closed();
        Pushed::Overflowed
    }

    fn take(&self) -> Option<Next> {
        let mut waiting = self.waiting();
        if std::mem::take(&mut waiting.ping) {
            return Some(Next::Ping);
        }
        if waiting.closing.is_some() {
            waiting.hold_nothing_back();
        }
        let Some(frame) = waiting.queue.pop().and_then(Item::into_frame) else {
            return waiting.closing.filter(|_| waiting.queue.is_empty()).map(Next::Close);
        };
        waiting.n_taken += 1;
        if waiting.wants_room && waiting.queue.bytes() <= self.limit / 4 {
            waiting.wants_room = false;
            self.drained.notify_one();
        }
        Some(Next::Text(frame))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the client comes along in the log.
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
                if waiting.queue.bytes() <= self.limit / 4 {
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
        for entry in page.chunk_by(|a, b| a.revision() == b.revision()) {
            let n_bytes: usize = entry.iter().map(|publication| Item::shown(publication).bytes()).sum();
            if !waiting.queue.is_empty() && waiting.queue.bytes() + n_bytes > self.limit / 2 {
                waiting.stage = Stage::Behind(behind.reading.with_after(entry[0].revision() - 1));
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
        let mut pushed = Pushed::Queued;
        match then {
            Then::Read(reading) => waiting.stage = Stage::Behind(reading),
            Then::Live { after, bookmark } => {
                waiting.stage = Stage::Live { after: Some(after) };
                pushed = self.put(&mut waiting, Item::Text(bookmark));
            }
        }
        drop(waiting);
        self.filled.notify_one();
        pushed
    }

    fn set_behind(&self, waiting: &mut Waiting, reading: Reading) {
        waiting.turn += 1;
        waiting.stage = Stage::Behind(reading);
        self.fell_behind.notify_one();
    }
}

impl Waiting {
    /// What was queued is gone, so that the memory is free while the client is told.
    fn give_up(&mut self) {
        *self = Self { closing: Some(TOO_SLOW), ..Self::default() };
    }

    /// Gives up the order of answers and changes: a pipeline that answers late must not cost the author its connection.
    fn hold_nothing_back(&mut self) {
        if !self.unanswered.is_empty() || self.queue.is_held() {
            self.unanswered.clear();
            self.queue.release();
        }
    }

    fn behind(&self) -> Option<Behind> {
        match self.stage {
            Stage::Behind(reading) => Some(Behind { turn: self.turn, reading }),
            Stage::Live { .. } => None,
        }
    }

    /// Whether the client has this entry already, or will read it from the log.
    fn has(&self, publication: &Publication) -> bool {
        let Some(entry) = &publication.entry else { return false };
        match self.stage {
            Stage::Live { after } => after.is_some_and(|after| entry.revision <= after),
            Stage::Behind(_) => true,
        }
    }

    fn is_at(&self, behind: Behind) -> bool {
        self.closing.is_none() && self.turn == behind.turn && matches!(self.stage, Stage::Behind(_))
    }
}

impl Reading {
    /// The same, with everything up to this revision queued.
    fn with_after(self, revision: u64) -> Self {
        match self {
            Self::Snapshot { through, .. } => Self::Snapshot { after: revision, through },
            Self::History { .. } => Self::History { after: revision },
            Self::Resync(_) => self,
        }
    }
}

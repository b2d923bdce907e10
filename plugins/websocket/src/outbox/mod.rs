//! What waits to be written to one client, bounded in bytes, and how far that client has come in the log.
//!
//! Nobody ever waits to put something in: what a slow client cannot take is conflated, then forgotten and read from the
//! log again, and a client without a log behind it, or one that takes nothing at all, loses its connection. An author is
//! answered before it sees its own change: where the change is shown first, it and what comes behind it are held back
//! until the answer is there (GAP-13).

mod queue;
mod stage;
mod along;
mod writer;
#[cfg(test)]
mod tests;

pub(crate) use stage::{Behind, Reading, Reason, Then};
pub(crate) use writer::write_frames;

use crate::publication::Publication;
use queue::{Item, Queue};
use stage::Stage;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;
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
    /// The next entry is so large that it has room only where nothing waits.
    wants_all_room: bool,
    /// Once set, nothing more is taken in.
    closing: Option<Closing>,
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
        let is_held = waiting.is_on_log() || waiting.queue.bytes() + item.bytes() <= self.limit / 2;
        let own = publication.event.filter(|event| is_held && waiting.unanswered.contains(event));
        own.into_iter().for_each(|event| waiting.queue.push(Item::AnswerTo(event)));
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
            waiting.relieve();
        }
        pushed
    }

    fn make_room(&self, waiting: &mut Waiting, n_bytes: usize) -> Pushed {
        let fits =
            |waiting: &Waiting, limit| waiting.queue.bytes() == 0 || waiting.queue.bytes() + n_bytes <= limit;
        if fits(waiting, self.limit) {
            return Pushed::Queued;
        }
        waiting.relieve();
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
        if waiting.wants_room && waiting.has_room(self.limit) {
            waiting.wants_room = false;
            self.drained.notify_one();
        }
        Some(Next::Text(frame))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// What was queued is gone, so that the memory is free while the client is told.
    fn give_up(&mut self) {
        *self = Self { closing: Some(TOO_SLOW), ..Self::default() };
    }

    /// Whether the log is behind what the client is shown.
    fn is_on_log(&self) -> bool {
        !matches!(self.stage, Stage::Live { after: None })
    }

    /// Much waits. A direct pipeline may answer late, which must not cost the author its connection; the log shows nothing
    /// before it has answered the author, and what there is no room for is read from it again.
    fn relieve(&mut self) {
        if !self.is_on_log() {
            self.hold_nothing_back();
        }
    }

    /// Gives up the order of answers and changes.
    fn hold_nothing_back(&mut self) {
        if !self.unanswered.is_empty() || self.queue.is_held() {
            self.unanswered.clear();
            self.queue.release();
        }
    }

    /// Whether there is room for a page.
    fn has_room(&self, limit: usize) -> bool {
        self.queue.bytes() <= if self.wants_all_room { 0 } else { limit / 4 }
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

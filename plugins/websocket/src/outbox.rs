//! What waits to be written to one client, bounded in bytes, and the task half that writes it.
//!
//! Nobody ever waits to put something in: a client that reads too slowly loses its connection instead of holding up the
//! sink or another client. An author is answered before it sees its own change, although in a direct pipeline the change
//! is shown first: it and what comes behind it are held back until the answer is there (GAP-13).

use futures_util::{Sink, SinkExt};
use lockstep_plugin_api::prelude::Counter;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::{
    Bytes, Error, Message, Utf8Bytes,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};
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
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Entry>,
    bytes: usize,
    ping: bool,
    /// The client's own changes that are on their way through the pipeline.
    unanswered: Vec<Uuid>,
    /// Once set, nothing more is taken in.
    closing: Option<Closing>,
}

enum Entry {
    Text(Utf8Bytes),
    /// Nothing behind this is written before the answer to the client's own change has taken its place.
    AnswerTo(Uuid),
}

/// What to write next.
enum Next {
    Ping,
    Text(Utf8Bytes),
    Close(Closing),
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// It did not fit: the connection is being closed because of it.
    Overflowed,
    /// The connection was being closed already.
    Closed,
}

impl Outbox {
    /// Holds `limit` bytes, and always at least one frame, whatever its size.
    pub(crate) fn new(limit: usize) -> Self {
        let waiting = Mutex::new(Waiting::default());
        Self { limit, waiting, filled: Notify::new(), closed: Notify::new() }
    }

    /// Queues a frame, or gives the connection up if it does not fit.
    pub(crate) fn push(&self, frame: Utf8Bytes) -> Pushed {
        self.push_change(frame, None)
    }

    /// As [`Outbox::push`], for a change with this identity: the client's own waits for its answer.
    pub(crate) fn push_change(&self, frame: Utf8Bytes, event: Option<Uuid>) -> Pushed {
        let mut waiting = self.waiting();
        if waiting.closing.is_some() {
            return Pushed::Closed;
        }
        let bytes = waiting.bytes + frame.len();
        if !waiting.frames.is_empty() && bytes > self.limit {
            // What was queued is gone, so that the memory is free while the client is told.
            *waiting = Waiting { closing: Some(TOO_SLOW), ..Waiting::default() };
            drop(waiting);
            self.notify_closed();
            return Pushed::Overflowed;
        }
        if bytes > self.limit / 2 {
            waiting.hold_nothing_back();
        }
        if let Some(event) = event.filter(|event| waiting.unanswered.contains(event)) {
            waiting.frames.push_back(Entry::AnswerTo(event));
        }
        waiting.bytes = bytes;
        waiting.frames.push_back(Entry::Text(frame));
        drop(waiting);
        self.filled.notify_one();
        Pushed::Queued
    }

    /// The client made this change; [`Outbox::answer`] will follow.
    pub(crate) fn expect_answer(&self, event: Uuid) {
        self.waiting().unanswered.push(event);
    }

    /// Queues the answer to a change, in front of the change itself if that waits for it.
    pub(crate) fn answer(&self, event: Uuid, frame: Utf8Bytes) -> Pushed {
        let mut waiting = self.waiting();
        waiting.unanswered.retain(|unanswered| *unanswered != event);
        let is_place = |entry: &&mut Entry| matches!(entry, Entry::AnswerTo(of) if *of == event);
        let n_bytes = frame.len();
        match waiting.frames.iter_mut().find(is_place) {
            Some(place) => *place = Entry::Text(frame),
            None => {
                drop(waiting);
                return self.push(frame);
            }
        }
        waiting.bytes += n_bytes;
        drop(waiting);
        self.filled.notify_one();
        Pushed::Queued
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

    /// Waits until the connection is being closed, and says why.
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

    fn take(&self) -> Option<Next> {
        let mut waiting = self.waiting();
        if std::mem::take(&mut waiting.ping) {
            return Some(Next::Ping);
        }
        if waiting.closing.is_some() {
            waiting.hold_nothing_back();
        }
        match waiting.frames.pop_front() {
            Some(Entry::Text(frame)) => {
                waiting.bytes -= frame.len();
                Some(Next::Text(frame))
            }
            Some(held) => {
                waiting.frames.push_front(held);
                None
            }
            None => waiting.closing.map(Next::Close),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Gives up the order of answers and changes: a pipeline that answers late must not cost the author its connection.
    fn hold_nothing_back(&mut self) {
        if !self.unanswered.is_empty() || matches!(self.frames.front(), Some(Entry::AnswerTo(_))) {
            self.unanswered.clear();
            self.frames.retain(|entry| matches!(entry, Entry::Text(_)));
        }
    }
}

/// Writes what is put into the outbox until the close frame is out; one flush for everything that waits.
///
/// # Errors
/// If the connection is gone.
pub(crate) async fn write_frames<S>(sink: &mut S, outbox: &Outbox, sent: &Counter) -> Result<(), Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    loop {
        let mut n_sent = 0;
        while let Some(next) = outbox.take() {
            match next {
                Next::Ping => sink.feed(Message::Ping(Bytes::new())).await?,
                Next::Text(text) => {
                    feed_text(sink, text).await?;
                    n_sent += 1;
                }
                Next::Close(Closing { code, reason }) => {
                    sent.add(n_sent);
                    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
                    return sink.send(Message::Close(Some(frame))).await;
                }
            }
        }
        sink.flush().await?;
        sent.add(n_sent);
        outbox.filled.notified().await;
    }
}

/// The protocol library copies each frame into a buffer that never shrinks again. A large message goes out in fragments,
/// so that this buffer stays small on every connection that once got one.
const FRAGMENT_BYTES: usize = 16 * 1024;

async fn feed_text<S>(sink: &mut S, text: Utf8Bytes) -> Result<(), Error>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    if text.len() <= FRAGMENT_BYTES {
        return sink.feed(Message::Text(text)).await;
    }
    let mut rest: Bytes = Bytes::from(text);
    let mut kind = Data::Text;
    while !rest.is_empty() {
        let part = rest.split_to(rest.len().min(FRAGMENT_BYTES));
        let frame = Frame::message(part, OpCode::Data(kind), rest.is_empty());
        sink.feed(Message::Frame(frame)).await?;
        kind = Data::Continue;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n_bytes: usize) -> Utf8Bytes {
        "x".repeat(n_bytes).into()
    }

    #[test]
    fn a_full_outbox_gives_the_connection_up_and_frees_its_memory() {
        let outbox = Outbox::new(100);
        assert_eq!(outbox.push(text(60)), Pushed::Queued);
        assert_eq!(outbox.push(text(40)), Pushed::Queued);
        assert_eq!(outbox.push(text(1)), Pushed::Overflowed);
        assert_eq!(outbox.push(text(1)), Pushed::Closed);
        assert!(matches!(outbox.take(), Some(Next::Close(TOO_SLOW))), "what waited is gone");
    }

    #[test]
    fn an_empty_outbox_takes_a_frame_of_any_size() {
        let outbox = Outbox::new(100);
        assert_eq!(outbox.push(text(1000)), Pushed::Queued);
        assert_eq!(outbox.push(text(1)), Pushed::Overflowed);
    }

    fn next_text(outbox: &Outbox) -> Option<Utf8Bytes> {
        match outbox.take() {
            Some(Next::Text(text)) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn an_author_is_answered_before_it_sees_its_own_change() {
        let (outbox, own, other) = (Outbox::new(100), Uuid::now_v7(), Uuid::now_v7());
        outbox.expect_answer(own);
        outbox.push_change("before".into(), Some(other));
        outbox.push_change("own".into(), Some(own));
        outbox.push_change("after".into(), Some(other));
        assert_eq!(next_text(&outbox).as_deref(), Some("before"));
        assert_eq!(next_text(&outbox), None, "held back");
        outbox.answer(own, "answer".into());
        for text in ["answer", "own", "after"] {
            assert_eq!(next_text(&outbox).as_deref(), Some(text));
        }
        assert!(outbox.take().is_none() && outbox.waiting().bytes == 0);
    }

    #[test]
    fn nothing_is_held_back_when_half_of_the_outbox_is_full_or_the_connection_closes() {
        let (outbox, own) = (Outbox::new(100), Uuid::now_v7());
        outbox.expect_answer(own);
        outbox.push_change("own".into(), Some(own));
        outbox.push(text(60));
        assert_eq!(next_text(&outbox).as_deref(), Some("own"));
        outbox.answer(own, "answer".into());
        assert_eq!(next_text(&outbox), Some(text(60)));
        assert_eq!(next_text(&outbox).as_deref(), Some("answer"), "late, but there");

        outbox.expect_answer(own);
        outbox.push_change("own".into(), Some(own));
        outbox.close(TOO_SLOW);
        assert_eq!(next_text(&outbox).as_deref(), Some("own"));
        assert!(matches!(outbox.take(), Some(Next::Close(_))));
    }

    #[test]
    fn pings_go_first_and_the_close_frame_last() {
        let outbox = Outbox::new(100);
        outbox.push(text(1));
        outbox.ping();
        outbox.close(TOO_SLOW);
        assert_eq!(outbox.push(text(1)), Pushed::Closed);
        assert!(matches!(outbox.take(), Some(Next::Ping)));
        assert!(matches!(outbox.take(), Some(Next::Text(_))));
        assert!(matches!(outbox.take(), Some(Next::Close(TOO_SLOW))));
    }
}

//! What waits to be written to one client, bounded in bytes, and the task half that writes it.
//!
//! Nobody ever waits to put something in: a client that reads too slowly loses its connection instead of holding up the
//! sink or another client.

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
    frames: VecDeque<Utf8Bytes>,
    bytes: usize,
    ping: bool,
    /// Once set, nothing more is taken in.
    closing: Option<Closing>,
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
        let mut waiting = self.waiting();
        if waiting.closing.is_some() {
            return Pushed::Closed;
        }
        if !waiting.frames.is_empty() && waiting.bytes + frame.len() > self.limit {
            // What was queued is gone, so that the memory is free while the client is told.
            *waiting = Waiting { closing: Some(TOO_SLOW), ..Waiting::default() };
            drop(waiting);
            self.notify_closed();
            return Pushed::Overflowed;
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
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

    /// Waits until the connection is being closed.
    pub(crate) async fn closed(&self) {
        if self.waiting().closing.is_none() {
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
        match waiting.frames.pop_front() {
            Some(frame) => {
                waiting.bytes -= frame.len();
                Some(Next::Text(frame))
            }
            None => waiting.closing.map(Next::Close),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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

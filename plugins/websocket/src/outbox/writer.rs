//! The task half of an outbox: writes what waits, with one flush for everything that is there.

use super::{Closing, Next, Outbox};
use futures_util::{Sink, SinkExt};
use lockstep_plugin_api::prelude::Counter;
use tokio_tungstenite::tungstenite::{
    Bytes, Error, Message, Utf8Bytes,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

/// The protocol library copies each frame into a buffer that never shrinks again. A large message goes out in fragments,
/// so that this buffer stays small on every connection that once got one.
const FRAGMENT_BYTES: usize = 16 * 1024;

/// Writes what is put into the outbox until the close frame is out.
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
        outbox.filled().await;
    }
}

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

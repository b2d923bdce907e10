//! One client's connection from its welcome to its close. Reading and writing are two halves of one task, so that a
//! client that does not read is still heard, and an idle connection costs one task.

use crate::{
    catch_up::keep_up,
    keepalive::{Due, Keepalive},
    locks::Undecided,
    outbox::{Closing, TOO_SLOW, write_frames},
    rate::Rate,
    requests::Handled,
    server::Connection,
    unanswered::Unanswered,
    wire,
};
use futures_util::{StreamExt, stream::SplitStream};
use std::{pin::pin, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    select,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, error::ProtocolError, protocol::frame::coding::CloseCode},
};
use tracing::warn;

/// How many wrong messages in a row end a connection.
pub(crate) const MAX_BAD_IN_A_ROW: u32 = 100;
/// How long a server that stops waits for the outcomes of changes.
const OUTCOMES_WITHIN: Duration = Duration::from_millis(500);
/// How long a client may take to close its side once it was told.
const LINGER: Duration = Duration::from_secs(2);

const RESTART: Closing = Closing { code: CloseCode::Restart, reason: "service restart" };
const ABUSE: Closing = Closing { code: CloseCode::Policy, reason: "too many bad messages" };
const LOST: Closing = Closing { code: CloseCode::Error, reason: "keepalive ping timeout" };
const NOT_UTF8: Closing = Closing { code: CloseCode::Invalid, reason: "not UTF-8" };
const TOO_BIG: Closing = Closing { code: CloseCode::Size, reason: "message too big" };
const NOT_PROTOCOL: Closing = Closing { code: CloseCode::Protocol, reason: "protocol error" };

/// Why reading ended.
enum Ended {
    /// The client is gone without a word, or in the middle of one.
    Gone,
    /// The client closed the connection.
    ByClient,
    /// The server closes it.
    ByServer(Closing),
}

/// Serves a client until one of the sides closes.
pub(crate) async fn serve<S>(socket: WebSocketStream<S>, connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut writer, mut reader) = socket.split();
    let may_take = connection.server.settings.ping_timeout;
    let mut unanswered = Unanswered::default();
    {
        let mut writing =
            pin!(write_frames(&mut writer, &connection.outbox, &connection.server.metrics.sent));
        let ended = select! {
            biased;
            closing = connection.outbox.closed() => Ended::ByServer(closing),
            ended = read(&mut reader, &connection, &mut unanswered) => ended,
            never = keep_up(&connection) => match never {},
            // A write that fails says that the client is gone, or is closing, which reading finds out.
            _ = &mut writing => Ended::ByClient,
        };
        match ended {
            Ended::Gone => return,
            Ended::ByClient => {
                // Reading on sends the close frame back.
                let _ = timeout(LINGER, async { while let Some(Ok(_)) = reader.next().await {} }).await;
                return;
            }
            Ended::ByServer(closing) => {
                if closing == TOO_SLOW {
                    warn!(connection = connection.name(), "closing a client that reads too slowly");
                }
                connection.unsubscribe();
                connection.outbox.close(closing);
                if timeout(may_take, writing).await.is_err() {
                    return;
                }
            }
        }
    }
    drop(connection);
    if let Ok(socket) = reader.reunite(writer) {
        let _ = timeout(LINGER, discard(socket.into_inner())).await;
    }
}

/// Ends the server's side and reads on until the client has ended its own: closing a socket with unread data in it
/// would reset the connection, and the close frame could be lost with it.
async fn discard<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut scratch = [0; 1024];
    if stream.shutdown().await.is_ok() {
        while matches!(stream.read(&mut scratch).await, Ok(1..)) {}
    }
}

/// Handles what the client sends and passes on the outcomes of its changes.
async fn read<S>(
    reader: &mut SplitStream<WebSocketStream<S>>,
    connection: &Connection,
    unanswered: &mut Unanswered,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let settings = &connection.server.settings;
    let mut stop = connection.server.stop_signal();
    let mut keepalive = Keepalive::new(settings.ping_interval, settings.ping_timeout);
    let mut rate = Rate::new(settings.max_messages_per_second);
    let mut undecided = Undecided::default();
    let mut n_bad_in_a_row = 0;
    loop {
        let reads_on = unanswered.takes_more() && undecided.takes_more();
        // Every arm is cancel-safe; a client that never pauses must not keep the others from their turn.
        let message = select! {
            biased;
            _ = stop.wait() => return Ended::ByServer(wind_up(connection, unanswered).await),
            due = keepalive.due(reads_on) => {
                match due {
                    Due::Ping => connection.outbox.ping(),
                    Due::Lost => return Ended::ByServer(LOST),
                    Due::Wait => {}
                }
                continue;
            }
            answer = unanswered.next() => {
                if let Some(answer) = answer {
                    connection.answer(answer);
                }
                continue;
            }
            answer = undecided.next() => {
                connection.push(answer);
                continue;
            }
            message = reader.next(), if reads_on => message,
        };
        keepalive.heard();
        let handled = match message {
            Some(Ok(Message::Text(text))) => {
                connection.server.metrics.received.add(1);
                connection.handle(&text, rate.take(Instant::now()))
            }
            Some(Ok(Message::Binary(_))) => {
                connection.server.metrics.received.add(1);
                connection.refuse(wire::NOT_TEXT, None)
            }
            Some(Ok(Message::Close(_))) => return Ended::ByClient,
            Some(Ok(_)) => continue,
            Some(Err(error)) => return broken(&error, connection),
            None => return Ended::Gone,
        };
        let is_bad = match handled {
            Handled::Done => false,
            Handled::Bad => true,
            Handled::Refused { asked, refusal } => {
                unanswered.push_refused(asked, refusal);
                refusal.is_clients_fault()
            }
            Handled::Locking(task) => {
                undecided.push(*task);
                false
            }
            Handled::Entering { asked, entering } => {
                unanswered.push_entering(asked, entering);
                false
            }
        };
        if is_bad {
            connection.server.metrics.bad.add(1);
            n_bad_in_a_row += 1;
        } else {
            n_bad_in_a_row = 0;
        }
        if n_bad_in_a_row == MAX_BAD_IN_A_ROW {
            return Ended::ByServer(ABUSE);
        }
    }
}

/// What a frame that cannot be read means.
fn broken(error: &Error, connection: &Connection) -> Ended {
    let closing = match error {
        Error::Utf8(_) => NOT_UTF8,
        Error::Capacity(_) => TOO_BIG,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Ended::Gone,
        Error::Protocol(_) => NOT_PROTOCOL,
        _ => return Ended::Gone,
    };
    connection.server.metrics.bad.add(1);
    Ended::ByServer(closing)
}

/// The server stops: no change is read any more, those on their way are answered, at worst with `unavailable`.
async fn wind_up(connection: &Connection, unanswered: &mut Unanswered) -> Closing {
    let _ = timeout(OUTCOMES_WITHIN, async {
        while !unanswered.is_empty() {
            if let Some(answer) = unanswered.next().await {
                connection.answer(answer);
            }
        }
    })
    .await;
    unanswered.give_up().for_each(|answer| connection.answer(answer));
    RESTART
}

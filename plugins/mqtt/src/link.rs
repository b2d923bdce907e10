//! One connection to the broker: packets out, packets in, and whether the broker is still there.
//!
//! Invariant: nothing here outlives the connection. Packet ids, what was sent and what is unanswered belong to whoever
//! holds the link, and are void with it.

use crate::{
    config::Broker,
    packet::{ConnAck, Connect, Decoder, Denial, Goodbye, Malformed, Protocol, Publish, Received, Sent},
    tls::{self, TlsFiles},
};
use bytes::{Buf, BytesMut};
use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};

/// Why there is no connection, or no more: the end of a sentence that begins with the broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("does not let this client in: {0}")]
    Denied(String),
    #[error("does not let this client subscribe to `{filter}`: {reason}")]
    NotSubscribed { filter: String, reason: String },
    #[error("has left {what} unanswered for {after:?}")]
    Silent { what: &'static str, after: Duration },
    #[error("has ended the connection: {}", .0.reason)]
    Goodbye(Goodbye),
    #[error("has closed the connection")]
    Closed,
    #[error("has closed the connection instead of accepting it: {0}")]
    Shut(&'static str),
    #[error("cannot be understood: {0}")]
    Malformed(#[from] Malformed),
}

impl LinkError {
    /// Whether the broker ended a connection that was working: it may be back at once.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Closed | Self::Goodbye(_))
    }

    /// Whether something that was sent may be why the broker ended the connection.
    pub(crate) fn may_be_our_fault(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Goodbye(goodbye) => goodbye.is_our_fault,
            _ => false,
        }
    }
}

impl From<io::Error> for LinkError {
    /// What a connection fails with that was made.
    fn from(error: io::Error) -> Self {
        tls::failure(&error).map_or(Self::Closed, Self::Tls)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that the broker has accepted.
pub(crate) struct Link {
    stream: Box<dyn Stream>,
    protocol: Protocol,
    decoder: Decoder,
    incoming: BytesMut,
    outgoing: BytesMut,
    is_flushed: bool,
    pulse: Pulse,
    written_at: Instant,
    /// What the broker says of itself.
    pub(crate) terms: Terms,
}

/// What the broker allows, and what it knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) session_present: bool,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) max_packet_size: Option<usize>,
}

/// How much is asked for in one read.
const READ_BYTES: usize = 32 << 10;

/// How much may wait to be written before more is added.
const WRITE_BYTES: usize = 64 << 10;

impl Link {
    /// Connects and waits for the broker to accept.
    pub(crate) async fn connect(
        broker: &Broker,
        tls: Option<&TlsFiles>,
        connect: &Connect,
    ) -> Result<Self, LinkError> {
        let after = broker.answer_timeout;
        let silent = LinkError::Silent { what: "the attempt to connect", after };
        timeout(after, Self::open(broker, tls, connect)).await.unwrap_or(Err(silent))
    }

    async fn open(broker: &Broker, tls: Option<&TlsFiles>, connect: &Connect) -> Result<Self, LinkError> {
        let tcp = TcpStream::connect((broker.host.as_str(), broker.port)).await;
        let tcp = tcp.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp)).map_err(LinkError::Unreachable)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(files) => Box::new(secured(files, &broker.host, tcp).await?),
        };
        let mut link = Self {
            stream,
            protocol: broker.protocol,
            decoder: Decoder::new(broker.protocol, broker.max_packet_size),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            is_flushed: true,
            pulse: Pulse::new(broker.answer_timeout, broker.keepalive, Instant::now()),
            written_at: Instant::now(),
            terms: Terms { session_present: false, receive_maximum: None, max_packet_size: None },
        };
        link.send(&Sent::Connect(connect));
        link.terms = link.accepted(broker).await.map_err(|error| match error {
            LinkError::Closed => {
                LinkError::Shut("does it speak this version of MQTT, with or without TLS, at this port?")
            }
            other => other,
        })?;
        Ok(link)
    }

    async fn accepted(&mut self, broker: &Broker) -> Result<Terms, LinkError> {
        loop {
            match self.next()? {
                None => self.exchange(true).await?,
                Some(Received::ConnAck(ConnAck::Refused(denial))) => {
                    return Err(LinkError::Denied(reason_of(denial, broker)));
                }
                Some(Received::ConnAck(ConnAck::Accepted {
                    session_present,
                    receive_maximum,
                    max_packet_size,
                    keepalive_secs,
                })) => {
                    if let Some(secs) = keepalive_secs {
                        let keepalive = Duration::from_secs(secs.into());
                        self.pulse = Pulse::new(broker.answer_timeout, keepalive, Instant::now());
                    }
                    return Ok(Terms { session_present, receive_maximum, max_packet_size });
                }
                Some(Received::Disconnect(goodbye)) => return Err(LinkError::Goodbye(goodbye)),
                Some(_) => return Err(Malformed("something else before it answers a connect".into()).into()),
            }
        }
    }

    /// Queues a packet; [`Link::exchange`] writes it.
    pub(crate) fn send(&mut self, packet: &Sent<'_>) {
        self.protocol.write(packet, &mut self.outgoing);
        self.is_flushed = false;
    }

    /// How many bytes a publish is as a packet.
    pub(crate) fn size(&self, publish: &Publish) -> usize {
        self.protocol.size(publish)
    }

    /// Whether more may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.len() < WRITE_BYTES
    }

    /// Whether everything that was queued has been given to the system.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    /// When bytes were last written.
    pub(crate) fn written_at(&self) -> Instant {
        self.written_at
    }

    /// The next packet that has come whole.
    pub(crate) fn next(&mut self) -> Result<Option<Received>, LinkError> {
        Ok(self.decoder.next(&mut self.incoming)?)
    }

    /// Writes what is queued and, if asked to, reads; until something was read or all was written. May be cancelled at
    /// any time.
    pub(crate) async fn exchange(&mut self, reads: bool) -> Result<(), LinkError> {
        poll_fn(|cx| self.poll_exchange(cx, reads)).await
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<Result<(), LinkError>> {
        self.pulse.set_reading(reads, Instant::now());
        // First what the broker says: it may be why it takes nothing more.
        let read = if reads { self.poll_read(cx) } else { Poll::Pending };
        if let Poll::Ready(Err(error)) = read {
            return Poll::Ready(Err(error));
        }
        match self.poll_write(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(true)) => Poll::Ready(Ok(())),
            _ => read,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.incoming.reserve(READ_BYTES);
        let n_read = ready!(pin!(self.stream.read_buf(&mut self.incoming)).poll(cx))?;
        if n_read == 0 {
            return Poll::Ready(Err(LinkError::Closed));
        }
        self.pulse.heard(Instant::now());
        Poll::Ready(Ok(()))
    }

    /// Says whether there was something to write and all of it is written now.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, LinkError>> {
        if self.is_flushed {
            return Poll::Ready(Ok(false));
        }
        while !self.outgoing.is_empty() {
            let n_written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outgoing))?;
            if n_written == 0 {
                return Poll::Ready(Err(LinkError::Closed));
            }
            self.outgoing.advance(n_written);
            self.written_at = Instant::now();
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(true))
    }

    /// Until when to wait before [`Link::beat`].
    pub(crate) fn beat_at(&self) -> Instant {
        self.pulse.due()
    }

    /// Asks for a sign of life if it is time.
    ///
    /// # Errors
    /// If there was none after the last time.
    pub(crate) fn beat(&mut self) -> Result<(), LinkError> {
        if self.pulse.beat(Instant::now())? {
            self.send(&Sent::Ping);
        }
        Ok(())
    }

    /// Says goodbye, so that the broker sends no will, and closes.
    pub(crate) async fn close(mut self) {
        self.send(&Sent::Disconnect);
        while !self.is_flushed {
            if self.exchange(false).await.is_err() {
                return;
            }
        }
        let _ = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
    }
}

async fn secured(files: &TlsFiles, host: &str, tcp: TcpStream) -> Result<impl Stream + use<>, LinkError> {
    let files = files.clone();
    let connector = tokio::task::spawn_blocking(move || files.connector()).await;
    let connector = connector
        .unwrap_or_else(|panic| Err(lockstep_plugin_api::Error::fatal(panic)))
        .map_err(|error| LinkError::Tls(format!("cannot be spoken to by TLS: {error}")))?;
    tls::connect(&connector, host, tcp).await.map_err(|error| match LinkError::from(error) {
        LinkError::Closed => LinkError::Shut("does it speak TLS at this port?"),
        other => other,
    })
}

fn reason_of(denial: Denial, broker: &Broker) -> String {
    let user = match &broker.username {
        Some(username) => format!("user `{username}`"),
        None => "a client without a user name".to_owned(),
    };
    match denial {
        Denial::Login => format!("the password of {user} is wrong, or there is no such user"),
        Denial::NotAuthorized => {
            let status = broker.tree.of_status("...");
            format!(
                "{user} is not authorized, or its password is wrong, or it may not write its will at `{status}` (`status: false` needs none)"
            )
        }
        Denial::ClientId => "it does not accept the `client_id`".to_owned(),
        Denial::Version => "it does not speak this version of MQTT; try `protocol: \"3.1.1\"`".to_owned(),
        Denial::Unavailable => "it is not available now".to_owned(),
        Denial::Other(reason) => reason.to_owned(),
    }
}

/// Whether the other end is alive: a ping when nothing came for a while, and the end when nothing came after that.
#[derive(Debug)]
struct Pulse {
    ping_after: Duration,
    answer_timeout: Duration,
    heard_at: Instant,
    pinged_at: Option<Instant>,
    /// What is not read cannot be missed.
    is_reading: bool,
}

impl Pulse {
    fn new(answer_timeout: Duration, keepalive: Duration, now: Instant) -> Self {
        let half = keepalive / 2;
        let ping_after = if half.is_zero() { answer_timeout } else { answer_timeout.min(half) };
        Self { ping_after, answer_timeout, heard_at: now, pinged_at: None, is_reading: true }
    }

    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.pinged_at = None;
    }

    fn set_reading(&mut self, reads: bool, now: Instant) {
        if reads && !self.is_reading {
            // Nobody looked, so nothing is late.
            self.heard(now);
        }
        self.is_reading = reads;
    }

    fn due(&self) -> Instant {
        match self.pinged_at {
            Some(pinged_at) if self.is_reading => pinged_at + self.answer_timeout,
            Some(pinged_at) => pinged_at + self.ping_after,
            None => self.heard_at + self.ping_after,
        }
    }

    /// Whether it is time for a ping.
    fn beat(&mut self, now: Instant) -> Result<bool, LinkError> {
        if now < self.due() {
            return Ok(false);
        }
        if self.is_reading && self.pinged_at.is_some() {
            return Err(LinkError::Silent { what: "a ping", after: self.answer_timeout });
        }
        self.pinged_at = Some(now);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_broker_that_says_nothing_is_asked_and_then_given_up() {
        let start = Instant::now();
        let mut pulse = Pulse::new(3 * SECOND, 60 * SECOND, start);
        assert!(!pulse.beat(start + 2 * SECOND).expect("alive"));
        assert!(pulse.beat(start + 3 * SECOND).expect("asked"));
        assert!(!pulse.beat(start + 5 * SECOND).expect("there is time"));
        assert!(matches!(pulse.beat(start + 6 * SECOND), Err(LinkError::Silent { .. })));
    }

    #[test]
    fn who_does_not_read_pings_on_and_misses_nothing() {
        let start = Instant::now();
        let mut pulse = Pulse::new(3 * SECOND, 4 * SECOND, start);
        pulse.set_reading(false, start);
        for n in 1..10 {
            assert!(pulse.beat(start + 2 * n * SECOND).expect("nothing is missed"), "twice per keepalive");
        }
        pulse.set_reading(true, start + 20 * SECOND);
        assert!(!pulse.beat(start + 20 * SECOND).expect("it begins anew"));
    }
}

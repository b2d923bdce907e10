//! One connection to the broker: packets out, packets in, and whether the broker is still there.
//!
//! Invariant: nothing here outlives the connection. Packet ids, what was sent and what is unanswered belong to whoever
//! holds the link, and are void with it.

use crate::{
    config::Broker,
    packet::{ConnAck, Connect, Decoder, Denial, Goodbye, Malformed, Protocol, Publish, Received, Sent},
    pulse::Pulse,
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
            // What was read comes first; the next attempt to write fails again.
            Poll::Ready(Err(error)) if read.is_pending() => Poll::Ready(Err(error)),
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
            if !self.outgoing.is_empty() {
                self.pulse.progressed(self.written_at);
            }
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

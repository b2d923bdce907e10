//! Where the server listens: the address of `admin.listen` and a Unix socket in the data folder, each with a bound on
//! its connections and on how long one may be silent.

use crate::audit::Operator;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at once, on each of the two ways in. More wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

/// A connection on which nothing moves for so long is closed, unless a request of it is being worked on.
const MAX_SILENCE: Duration = Duration::from_secs(30);

/// Who is at the other end, if the system does not say.
const UNKNOWN: &str = "unknown";

/// What `sockaddr_un` has room for, without the closing NUL.
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// Why the admin server did not start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "the admin server cannot listen on `{listen}` (setting `admin.listen`, from: {origin}); if another host runs \
         there, give this one its own address with `--admin-listen HOST:PORT`, `LOCKSTEP_ADMIN__LISTEN` or \
         `admin: {{ listen: HOST:PORT }}` in lockstep.yaml: port 0 takes a free one, `off` listens on the socket only"
    )]
    Address {
        listen: String,
        origin: String,
        #[source]
        cause: io::Error,
    },
    #[error("the admin server's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// Binds `admin.listen`; nothing for `off`.
pub(super) fn bind_address(
    listen: &str,
    origin: &str,
) -> Result<Option<(TcpListener, SocketAddr)>, AdminError> {
    if listen == "off" {
        return Ok(None);
    }
    let refused = |cause| AdminError::Address { listen: listen.to_owned(), origin: origin.to_owned(), cause };
    let listener = TcpListener::bind(listen).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Some((listener, address)))
}

/// Binds the Unix socket. The data folder is locked by this host, so a socket that lies there is a dead one's.
pub(super) fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let length = path.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let message = format!("its path has {length} bytes, and a socket's may have {MAX_SOCKET_PATH}");
        return Err(io::Error::new(io::ErrorKind::InvalidFilename, message));
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether a request of a connection is being worked on: then the silence on it is ours. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<AtomicBool>);

impl Busy {
    /// Until what it gives is dropped.
    pub fn hold(&self) -> impl Drop + use<> {
        struct Hold(Busy);
        impl Drop for Hold {
            fn drop(&mut self) {
                self.0.0.store(false, Ordering::Relaxed);
            }
        }
        self.0.store(true, Ordering::Relaxed);
        Hold(self.clone())
    }

    fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is known of a connection.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub busy: Busy,
    pub operator: Operator,
}

impl<L> Connected<IncomingStream<'_, Limited<L>>> for Arrival
where
    L: Listener,
    L::Io: HasPeer,
{
    fn connect_info(stream: IncomingStream<'_, Limited<L>>) -> Self {
        let connection = stream.io();
        Self { busy: connection.busy.clone(), operator: connection.io.peer() }
    }
}

/// A socket that knows who is at its other end.
pub(super) trait HasPeer {
    fn peer(&self) -> Operator;
}

impl HasPeer for UnixStream {
    fn peer(&self) -> Operator {
        match self.peer_cred() {
            Ok(peer) => {
                let process = peer.pid().map_or_else(String::new, |pid| format!(", pid {pid}"));
                Operator::of_user(peer.uid(), format!("socket{process}"))
            }
            Err(_) => Operator { by: UNKNOWN.to_owned(), remote: "socket".to_owned() },
        }
    }
}

impl HasPeer for TcpStream {
    fn peer(&self) -> Operator {
        let address = self.peer_addr().map_or_else(|_| UNKNOWN.to_owned(), |address| address.to_string());
        Operator::with_token(address)
    }
}

/// A listener that accepts no more than it can serve.
pub(super) struct Limited<L> {
    listener: L,
    slots: Arc<Semaphore>,
}

impl<L> Limited<L> {
    pub fn new(listener: L) -> Self {
        Self { listener, slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl<L: Listener> Listener for Limited<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        let (io, address) = self.listener.accept().await;
        (Connection::new(io, slot, MAX_SILENCE), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing moves on it, in either direction.
pub(super) struct Connection<Io> {
    io: Io,
    max_silence: Duration,
    silence: Pin<Box<Sleep>>,
    busy: Busy,
    _slot: OwnedSemaphorePermit,
}

impl<Io> Connection<Io> {
    fn new(io: Io, slot: OwnedSemaphorePermit, max_silence: Duration) -> Self {
        let silence = Box::pin(tokio::time::sleep(max_silence));
        Self { io, max_silence, silence, busy: Busy::default(), _slot: slot }
    }

    /// The answer of the socket, or an error once it has kept silent for too long.
    fn in_time<T>(&mut self, context: &mut Context<'_>, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.silence.as_mut().reset(Instant::now() + self.max_silence);
            return answer;
        }
        loop {
            ready!(self.silence.as_mut().poll(context));
            if !self.busy.is_held() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.silence.as_mut().reset(Instant::now() + self.max_silence);
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.io).poll_read(context, buffer);
        self.in_time(context, answer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Connection<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.io).poll_write(context, bytes);
        self.in_time(context, answer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn an_address_in_use_is_refused_with_its_setting_and_what_to_do() {
        let (_first, address) =
            bind_address("127.0.0.1:0", "default").expect("a free port").expect("an address");
        let Err(refused) = bind_address(&address.to_string(), "lockstep.yaml:3") else {
            panic!("bound twice")
        };
        let text = refused.to_string();
        for part in [&address.to_string(), "admin.listen", "lockstep.yaml:3", "--admin-listen"] {
            assert!(text.contains(part), "`{part}` in {text}");
        }
    }

    #[test]
    fn a_dead_hosts_socket_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        drop(bind_socket(&path).expect("a socket"));
        drop(bind_socket(&path).expect("the same place again"));
        assert_eq!(fs::metadata(&path).expect("the socket").permissions().mode() & 0o777, 0o600);
        let file = folder.path().join("file");
        fs::write(&file, "mine").expect("written");
        assert!(bind_socket(&file).is_err());
        assert_eq!(fs::read_to_string(&file).expect("still there"), "mine");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said_to_be() {
        let path = Path::new("/tmp").join("a".repeat(120));
        let error = bind_socket(&path).expect_err("too long").to_string();
        assert!(error.contains("107"), "{error}");
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed() {
        let (io, _other_end) = tokio::io::duplex(16);
        let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("a slot");
        let mut connection = Connection::new(io, slot, Duration::from_millis(10));
        let error = connection.read_u8().await.expect_err("nobody writes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_connection_whose_request_takes_long_is_not_closed() {
        let (io, _other_end) = tokio::io::duplex(16);
        let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("a slot");
        let mut connection = Connection::new(io, slot, Duration::from_millis(5));
        let held = connection.busy.hold();
        assert!(tokio::time::timeout(Duration::from_millis(50), connection.read_u8()).await.is_err());
        drop(held);
        assert!(connection.read_u8().await.is_err(), "its silence counts again");
    }
}

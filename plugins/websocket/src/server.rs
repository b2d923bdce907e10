//! One listen address: accepting, the clients that are connected, and the way of a change to those that want it.

use crate::{
    catch_up::MAX_PAGES, config::Settings, endpoint::Role, fanout::Fanout, handshake, log::LogAccess,
    metrics::Metrics, outbox::Outbox, requests, session, sessions::Sessions, subscriptions::ConnectionNumber,
    tls, unanswered::Answer, wire::Welcome,
};
use lockstep_plugin_api::prelude::*;
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    select,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::{Instrument, debug, info, info_span, warn};
use uuid::Uuid;

/// How long sessions get to answer and close when the server stops.
const CLOSE_WITHIN: Duration = Duration::from_millis(1200);
/// How much may be on its way through the pipeline from all connections; more is not read from them.
pub(crate) const MAX_BYTES_IN_PIPELINE: usize = 16 << 20;
/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A server and what its sessions share.
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) node_id: String,
    pub(crate) metrics: Metrics,
    /// One permit for each byte that may be on its way through the pipeline.
    pub(crate) room: Arc<Semaphore>,
    /// One permit for each page of the log that may be in memory.
    pub(crate) pages: Semaphore,
    pub(crate) log: LogAccess,
    pub(crate) fanout: Fanout,
    pub(crate) sessions: Sessions,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    intake: Mutex<Intake>,
    connections: Mutex<HashMap<ConnectionNumber, Arc<Outbox>>>,
    stop: watch::Sender<bool>,
    ended: Mutex<bool>,
    ended_signal: Condvar,
}

/// Who takes changes.
#[derive(Clone)]
pub(crate) enum Intake {
    /// There never was a source at this address.
    ReadOnly,
    /// A source takes them.
    Open(Emitter),
    /// The source has not started yet, or is gone.
    Closed,
}

impl Server {
    /// Binds the address and starts accepting on the plugin's runtime.
    ///
    /// # Errors
    /// `Config` for a certificate that does not work or an address this machine does not have, `NotConnected` for one
    /// that is taken: whoever has it may be about to end.
    pub(crate) fn start(settings: Settings, context: &Context) -> Result<Arc<Self>> {
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let listener = bind(settings.address)?;
        let address = listener.local_addr()?;
        let server = Arc::new(Self {
            node_id: context.node_id().to_owned(),
            metrics: Metrics::new(context),
            room: Arc::new(Semaphore::new(MAX_BYTES_IN_PIPELINE)),
            pages: Semaphore::new(MAX_PAGES),
            log: LogAccess::default(),
            fanout: Fanout::default(),
            // A session outlives its connection, but not for long.
            sessions: Sessions::new(settings.max_connections.saturating_mul(10)),
            address,
            tls,
            intake: Mutex::new(Intake::ReadOnly),
            connections: Mutex::default(),
            stop: watch::Sender::new(false),
            ended: Mutex::new(false),
            ended_signal: Condvar::new(),
            settings,
        });
        info!(%address, tls = server.tls.is_some(), "listening");
        context.gauge("listening_port").set(address.port().into());
        let span = info_span!("websocket", %address);
        context.spawn(server.clone().run(listener).instrument(span));
        Ok(server)
    }

    /// The address that was bound, with the real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    async fn run(self: Arc<Self>, listener: std::net::TcpListener) {
        // Whoever waits for the address to be free is told even if this panics.
        let _end = End(&self);
        select! {
            () = self.serve_all(listener) => {}
            never = self.fanout.tell() => match never {},
        }
        debug!("closed");
    }

    /// Serves clients until the server is stopped and they are gone.
    async fn serve_all(self: &Arc<Self>, listener: std::net::TcpListener) {
        let mut sessions = JoinSet::new();
        match TcpListener::from_std(listener) {
            Ok(listener) => select! {
                () = self.accept_all(listener, &mut sessions) => {}
                () = self.sessions.keep(&self.log) => {}
            },
            Err(error) => warn!(%error, "cannot listen"),
        }
        let _ = timeout(CLOSE_WITHIN, async { while sessions.join_next().await.is_some() {} }).await;
        sessions.shutdown().await;
    }

    async fn accept_all(self: &Arc<Self>, listener: TcpListener, sessions: &mut JoinSet<()>) {
        let mut stop = self.stop_signal();
        // Clients that have connected and not yet asked for anything; the others are counted in `connect`.
        let handshakes = Arc::new(Semaphore::new(self.settings.max_connections.min(Semaphore::MAX_PERMITS)));
        loop {
            let accepted = select! {
                () = stop.wait() => return,
                Some(_ended) = sessions.join_next() => continue,
                accepted = accept(&listener, &handshakes) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let server = self.clone();
                    sessions.spawn(async move {
                        let _ = stream.set_nodelay(true);
                        server.secure_and_serve(stream, permit).await;
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn secure_and_serve(self: Arc<Self>, stream: TcpStream, permit: HandshakePermit) {
        match &self.tls {
            None => self.serve(stream, permit).await,
            Some(tls) => match timeout(handshake::WITHIN, Box::pin(tls.accept(stream))).await {
                Ok(Ok(stream)) => self.serve(stream, permit).await,
                Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
                Err(_elapsed) => debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn serve<S>(self: &Arc<Self>, stream: S, permit: HandshakePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        // Boxed, so that the memory a handshake needs is not kept for as long as the connection lives.
        let Some((socket, connection)) = Box::pin(handshake::accept(self, stream)).await else { return };
        drop(permit);
        session::serve(socket, connection).await;
    }

    /// Takes a client in and queues its welcome, unless there is no room. It is subscribed to everything only after the
    /// welcome is queued, so nothing can come before that (D-02); and nobody publishes meanwhile, so that it gets exactly
    /// what comes after the revision of the welcome.
    pub(crate) fn connect(
        self: &Arc<Self>,
        tenant: Option<&str>,
        session: Option<&str>,
    ) -> Option<Connection> {
        let outbox = Arc::new(Outbox::new(self.settings.max_queue_bytes));
        let number = self.take_number(&outbox)?;
        let id = name(number);
        let resumed = session.and_then(|secret| self.sessions.resume(secret, number).ok());
        let mut state = self.fanout.state();
        let position = self.log.position();
        let log = position.as_ref().map(|at| (at, resumed.is_some_and(|(_, is_known)| is_known)));
        let welcome = Welcome { connection_id: &id, server_id: &self.node_id, log };
        requests::welcome(&outbox, welcome, self.settings.naive_timestamps);
        if let Some(position) = &position {
            outbox.begin_after(position.head);
        }
        state.subscriptions.replace(number, &outbox, tenant, requests::everything());
        drop(state);
        debug!(connection = id, "connected");
        Some(Connection { server: self.clone(), number, outbox, tenant: tenant.map(str::to_owned) })
    }

    /// A component whose pipeline goes through the log came. Clients that are here already get what comes from now on.
    pub(crate) fn join_log(&self, role: Role, context: &Context) {
        let state = self.fanout.state();
        self.log.set(role, Some(context.clone()));
        if let Some(position) = self.log.position() {
            lock(&self.connections).values().for_each(|outbox| outbox.begin_after(position.head));
        }
        drop(state);
    }

    /// A random number that no other connection has now.
    fn take_number(&self, outbox: &Arc<Outbox>) -> Option<ConnectionNumber> {
        let mut connections = lock(&self.connections);
        if connections.len() >= self.settings.max_connections {
            return None;
        }
        // The low bits of a v4 UUID are random.
        let mut number = Uuid::new_v4().as_u128() as u32;
        while connections.contains_key(&number) {
            number = Uuid::new_v4().as_u128() as u32;
        }
        connections.insert(number, outbox.clone());
        self.metrics.connections.set(connections.len() as i64);
        Some(number)
    }

    /// Who takes changes now.
    pub(crate) fn intake(&self) -> Intake {
        lock(&self.intake).clone()
    }

    /// Says who takes changes from now on.
    pub(crate) fn set_intake(&self, intake: Intake) {
        *lock(&self.intake) = intake;
    }

    /// Tells everybody to come to an end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// A signal that comes when the server stops.
    pub(crate) fn stop_signal(&self) -> StopSignal {
        StopSignal(self.stop.subscribe())
    }

    /// Whether every connection and the address itself are closed.
    pub(crate) fn has_ended(&self) -> bool {
        *lock(&self.ended)
    }

    /// Waits until the server has ended; false if that takes too long.
    pub(crate) fn wait_ended(&self) -> bool {
        let limit = CLOSE_WITHIN + Duration::from_millis(300);
        let ended = self.ended_signal.wait_timeout_while(lock(&self.ended), limit, |ended| !*ended);
        *ended.unwrap_or_else(PoisonError::into_inner).0
    }
}

type HandshakePermit = tokio::sync::OwnedSemaphorePermit;

/// Cancel-safe: a permit that was taken is given back when the future is dropped.
async fn accept(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
) -> io::Result<(TcpStream, HandshakePermit)> {
    let permit = handshakes.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::not_connected(format!("{address} is in use by another program")),
        _ => Error::config(format!("cannot listen on {address}: {error}")),
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Comes when the server stops.
pub(crate) struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        // An error means that the server is gone altogether.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// Marks the server as ended when its task is over, however it ended.
struct End<'a>(&'a Server);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *lock(&self.0.ended) = true;
        self.0.ended_signal.notify_all();
    }
}

/// A connection's id: the guide's prefix and eight characters.
fn name(number: ConnectionNumber) -> String {
    format!("ws_{number:08x}")
}

/// One client among the server's; when it is dropped, the client is forgotten (WS-03).
pub(crate) struct Connection {
    pub(crate) server: Arc<Server>,
    pub(crate) number: ConnectionNumber,
    pub(crate) outbox: Arc<Outbox>,
    /// The tenant of the address it connected to.
    pub(crate) tenant: Option<String>,
}

impl Connection {
    /// The name the client knows itself by.
    pub(crate) fn name(&self) -> String {
        name(self.number)
    }

    /// Queues a message for this client.
    pub(crate) fn push(&self, frame: Utf8Bytes) {
        self.server.metrics.count(&self.outbox.push(frame));
    }

    /// Queues the answer to a change.
    pub(crate) fn answer(&self, answer: Answer) {
        match answer.event {
            Some(event) => self.server.metrics.count(&self.outbox.answer(event, answer.text)),
            None => self.push(answer.text),
        }
    }

    /// Ends what the client gets unasked.
    pub(crate) fn unsubscribe(&self) {
        self.server.fanout.state().subscriptions.remove(self.number);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.unsubscribe();
        self.server.sessions.disconnected(self.number);
        let mut connections = lock(&self.server.connections);
        connections.remove(&self.number);
        self.server.metrics.connections.set(connections.len() as i64);
        debug!(connection = self.name(), "disconnected");
    }
}

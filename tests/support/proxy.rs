//! A TCP proxy on loopback that does to a connection what networks do: delay, cut, half-close, stall.

use crate::websocket::runtime;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

/// What the proxy does with what passes through it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Weather {
    /// Passes it on, each piece after this long.
    Fair { delay: Duration },
    /// Reads nothing: the sender's buffers fill up.
    Stalled,
    /// Ends what the server still sends; what the client sends goes on.
    HalfClosed,
    /// Ends every connection and refuses new ones.
    Cut,
}

/// A proxy in front of one address. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: Arc<watch::Sender<Weather>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of a loopback port.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn new(server_port: u16) -> Self {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("a port for the proxy");
        let port = listener.local_addr().expect("a bound address").port();
        let weather = Arc::new(watch::Sender::new(Weather::Fair { delay: Duration::ZERO }));
        let server = SocketAddr::from(([127, 0, 0, 1], server_port));
        let task = runtime().spawn(accept(listener, server, weather.clone()));
        Self { port, weather, task }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Passes everything on at once.
    pub fn clear(&self) {
        self.weather.send_replace(Weather::Fair { delay: Duration::ZERO });
    }

    /// Passes every piece on after this long.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_replace(Weather::Fair { delay });
    }

    /// Passes nothing on and reads nothing.
    pub fn stall(&self) {
        self.weather.send_replace(Weather::Stalled);
    }

    /// Ends the direction from server to client.
    pub fn half_close(&self) {
        self.weather.send_replace(Weather::HalfClosed);
    }

    /// Ends every connection and refuses new ones until [`Proxy::clear`].
    pub fn cut(&self) {
        self.weather.send_replace(Weather::Cut);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, weather: Arc<watch::Sender<Weather>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *weather.borrow() == Weather::Cut {
            continue;
        }
        let (there, back) = (weather.subscribe(), weather.subscribe());
        connections.spawn(async move {
            let Ok(upstream) = TcpStream::connect(server).await else { return };
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = upstream.into_split();
            tokio::join!(
                pass(client_read, server_write, there, false),
                pass(server_read, client_write, back, true)
            );
        });
    }
}

/// One direction of one connection, until either end or the weather closes it.
async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    to_client: bool,
) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let now = *weather.borrow_and_update();
        let delay = match now {
            Weather::Cut => return,
            Weather::HalfClosed if to_client => return,
            Weather::HalfClosed => Duration::ZERO,
            Weather::Fair { delay } => delay,
            Weather::Stalled if weather.changed().await.is_ok() => continue,
            Weather::Stalled => return,
        };
        // Both arms can be given up at any point: a read that was not taken stays in the socket.
        let n_read = tokio::select! {
            read = from.read(&mut piece) => read.unwrap_or(0),
            changed = weather.changed() => if changed.is_ok() { continue } else { return },
        };
        if n_read == 0 {
            return;
        }
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..n_read]).await.is_err() {
            return;
        }
    }
}

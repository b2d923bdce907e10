//! A TCP proxy on loopback that does to a connection what networks do: delay, drop, cut, half-close, stall.

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
    /// Drops what the server sends; what the client sends goes on.
    Mute,
    /// Drops the next piece that the server sends, ends its connection, and is fair again.
    Lossy,
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

    /// What clients ask reaches the server, and no answer reaches them.
    pub fn mute(&self) {
        self.weather.send_replace(Weather::Mute);
    }

    /// The next answer is lost with its connection, and nothing else.
    pub fn lose_reply(&self) {
        self.weather.send_replace(Weather::Lossy);
    }

    /// Whether that answer has been lost, or anything else has ended the wait for it.
    pub fn has_lost_reply(&self) -> bool {
        *self.weather.borrow() != Weather::Lossy
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
        let (there, back) = (weather.clone(), weather.clone());
        connections.spawn(async move {
            let Ok(upstream) = TcpStream::connect(server).await else { return };
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = upstream.into_split();
            tokio::join!(
                pass(client_read, server_write, &there, false),
                pass(server_read, client_write, &back, true)
            );
        });
    }
}

/// One direction of one connection, until either end or the weather closes it.
async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    told: &watch::Sender<Weather>,
    to_client: bool,
) {
    let mut weather = told.subscribe();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let Some(_) = passable(&mut weather, to_client).await else { return };
        // Both arms can be given up at any point: a read that was not taken stays in the socket.
        let n_read = tokio::select! {
            read = from.read(&mut piece) => read.unwrap_or(0),
            changed = weather.changed() => if changed.is_ok() { continue } else { return },
        };
        if n_read == 0 {
            return;
        }
        // The weather may have changed before the piece came, and this task may hear of both at once.
        let Some(now) = passable(&mut weather, to_client).await else { return };
        if to_client && now == Weather::Mute {
            continue;
        }
        if to_client && told.send_if_modified(take_loss) {
            return;
        }
        if let Weather::Fair { delay } = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&piece[..n_read]).await.is_err() {
            return;
        }
    }
}

/// The weather once it lets something through in this direction; `None` if it ends the connection first.
async fn passable(weather: &mut watch::Receiver<Weather>, to_client: bool) -> Option<Weather> {
    let stalled = |now: &Weather| *now == Weather::Stalled;
    let now = *weather.wait_for(|now| !stalled(now)).await.ok()?;
    let is_over = now == Weather::Cut || now == Weather::HalfClosed && to_client;
    (!is_over).then_some(now)
}

/// Whether this piece is the one to lose.
fn take_loss(weather: &mut Weather) -> bool {
    let is_lossy = *weather == Weather::Lossy;
    if is_lossy {
        *weather = Weather::Fair { delay: Duration::ZERO };
    }
    is_lossy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{LIMIT, eventually};
    use std::{
        io::{ErrorKind, Read, Write},
        net::{TcpListener, TcpStream},
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    /// A server that answers every byte with itself and counts them.
    fn echo() -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (port, heard) =
            (listener.local_addr().expect("an address").port(), Arc::<AtomicUsize>::default());
        let count = heard.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let count = count.clone();
                thread::spawn(move || {
                    let mut byte = [0];
                    while let Ok(1) = stream.read(&mut byte) {
                        count.fetch_add(1, Ordering::Relaxed);
                        let _ = stream.write_all(&byte);
                    }
                });
            }
        });
        (port, heard)
    }

    fn ask(stream: &mut TcpStream) -> Result<usize, ErrorKind> {
        ask_within(stream, LIMIT)
    }

    fn ask_within(stream: &mut TcpStream, limit: Duration) -> Result<usize, ErrorKind> {
        stream.set_read_timeout(Some(limit)).expect("a limit");
        stream.write_all(b"x").map_err(|error| error.kind())?;
        stream.read(&mut [0]).map_err(|error| error.kind())
    }

    fn hears(heard: &AtomicUsize, n: usize) {
        let all = eventually(LIMIT, || (heard.load(Ordering::Relaxed) == n).then_some(()));
        assert!(all.is_some(), "the server heard {heard:?} of {n}");
    }

    #[test]
    fn one_reply_is_lost_after_the_server_has_heard_and_the_next_connection_is_served() {
        let (port, heard) = echo();
        let proxy = Proxy::new(port);
        let connect = || TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens");
        let mut stream = connect();
        assert_eq!(ask(&mut stream), Ok(1));
        proxy.lose_reply();
        assert!(!proxy.has_lost_reply());
        assert_eq!(ask(&mut stream), Ok(0), "its connection ends");
        assert!(proxy.has_lost_reply());
        hears(&heard, 2);
        assert_eq!(ask(&mut connect()), Ok(1));
    }

    #[test]
    fn the_muted_server_hears_everything_and_nobody_hears_it() {
        let (port, heard) = echo();
        let proxy = Proxy::new(port);
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy listens");
        assert_eq!(ask(&mut stream), Ok(1));
        proxy.mute();
        assert_eq!(ask_within(&mut stream, Duration::from_millis(200)), Err(ErrorKind::WouldBlock));
        hears(&heard, 2);
    }
}

//! A thousand subscribers that count what they get, and one author. Bare sockets: what a client library would take is
//! then missing on both sides.

use crate::server::Server;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    time::{sleep, timeout},
};

const LOOK: Duration = Duration::from_micros(100);
const LIMIT: Duration = Duration::from_secs(20);
const TEXT: u8 = 0x81;
const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

pub struct Clients {
    address: SocketAddr,
    author: OwnedWriteHalf,
    /// What the author sends, as a frame.
    change: Vec<u8>,
    n_subscribers: u64,
    /// Text frames that all subscribers have got.
    n_received: Arc<AtomicU64>,
}

impl Clients {
    /// Connects everybody, and waits until changes arrive everywhere.
    pub async fn connect(server: &Server, n_subscribers: usize, change: &str) -> Self {
        let n_received = Arc::new(AtomicU64::new(0));
        for _ in 0..n_subscribers {
            let (reader, writer) = open(server.address).await.into_split();
            tokio::spawn(count(reader, writer, n_received.clone()));
        }
        let (reader, author) = open(server.address).await.into_split();
        // The author's own answers are read and not counted.
        tokio::spawn(count_alone(reader));
        let n_subscribers = n_subscribers as u64;
        let (address, change) = (server.address, masked_text(change));
        let clients = Self { address, author, change, n_subscribers, n_received };
        clients.settle().await;
        clients
    }

    /// The text that the server sends for a change.
    pub async fn sample(&mut self) -> String {
        let mut stream = open(self.address).await;
        sleep(Duration::from_millis(200)).await;
        self.author.write_all(&self.change).await.expect("the author is connected");
        let mut received = Vec::new();
        let read_on = async {
            loop {
                received.reserve(4096);
                stream.read_buf(&mut received).await.expect("it is connected");
                let frames = texts(&received);
                if let Some(change) = frames.iter().find(|text| text.contains("config_sync")) {
                    return change.clone();
                }
            }
        };
        let text = timeout(LIMIT, read_on).await.expect("a change comes");
        self.settle().await;
        text
    }

    /// Lets the author send while at most `max_ahead` changes are on their way to some of the subscribers; gives how much
    /// they received.
    pub async fn publish_for(&mut self, time: Duration, max_ahead: u64) -> u64 {
        let (start, before) = (Instant::now(), self.n_received.load(Relaxed));
        let mut n_sent = 0;
        while start.elapsed() < time {
            while n_sent < max_ahead + (self.n_received.load(Relaxed) - before) / self.n_subscribers {
                self.author.write_all(&self.change).await.expect("the author is connected");
                n_sent += 1;
            }
            sleep(LOOK).await;
        }
        let expected = before + n_sent * self.n_subscribers;
        let all_arrive = async {
            while self.n_received.load(Relaxed) < expected {
                sleep(LOOK).await;
            }
        };
        timeout(LIMIT, all_arrive).await.expect("every subscriber gets every change");
        self.n_received.load(Relaxed) - before
    }

    /// Waits until nothing arrives any more.
    async fn settle(&self) {
        let mut last = u64::MAX;
        while last != self.n_received.load(Relaxed) {
            last = self.n_received.load(Relaxed);
            sleep(Duration::from_millis(300)).await;
        }
    }
}

/// Connects as soon as the server listens, and reads its answer to the handshake byte by byte, so that no frame is lost.
async fn open(address: SocketAddr) -> TcpStream {
    let connect = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let mut stream = timeout(LIMIT, connect).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    stream.write_all(HANDSHAKE.as_bytes()).await.expect("it is connected");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("the server answers"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// Counts the text frames that come. The writer is only held: dropping it would end the connection.
async fn count(mut reader: OwnedReadHalf, _writer: OwnedWriteHalf, n_received: Arc<AtomicU64>) {
    let (mut scratch, mut frames) = (vec![0; 4096], Frames::default());
    while let Ok(n @ 1..) = reader.read(&mut scratch).await {
        n_received.fetch_add(frames.pass(&scratch[..n]), Relaxed);
    }
}

async fn count_alone(mut reader: OwnedReadHalf) {
    let mut scratch = vec![0; 4096];
    while let Ok(1..) = reader.read(&mut scratch).await {}
}

/// Where in the stream of frames a connection stands.
#[derive(Default)]
struct Frames {
    header: Vec<u8>,
    n_left: usize,
}

impl Frames {
    /// How many text frames begin in these bytes.
    fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut n_texts = 0;
        while !bytes.is_empty() {
            if self.n_left > 0 {
                let n = self.n_left.min(bytes.len());
                self.n_left -= n;
                bytes = &bytes[n..];
                continue;
            }
            self.header.push(bytes[0]);
            bytes = &bytes[1..];
            if let Some((_, n_payload)) = payload(&self.header) {
                n_texts += u64::from(self.header[0] == TEXT);
                self.n_left = n_payload;
                self.header.clear();
            }
        }
        n_texts
    }
}

/// The sizes of a frame's header and payload, once enough of the header is there. Servers do not mask.
fn payload(frame: &[u8]) -> Option<(usize, usize)> {
    match *frame.get(1)? {
        126 => Some((4, u16::from_be_bytes(frame.get(2..4)?.try_into().ok()?).into())),
        127 => Some((10, u64::from_be_bytes(frame.get(2..10)?.try_into().ok()?) as usize)),
        n => Some((2, n.into())),
    }
}

/// The payloads of whole text frames.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((n_header, n_payload)) = payload(bytes).filter(|(header, n)| header + n <= bytes.len()) {
        if bytes[0] == TEXT {
            texts.push(String::from_utf8_lossy(&bytes[n_header..n_header + n_payload]).into_owned());
        }
        bytes = &bytes[n_header + n_payload..];
    }
    texts
}

/// A client's text frame; the mask is all zeros, which is a mask like any other.
fn masked_text(text: &str) -> Vec<u8> {
    let mut frame = vec![TEXT];
    match u16::try_from(text.len()).expect("a short message") {
        n @ ..126 => frame.push(0x80 | n as u8),
        n => {
            frame.push(0x80 | 126);
            frame.extend(n.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

//! The limit: a server that gives every text frame it gets to everybody, with nothing but tokio-tungstenite.

use crate::server::Server;
use futures_util::{SinkExt, StreamExt};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig};

/// Set in the process that serves.
pub const CHILD: &str = "LOCKSTEP_BENCH_BARE_SERVER";

const QUEUED_FRAMES: usize = 1024;

/// The read buffer is filled with zeros whenever a connection wakes, which with the default of 128 KiB takes four times
/// as long as all else.
const BUFFER_BYTES: usize = 4 * 1024;

pub fn start() -> Server {
    let mut child = Command::new(std::env::current_exe().expect("own file"))
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut address = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut address).expect("it says where it listens");
    Server::new(child, address.trim().parse().expect("an address"))
}

/// Serves until the process is ended. One thread for the sockets, as a plugin has.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        let all = broadcast::Sender::new(QUEUED_FRAMES);
        loop {
            let (stream, _) = listener.accept().await.expect("a client");
            stream.set_nodelay(true).expect("a socket");
            tokio::spawn(talk(stream, all.clone()));
        }
    });
}

async fn talk(stream: TcpStream, all: broadcast::Sender<Utf8Bytes>) {
    let mut frames = all.subscribe();
    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    let accepted = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await;
    let Ok(mut socket) = accepted else { return };
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let mut next = frame.ok();
                // One flush for everything that waits.
                while let Some(frame) = next {
                    if socket.feed(Message::Text(frame)).await.is_err() { return }
                    next = frames.try_recv().ok();
                }
                if socket.flush().await.is_err() { return }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => drop(all.send(text)),
                Some(Ok(_)) => {}
                _ => return,
            }
        }
    }
}

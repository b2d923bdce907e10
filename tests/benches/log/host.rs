//! The real host with one pipeline through the log, from WebSocket clients to WebSocket clients.

use crate::server::Server;
use futures_util::{SinkExt, StreamExt};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

const LIMIT: Duration = Duration::from_secs(20);

/// When a change counts as committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Commit,
    Interval,
}

pub struct Host {
    server: Server,
    admin: SocketAddr,
}

pub type Socket = WebSocketStream<TcpStream>;

impl Host {
    /// Starts the host and waits until a change is answered.
    pub async fn start(built: &Path, dir: &Path, durability: Durability) -> Self {
        let (address, admin) = (free_address(), free_address());
        fs::create_dir_all(dir).expect("a folder");
        let server = format!(
            "{{ plugin: websocket, config: {{ port: {}, max_connections: 5000, max_messages_per_second: 0 }} }}",
            address.port()
        );
        let pipeline = dir.join("log.yaml");
        let transforms = "transforms: [ { plugin: lock }, { plugin: resolver } ]";
        fs::write(&pipeline, format!("sources: [ {server} ]\n{transforms}\nsinks: [ {server} ]\n"))
            .expect("a pipeline");
        let child = Command::new(built.join("lockstep"))
            .arg("run")
            .arg(&pipeline)
            .arg("--plugin-path")
            .arg(built)
            .arg("--data-dir")
            .arg(dir.join("data"))
            .args(["--admin-listen", &admin.to_string()])
            .env("LOCKSTEP_STATE__DURABILITY", format!("{durability:?}").to_lowercase())
            .current_dir(dir)
            .stderr(Stdio::null())
            .spawn()
            .expect("the host starts");
        let host = Self { server: Server::new(child, address), admin };
        let mut socket = host.connect().await;
        send(&mut socket, "app.bench.first", 0).await;
        timeout(LIMIT, answered(&mut socket)).await.expect("the first change is answered");
        host
    }

    /// Where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub async fn connect(&self) -> Socket {
        connect(self.address()).await
    }

    /// How often the store has synced.
    pub async fn n_fsyncs(&self) -> f64 {
        let mut stream = reach(self.admin).await;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).await.expect("the admin server listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let line = answer.lines().find(|line| line.starts_with("lockstep_store_fsyncs_total"));
        let value = line.and_then(|line| line.rsplit(' ').next()).expect("the metric is there");
        value.parse().expect("a number")
    }
}

/// Connects as soon as the server listens.
pub async fn connect(address: SocketAddr) -> Socket {
    let stream = timeout(LIMIT, reach(address)).await.expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    let request = format!("ws://{address}/").into_client_request().expect("an address");
    tokio_tungstenite::client_async(request, stream).await.expect("the server upgrades").0
}

/// Sends a change whose value says when it was sent.
pub async fn send(socket: &mut Socket, key: &str, value: u64) {
    socket.send(change(key, value)).await.expect("it is connected");
}

/// A change whose value says when it was sent. A server that only repeats it shows about what the host would.
pub fn change(key: &str, value: u64) -> Message {
    Message::text(format!(
        r#"{{"type":"config_change","config_key":"{key}","new_value":{{"sent_us":{value},"theme":"dark","limits":[10,20,30]}}}}"#
    ))
}

/// Waits for the answer to the one change that was sent.
pub async fn answered(socket: &mut Socket) {
    loop {
        let message = socket.next().await.expect("it is connected").expect("a frame");
        let Ok(text) = message.to_text() else { continue };
        if text.contains("config_change_response") {
            assert!(text.contains("\"success\":true"), "{text}");
            return;
        }
    }
}

async fn reach(address: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

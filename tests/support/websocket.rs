//! A WebSocket client for tests: tokio-tungstenite underneath, blocking calls on top.

use crate::wait::LIMIT;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async, tungstenite};
use tungstenite::Message;

/// The connection, by TLS or not.
#[derive(Debug)]
enum Stream {
    Plain(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Tls(Box<WebSocketStream<TlsStream<TcpStream>>>),
}

impl Stream {
    async fn send(&mut self, frame: Message) -> Result<(), tungstenite::Error> {
        match self {
            Self::Plain(stream) => stream.send(frame).await,
            Self::Tls(stream) => stream.send(frame).await,
        }
    }

    async fn next(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        match self {
            Self::Plain(stream) => stream.next().await,
            Self::Tls(stream) => stream.next().await,
        }
    }
}

/// The runtime of every client of the test process.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime can be started")
    });
    &RUNTIME
}

/// One connection.
#[derive(Debug)]
pub struct WsClient {
    stream: Stream,
    welcome: Value,
}

/// What came from the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A text frame with JSON in it.
    Message(Value),
    /// The connection was closed, with this code if there was one.
    Closed(Option<u16>),
}

impl WsClient {
    /// Connects to a loopback port and takes the welcome.
    ///
    /// # Panics
    /// If there is no server, or its first frame is not the welcome.
    pub fn connect(port: u16) -> Self {
        Self::connect_to(&format!("ws://127.0.0.1:{port}/"))
    }

    /// As [`WsClient::connect`], with the whole address.
    pub fn connect_to(url: &str) -> Self {
        let connected = runtime().block_on(async { timeout(LIMIT, connect_async(url)).await });
        let (stream, _) =
            connected.expect("an answer in time").unwrap_or_else(|error| panic!("{url}: {error}"));
        Self::welcomed(Stream::Plain(Box::new(stream)))
    }

    /// As [`WsClient::connect`], by TLS, trusting this certificate alone.
    ///
    /// # Panics
    /// If there is no server, or it does not have that certificate.
    pub fn connect_tls(port: u16, trusted: rustls::pki_types::CertificateDer<'static>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted).expect("a certificate");
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let connected = runtime().block_on(async {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("somebody listens");
            let name = "localhost".try_into().expect("a name");
            let tls = connector.connect(name, tcp).await.unwrap_or_else(|error| panic!("TLS: {error}"));
            timeout(LIMIT, client_async("ws://localhost/", tls)).await
        });
        let (stream, _) = connected.expect("an answer in time").expect("a WebSocket server");
        Self::welcomed(Stream::Tls(Box::new(stream)))
    }

    fn welcomed(stream: Stream) -> Self {
        let mut client = Self { stream, welcome: Value::Null };
        client.welcome = client.next_message();
        assert_eq!(client.welcome["type"], "connection_established", "the first frame is the welcome");
        client
    }

    /// The welcome.
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// Sends JSON as one text frame.
    pub fn send(&mut self, message: &Value) {
        self.send_frame(Message::text(message.to_string()));
    }

    /// Sends any frame.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send_frame(&mut self, frame: Message) {
        self.try_send_frame(frame).expect("the connection is there");
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn try_send_frame(&mut self, frame: Message) -> Result<(), tungstenite::Error> {
        runtime().block_on(self.stream.send(frame))
    }

    /// Subscribes to these patterns and waits until the server has them: it answers a subscription that has an `id`.
    pub fn subscribe(&mut self, patterns: &[&str]) -> Value {
        self.send(&json!({ "type": "subscribe", "patterns": patterns, "id": "subscription" }));
        self.next_of_type("subscribed")
    }

    /// Makes a change and gives the server's answer to it.
    pub fn change(&mut self, key: &str, value: &Value) -> Value {
        self.send_change(key, value);
        self.next_of_type("config_change_response")
    }

    /// Makes a change without waiting for the answer.
    pub fn send_change(&mut self, key: &str, value: &Value) {
        self.send(
            &json!({ "type": "config_change", "config_key": key, "new_value": value, "user_id": "suite" }),
        );
    }

    /// The next frame that is a message or the end, if one comes in time.
    pub fn try_next(&mut self, limit: Duration) -> Option<Frame> {
        let received = runtime().block_on(async { timeout(limit, next_frame(&mut self.stream)).await });
        received.ok()
    }

    /// The next message.
    ///
    /// # Panics
    /// If there is none in time, or the connection ends.
    pub fn next_message(&mut self) -> Value {
        match self.try_next(LIMIT) {
            Some(Frame::Message(message)) => message,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The next message of this type; others are passed over.
    ///
    /// # Panics
    /// If there is none in time, or the connection ends.
    pub fn next_of_type(&mut self, kind: &str) -> Value {
        let start = Instant::now();
        loop {
            let message = self.next_message();
            if message["type"] == kind {
                return message;
            }
            assert!(start.elapsed() < LIMIT, "no `{kind}` in time, last: {message}");
        }
    }

    /// Everything that the server has sent up to the answer to a ping sent now.
    pub fn messages_so_far(&mut self) -> Vec<Value> {
        self.send(&json!({ "type": "ping" }));
        let mut messages = Vec::new();
        loop {
            let message = self.next_message();
            if message["type"] == "pong" {
                return messages;
            }
            messages.push(message);
        }
    }

    /// The connection itself, for tests that read on the runtime.
    ///
    /// # Panics
    /// If it is one by TLS.
    pub fn into_stream(self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        match self.stream {
            Stream::Plain(stream) => *stream,
            Stream::Tls(_) => panic!("only plain connections are read on the runtime"),
        }
    }
}

async fn next_frame(stream: &mut Stream) -> Frame {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                return Frame::Message(
                    serde_json::from_str(&text).expect("every frame of the server is JSON"),
                );
            }
            Some(Ok(Message::Close(close))) => return Frame::Closed(close.map(|close| close.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Frame::Closed(None),
        }
    }
}

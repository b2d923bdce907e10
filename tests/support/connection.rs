//! A WebSocket connection for tasks on the tests' runtime: thousands of them share it.

use crate::websocket::Frame;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::{io, net::SocketAddr};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite};
use tungstenite::Message;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: WebSocketStream<TcpStream>,
    welcome: Value,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Refused {
    Io(io::Error),
    Handshake(Box<tungstenite::Error>),
    /// The first frame was not the welcome.
    FirstFrame(Frame),
}

impl Connection {
    /// Connects to a loopback port and takes the welcome.
    ///
    /// # Errors
    /// If there is no server, or it sends something else first.
    pub async fn open(port: u16) -> Result<Self, Refused> {
        Self::open_with(port, "/", None).await
    }

    /// The same, at a path, and with a receive buffer of the system that is no larger than this: then whoever does not read
    /// is felt by the server soon.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub async fn open_with(port: u16, path: &str, receive_buffer: Option<u32>) -> Result<Self, Refused> {
        let socket = TcpSocket::new_v4().map_err(Refused::Io)?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).map_err(Refused::Io)?;
        }
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let tcp = socket.connect(server).await.map_err(Refused::Io)?;
        tcp.set_nodelay(true).map_err(Refused::Io)?;
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (stream, _) =
            client_async(url, tcp).await.map_err(|error| Refused::Handshake(Box::new(error)))?;
        let mut connection = Self { stream, welcome: Value::Null };
        match connection.next().await {
            Frame::Message(message) if message["type"] == "connection_established" => {
                connection.welcome = message;
                Ok(connection)
            }
            other => Err(Refused::FirstFrame(other)),
        }
    }

    /// The welcome.
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// Sends JSON as one text frame.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, message: &Value) -> Result<(), tungstenite::Error> {
        self.stream.send(Message::text(message.to_string())).await
    }

    /// The next message, or the end. Giving it up loses nothing.
    ///
    /// # Panics
    /// If a message is not JSON.
    pub async fn next(&mut self) -> Frame {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message = serde_json::from_str(&text);
                    return Frame::Message(message.expect("every frame of the server is JSON"));
                }
                Some(Ok(Message::Close(close))) => {
                    return Frame::Closed(close.map(|close| close.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Frame::Closed(None),
            }
        }
    }
}

//! A WebSocket connection for tasks on the tests' runtime: thousands of them share it.

use crate::websocket::Frame;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::{io, net::SocketAddr, os::fd::AsRawFd};
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
        Self::open_with(port, "/", false).await
    }

    /// The same, at a path, and if it is narrow, with as little as possible in the system's buffers on both sides: the server
    /// soon feels that nobody reads.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub async fn open_with(port: u16, path: &str, is_narrow: bool) -> Result<Self, Refused> {
        let socket = TcpSocket::new_v4().map_err(Refused::Io)?;
        if is_narrow {
            narrow(&socket).map_err(Refused::Io)?;
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

/// A small window, and small segments: the sender's buffer grows with their size.
fn narrow(socket: &TcpSocket) -> io::Result<()> {
    socket.set_recv_buffer_size(4096)?;
    let bytes: libc::c_int = 536;
    // SAFETY: plain system call on a socket that is open, with a value of the length it is given.
    let set = unsafe {
        let value = (&raw const bytes).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_MAXSEG, value, 4)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! The smallest HTTP client that can ask the admin server.

use crate::wait::LIMIT;
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: String,
    pub body: String,
}

/// A request that has not been sent.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, host: None, headers: Vec::new(), body: String::new() }
    }

    /// Names another host than the one it is sent to.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// One header more.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the token that mutations need.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// With JSON.
    pub fn json(self, body: &Value) -> Self {
        let mut request = self.header("Content-Type", "application/json");
        request.body = body.to_string();
        request
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// If there is no connection, no answer in time, or no HTTP in it.
    pub fn send(&self, address: &str) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let Self { method, path, host, headers, body } = self;
        let host = host.as_deref().unwrap_or(address);
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes())?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        Answer::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// One request without a body, on a connection of its own.
///
/// # Errors
/// As for [`Request::send`].
pub fn http(address: &str, method: &str, path: &str) -> io::Result<Answer> {
    Request::new(method, path).send(address)
}

/// Sends bytes to a loopback port and gives what came back until the other side closed, or fell silent for so long.
///
/// # Panics
/// If nobody listens.
pub fn raw_exchange(port: u16, bytes: &[u8], limit: Duration) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(limit)).expect("a limit can be set");
    stream.write_all(bytes).expect("the connection is there");
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(n_read @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..n_read]);
        if answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The body without the lengths in front of its chunks.
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 || after.len() < length {
            break;
        }
        body.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    body
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().ok()?;
        let headers = head.to_ascii_lowercase();
        let is_chunked = headers.contains("transfer-encoding: chunked");
        let body = if is_chunked { unchunked(body) } else { body.to_owned() };
        Some(Self { code, headers, body })
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

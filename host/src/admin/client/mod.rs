//! The other side: requests to a running host, over its socket or over TCP.
//!
//! Blocking and without a library: a command asks a few small questions, or listens to one answer that does not end.

mod exchange;
mod lines;

pub use lines::Lines;

use exchange::{Answer, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A little more than the server takes at most.
const LIMIT: Duration = Duration::from_secs(if cfg!(test) { 660 } else { 15 });

/// How much longer an answer that goes on may be silent; the server says something every 10 s.
const SILENCE: Duration = Duration::from_secs(15);

/// Asks one running host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
    token: Option<String>,
    limit: Duration,
}

#[derive(Debug, Clone)]
enum Target {
    Socket(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no host answers at {target}")]
    Unreachable {
        target: String,
        #[source]
        cause: io::Error,
    },
    #[error("the host at {target} was asked and did not answer; it may have done what it was asked for")]
    Unanswered {
        target: String,
        #[source]
        cause: io::Error,
    },
    #[error("{target} does not answer like a Lockstep host: {found}")]
    Strange { target: String, found: String },
    #[error("the host refused: {message} ({code})")]
    Refused {
        status: u16,
        code: String,
        message: String,
        /// What varies; null if there is nothing, or it has numbers that are none to this program.
        details: Value,
    },
    #[error("`{0}` is not an address of a host: write `http://HOST:PORT`")]
    BadAddress(String),
}

/// The body of a refusal.
#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(borrow, default)]
    error: Problem<'a>,
}

#[derive(Default, Deserialize)]
struct Problem<'a> {
    code: Option<String>,
    message: Option<String>,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
}

impl ClientError {
    /// Whether the same may work when the host is back, or ready.
    pub fn may_come_back(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unanswered { .. } | Self::Strange { .. } => true,
            Self::Refused { status, .. } => *status == 503,
            Self::BadAddress(_) => false,
        }
    }
}

impl Client {
    /// Over the host's socket.
    pub fn of_socket(path: &Path) -> Self {
        Self { target: Target::Socket(path.to_owned()), token: None, limit: LIMIT }
    }

    /// Over TCP, by `http://host:port` or `host:port`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn of_address(address: &str, token: Option<String>) -> Result<Self, ClientError> {
        let bare = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let has_port =
            bare.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match has_port && !bare.contains('/') {
            true => Ok(Self { target: Target::Tcp(bare.to_owned()), token, limit: LIMIT }),
            false => Err(ClientError::BadAddress(address.to_owned())),
        }
    }

    /// The same, but an answer may take that much longer.
    #[must_use]
    pub fn patient(mut self, wait: Duration) -> Self {
        self.limit = LIMIT.saturating_add(wait);
        self
    }

    /// Whether somebody listens there.
    pub fn is_there(&self) -> bool {
        match &self.target {
            Target::Socket(path) => UnixStream::connect(path).is_ok(),
            Target::Tcp(address) => TcpStream::connect(address).is_ok(),
        }
    }

    /// What is at a path.
    ///
    /// # Errors
    /// If nobody answers, or the host refuses.
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("GET", path, "")
    }

    /// What is at a path, read as `T`; with `RawValue`s in it, values stay as the host wrote them.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_as<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read_as(self.exchange("GET", path, "")?)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("POST", path, "")
    }

    /// Asks for something to be done with this JSON.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post_json(&self, path: &str, body: &str) -> Result<Value, ClientError> {
        self.ask("POST", path, body)
    }

    /// The same, with the answer read as `T`; with `RawValue`s in it, values stay as the host wrote them.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post_as<T: DeserializeOwned>(&self, path: &str, body: &str) -> Result<T, ClientError> {
        self.read_as(self.exchange("POST", path, body)?)
    }

    /// Asks for something to be removed.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("DELETE", path, "")
    }

    /// An answer that goes on: the lines at a path, as they come. A host that says nothing for half a minute is gone.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let answer = self.clone().patient(SILENCE).exchange("GET", path, "")?;
        if !answer.is_success() {
            self.read(answer)?;
            return Err(self.strange("no lines".to_owned()));
        }
        Ok(Lines::new(answer))
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, ClientError> {
        let answer = self.exchange(method, path, body)?;
        self.read(answer)
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> Result<Answer, ClientError> {
        let host = match &self.target {
            Target::Socket(_) => "localhost",
            Target::Tcp(address) => address,
        };
        let request = Request { method, path, host, token: self.token.as_deref(), body };
        let answer = match &self.target {
            Target::Socket(socket) => {
                let stream = UnixStream::connect(socket).map_err(|cause| self.unreachable(cause))?;
                stream.set_read_timeout(Some(self.limit)).and_then(|()| request.send(stream))
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).map_err(|cause| self.unreachable(cause))?;
                stream.set_read_timeout(Some(self.limit)).and_then(|()| request.send(stream))
            }
        };
        match answer.map_err(|cause| self.unanswered(cause))? {
            Ok(answer) => Ok(answer),
            Err(found) => Err(self.strange(found.to_owned())),
        }
    }

    /// The body of an answer as JSON.
    fn read(&self, answer: Answer) -> Result<Value, ClientError> {
        self.read_as(answer)
    }

    /// No body is null.
    fn read_as<T: DeserializeOwned>(&self, answer: Answer) -> Result<T, ClientError> {
        let text = self.text(answer)?;
        let json = if text.is_empty() { "null" } else { &text };
        serde_json::from_str(json).map_err(|error| self.strange(format!("another JSON: {error}")))
    }

    /// The body of an answer, or what the host says against the request.
    fn text(&self, answer: Answer) -> Result<String, ClientError> {
        let (status, is_success) = (answer.status(), answer.is_success());
        let text = answer.text().map_err(|cause| match cause.kind() {
            io::ErrorKind::InvalidData => self.strange("no text".to_owned()),
            _ => self.unanswered(cause),
        })?;
        if is_success {
            return Ok(text);
        }
        let Refused { error: Problem { code, message, details } } =
            serde_json::from_str(&text).map_err(|error| self.strange(format!("no JSON: {error}")))?;
        let details =
            details.and_then(|details| serde_json::from_str(details.get()).ok()).unwrap_or_default();
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        Err(ClientError::Refused { status, code: or_unknown(code), message: or_unknown(message), details })
    }

    fn unreachable(&self, cause: io::Error) -> ClientError {
        ClientError::Unreachable { target: self.target.to_string(), cause }
    }

    fn unanswered(&self, cause: io::Error) -> ClientError {
        ClientError::Unanswered { target: self.target.to_string(), cause }
    }

    fn strange(&self, found: String) -> ClientError {
        ClientError::Strange { target: self.target.to_string(), found }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// A value in a path or a query: what is no plain letter, digit or `-_.` as `%XX`.
pub fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let escape = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &'static [u8]) -> Result<Value, ClientError> {
        let client = Client::of_address("localhost:1", None).expect("an address");
        match Answer::read(Box::new(answer)).expect("slices can be read") {
            Ok(answer) => client.read(answer),
            Err(found) => Err(client.strange(found.to_owned())),
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["http://127.0.0.1:8780", "localhost:8780", "http://[::1]:8780/"] {
            assert!(Client::of_address(good, None).is_ok(), "{good}");
        }
        for bad in ["", "https://a:1", "localhost", "http://a:1/path", ":8780", "a:port"] {
            assert!(Client::of_address(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_a_value_a_refusal_or_strange() {
        let ok = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":[1]}");
        assert_eq!(ok.expect("200")["a"][0], 1);
        assert_eq!(read(b"HTTP/1.1 204 No Content\r\n\r\n").expect("204"), Value::Null);
        let refused = read(
            b"HTTP/1.1 404 Not Found\r\n\r\n{\"error\":{\"code\":\"not_found\",\"message\":\"no\",\"details\":[1]}}",
        );
        let Err(ClientError::Refused { status: 404, code, details, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((code.as_str(), details), ("not_found", serde_json::json!([1])));
        for cut in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{}",
        ] {
            let found = read(cut);
            assert!(
                matches!(found, Err(ClientError::Unanswered { .. })),
                "{}: {found:?}",
                cut.escape_ascii()
            );
        }
        for strange in [&b"SSH-2.0\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n<html>"] {
            let found = read(strange);
            assert!(
                matches!(found, Err(ClientError::Strange { .. })),
                "{}: {found:?}",
                strange.escape_ascii()
            );
        }
    }

    #[test]
    fn a_name_in_a_query_is_escaped() {
        assert_eq!(escaped("a&b=ä"), "a%26b%3D%C3%A4");
    }
}

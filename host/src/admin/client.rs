//! The other side: one request to a running host, over its socket or over TCP.
//!
//! Blocking and without a library: a command asks a few small questions and ends.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A little more than the server takes at most.
const LIMIT: Duration = Duration::from_secs(15);

/// Asks one running host.
#[derive(Debug, Clone)]
pub struct Client {
    target: Target,
    token: Option<String>,
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
    #[error("{target} does not answer like a Lockstep host: {found}")]
    Strange { target: String, found: String },
    #[error("the host refused: {message} ({code})")]
    Refused { status: u16, code: String, message: String },
    #[error("`{0}` is not an address of a host: write `http://HOST:PORT`")]
    BadAddress(String),
}

impl Client {
    /// Over the host's socket.
    pub fn of_socket(path: &Path) -> Self {
        Self { target: Target::Socket(path.to_owned()), token: None }
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
            true => Ok(Self { target: Target::Tcp(bare.to_owned()), token }),
            false => Err(ClientError::BadAddress(address.to_owned())),
        }
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
        self.ask("GET", path)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("POST", path)
    }

    /// Asks for something to be removed.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.ask("DELETE", path)
    }

    fn ask(&self, method: &str, path: &str) -> Result<Value, ClientError> {
        let unreachable = |cause| ClientError::Unreachable { target: self.target.to_string(), cause };
        let answer = match &self.target {
            Target::Socket(socket) => {
                let stream = UnixStream::connect(socket).map_err(unreachable)?;
                stream.set_read_timeout(Some(LIMIT)).map_err(unreachable)?;
                self.exchange(stream, method, path)
            }
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).map_err(unreachable)?;
                stream.set_read_timeout(Some(LIMIT)).map_err(unreachable)?;
                self.exchange(stream, method, path)
            }
        };
        let answer = answer.map_err(unreachable)?;
        read(&answer).map_err(|found| ClientError::Strange { target: self.target.to_string(), found })?
    }

    /// The server closes after its answer, so the answer is everything up to the end.
    fn exchange(&self, mut stream: impl Read + Write, method: &str, path: &str) -> io::Result<Vec<u8>> {
        let host = match &self.target {
            Target::Socket(_) => "localhost",
            Target::Tcp(address) => address,
        };
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{}Connection: close\r\nContent-Length: 0\r\n\r\n",
            token.unwrap_or_default()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// The body of an answer, or what the host says against the request; else what is strange about it.
fn read(answer: &[u8]) -> Result<Result<Value, ClientError>, String> {
    let text = std::str::from_utf8(answer).map_err(|_| "no text".to_owned())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no HTTP status")?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if length.is_some_and(|(_, length)| length.trim().parse() != Ok(body.len())) {
        return Err("an answer that ends too early".to_owned());
    }
    let body = match body {
        "" => Value::Null,
        body => serde_json::from_str(body).map_err(|error| format!("no JSON: {error}"))?,
    };
    if (200..300).contains(&status) {
        return Ok(Ok(body));
    }
    let part = |name: &str| body["error"][name].as_str().unwrap_or("unknown").to_owned();
    Ok(Err(ClientError::Refused { status, code: part("code"), message: part("message") }))
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ok = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":[1]}").expect("HTTP");
        assert_eq!(ok.expect("200")["a"][0], 1);
        assert_eq!(read(b"HTTP/1.1 204 No Content\r\n\r\n").expect("HTTP").expect("204"), Value::Null);
        let refused =
            read(b"HTTP/1.1 404 Not Found\r\n\r\n{\"error\":{\"code\":\"not_found\",\"message\":\"no\"}}");
        let refused = refused.expect("HTTP").expect_err("404");
        assert!(matches!(refused, ClientError::Refused { status: 404, ref code, .. } if code == "not_found"));
        for strange in [
            &b"SSH-2.0\r\n"[..],
            b"",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n<html>",
        ] {
            assert!(read(strange).is_err(), "{}", strange.escape_ascii());
        }
    }
}

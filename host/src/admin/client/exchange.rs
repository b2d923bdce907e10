//! One HTTP exchange on a connection of its own: a request out, a head in, and the body as somebody reads it.

use std::io::{self, BufRead, BufReader, Read, Write};

/// The longest head that is read.
const MAX_HEAD: u64 = 64 << 10;

pub(super) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub host: &'a str,
    pub token: Option<&'a str>,
    /// JSON, or nothing.
    pub body: &'a str,
}

/// An answer whose head was read.
pub(super) struct Answer {
    status: u16,
    body: Body,
}

/// How far the body goes.
enum Body {
    /// Up to the end of the connection, or so many bytes.
    Plain { stream: BufReader<Box<dyn Read>>, left: Option<u64> },
    /// In pieces, each with its length before it; none is of length 0, which is the end.
    Chunked { stream: BufReader<Box<dyn Read>>, left: u64, is_first: bool, is_over: bool },
}

impl Request<'_> {
    /// Sends the request and reads the head of the answer, or says what is strange about it. The server closes the
    /// connection after its answer. An error means that there is no answer, and not that nothing was done.
    pub fn send(&self, mut stream: impl Read + Write + 'static) -> io::Result<Result<Answer, &'static str>> {
        let token = self.token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let kind = if self.body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let Self { method, path, host, body, .. } = self;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{token}{kind}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        stream.flush()?;
        Answer::read(Box::new(stream))
    }
}

impl Answer {
    pub fn read(stream: Box<dyn Read>) -> io::Result<Result<Self, &'static str>> {
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let n_read = stream.by_ref().take(MAX_HEAD).read_until(b'\n', &mut head)?;
            if n_read == 0 && head.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if n_read == 0 || head.len() as u64 >= MAX_HEAD {
                return Ok(Err("no HTTP"));
            }
            if head.ends_with(b"\r\n\r\n") {
                return Ok(Self::of_head(&head, stream));
            }
        }
    }

    fn of_head(head: &[u8], stream: BufReader<Box<dyn Read>>) -> Result<Self, &'static str> {
        let head = std::str::from_utf8(head).map_err(|_| "no text")?;
        let is_http = head.starts_with("HTTP/1.");
        let status = head.split(' ').nth(1).filter(|_| is_http).ok_or("no HTTP")?;
        let status = status.parse().map_err(|_| "no HTTP status")?;
        let header = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            fields.find(|field| field.0.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let body = match header("transfer-encoding") {
            Some(_) => Body::Chunked { stream, left: 0, is_first: true, is_over: false },
            None => {
                let left = header("content-length").map(|length| length.parse().map_err(|_| "no length"));
                Body::Plain { stream, left: left.transpose()? }
            }
        };
        Ok(Self { status, body })
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The whole body.
    pub fn text(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok(text)
    }

    pub fn into_body(self) -> impl Read {
        self.body
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self {
            Self::Plain { stream, left: None } => stream.read(buffer),
            Self::Plain { left: Some(0), .. } => Ok(0),
            Self::Plain { stream, left: Some(left) } => read_some(stream, left, buffer),
            Self::Chunked { stream, left, is_first, is_over } => {
                if *left == 0 && !*is_over {
                    *left = next_chunk(stream, std::mem::take(is_first))?;
                    *is_over = *left == 0;
                }
                if *is_over { Ok(0) } else { read_some(stream, left, buffer) }
            }
        }
    }
}

/// A piece of what is left; its end is an error as long as something is.
fn read_some(stream: &mut impl Read, left: &mut u64, buffer: &mut [u8]) -> io::Result<usize> {
    let room = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
    let n_read = stream.read(&mut buffer[..room])?;
    *left -= n_read as u64;
    if n_read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(n_read) }
}

/// The length of the next chunk; 0 is the end of the body.
fn next_chunk(stream: &mut impl BufRead, is_first: bool) -> io::Result<u64> {
    let mut line = |line: &mut String| match stream.by_ref().take(64).read_line(line)? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        _ => Ok(()),
    };
    if !is_first {
        line(&mut String::new())?;
    }
    let mut length = String::new();
    line(&mut length)?;
    let digits = length.trim().split(';').next().unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
}

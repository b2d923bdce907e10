//! What the server answers, with its types.

use super::{
    connection::{Fault, bytes},
    text::{AnyText, Row},
};
use redis::Value;
use std::time::Duration;

/// The answer to whoever wants a lock.
#[derive(Debug)]
pub enum Taken {
    /// It is held; `is_first` if this very request began it, `ended` is the one before if nobody has said that it ended.
    Granted { lease: Row, is_first: bool, ended: Option<Row> },
    /// Somebody else holds it or is to have it; the place in line is 1 at the head and 0 outside of it.
    Refused { by: By, place: usize },
    /// The request was granted before, and that lease has ended.
    Over,
}

/// Whom a lock belongs to.
#[derive(Debug)]
pub enum By {
    Lease(Row),
    /// Another program; without an end if it set none.
    Foreign {
        text: AnyText,
        left: Option<Duration>,
    },
    /// Whoever waits at the head of the line.
    Line {
        owner: String,
        left: Duration,
    },
}

/// The answer to whoever keeps a lease or gives it back.
#[derive(Debug)]
pub enum Kept {
    Held(Row),
    /// Given back; `is_repeat` if that was answered before.
    Released {
        lease: Row,
        is_repeat: bool,
    },
    /// It has ended by itself, and this is the first to hear of it.
    Ended(Row),
    /// There is no such lease; `is_told` if whoever ended it, or took the lock after it, tells of that.
    No {
        is_told: bool,
    },
}

/// The answer to an administrator.
#[derive(Debug)]
pub enum Forced {
    Lease { lease: Row, token: u64 },
    Foreign { text: AnyText, token: u64 },
    Stale,
    No,
}

/// What stands at a lock.
#[derive(Debug, Clone)]
pub struct Found {
    pub text: AnyText,
    /// Nothing if it lasts until somebody ends it.
    pub left: Option<Duration>,
    /// The lease, if it is one of this plugin's.
    pub row: Option<Row>,
}

/// What a script answers, unless it has done nothing because of what it found.
///
/// # Errors
/// `Malformed`.
pub fn if_done(answer: Value) -> Result<Value, Fault> {
    let Value::Array(parts) = &answer else { return Ok(answer) };
    let [Value::BulkString(tag), Value::BulkString(name)] = parts.as_slice() else { return Ok(answer) };
    match tag.as_slice() {
        b"odd" => Err(Fault::Malformed(String::from_utf8_lossy(name).into_owned())),
        _ => Ok(answer),
    }
}

impl Taken {
    /// # Errors
    /// If it is nothing that the script says; as the others.
    pub fn read(answer: Value) -> Result<Self, Fault> {
        let mut said = Said(answer);
        let tag = said.text()?;
        Ok(match tag.as_str() {
            "granted" => {
                let (lease, is_first) = (said.row()?, said.number()? == 1);
                Self::Granted { lease, is_first, ended: said.row().ok() }
            }
            "over" => Self::Over,
            "locked" => Self::Refused { by: By::Lease(said.row()?), place: said.number()? as usize },
            "foreign" => {
                let text = AnyText::read(&said.bytes()?);
                let left = duration(said.number()?);
                Self::Refused { by: By::Foreign { text, left }, place: said.number()? as usize }
            }
            "line" => {
                let (owner, left) = (said.text()?, duration(said.number()?).unwrap_or_default());
                Self::Refused { by: By::Line { owner, left }, place: said.number()? as usize }
            }
            _ => return Err(nonsense()),
        })
    }
}

impl Kept {
    pub fn read(answer: Value) -> Result<Self, Fault> {
        let mut said = Said(answer);
        let tag = said.text()?;
        Ok(match tag.as_str() {
            "held" => Self::Held(said.row()?),
            "released" => Self::Released { lease: said.row()?, is_repeat: said.number()? == 1 },
            "ended" => Self::Ended(said.row()?),
            "no" => Self::No { is_told: said.number()? == 1 },
            _ => return Err(nonsense()),
        })
    }
}

impl Forced {
    pub fn read(answer: Value) -> Result<Self, Fault> {
        let mut said = Said(answer);
        let tag = said.text()?;
        Ok(match tag.as_str() {
            "forced" => {
                let lease = said.row()?;
                Self::Lease { lease, token: said.token()? }
            }
            "foreign" => Self::Foreign { text: AnyText::read(&said.bytes()?), token: said.token()? },
            "stale" => Self::Stale,
            "no" => Self::No,
            _ => return Err(nonsense()),
        })
    }
}

impl Found {
    /// What the answers to the questions about a lock say. A name that holds something else than a text is somebody's all
    /// the same.
    pub fn read(answers: Vec<Option<Value>>) -> Option<Self> {
        let mut answers = answers.into_iter();
        let text = match answers.next()? {
            Some(Value::Nil) => return None,
            Some(value) => bytes(value).unwrap_or_default(),
            None => Vec::new(),
        };
        let left = match answers.next()? {
            // It has just ended.
            Some(Value::Int(-2)) => return None,
            Some(Value::Int(left)) => duration(left),
            _ => None,
        };
        let read = AnyText::read(&text);
        let row = answers.next().flatten().and_then(|fields| {
            let mut fields = Said(fields);
            let token = fields.token().ok()?;
            let (depth, ttl_ms) = (fields.token().ok()?, fields.token().ok()?);
            let left_ms = left?.as_millis() as u64;
            let text = String::from_utf8(text).ok()?;
            (read.token() == Some(token)).then_some(Row { text, depth: depth.max(1) as u32, ttl_ms, left_ms })
        });
        Some(Self { text: read, left, row })
    }
}

fn duration(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

fn nonsense() -> Fault {
    Fault::Refused { code: "ERR".to_owned(), detail: "a script answered what no script says".to_owned() }
}

/// A script's answer, taken apart from its beginning.
struct Said(Value);

impl Said {
    fn next(&mut self) -> Result<Value, Fault> {
        match &mut self.0 {
            Value::Array(values) if !values.is_empty() => Ok(values.remove(0)),
            _ => Err(nonsense()),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Fault> {
        bytes(self.next()?).ok_or_else(nonsense)
    }

    fn text(&mut self) -> Result<String, Fault> {
        String::from_utf8(self.bytes()?).map_err(|_| nonsense())
    }

    fn number(&mut self) -> Result<i64, Fault> {
        match self.next()? {
            Value::Int(number) => Ok(number),
            _ => Err(nonsense()),
        }
    }

    /// A number that is kept as a text.
    fn token(&mut self) -> Result<u64, Fault> {
        self.text()?.parse().map_err(|_| nonsense())
    }

    fn row(&mut self) -> Result<Row, Fault> {
        let mut row = Self(self.next()?);
        let (text, depth) = (row.text()?, row.number()? as u32);
        let (ttl_ms, left) = (row.token()?, row.number()?);
        Ok(Row { text, depth, ttl_ms, left_ms: u64::try_from(left).unwrap_or(0) })
    }
}

//! What one subscriber saw, connection by connection.

use super::Committed;
use std::fmt;

/// Everything a subscriber saw of one epoch.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    pub name: String,
    /// Exact keys, prefixes that end with `*`, or `*`.
    pub patterns: Vec<String>,
    pub sessions: Vec<Session>,
}

/// One connection, from its subscription on.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// The revision it resumed after; without one it starts at its first bookmark.
    pub since: Option<u64>,
    /// It may be slow: it stops reading, or leaves, on purpose. If it ends between a change and the conflated one behind it, only a newer value of the
    /// same key can make up for what was left out.
    pub is_slow: bool,
    pub seen: Vec<Seen>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A change; a conflated one stands for everything of its key since `from_revision`.
    Change { change: Committed, from_revision: Option<u64> },
    /// The server's word that whatever this subscriber wants up to here was sent, and that what follows is newer.
    Bookmark { revision: u64 },
    /// The server's word that entries were left out; the current state of every key as of this revision follows.
    Resync { revision: u64, reason: String },
}

impl Observation {
    /// Whether this subscriber wants a key.
    pub fn wants(&self, key: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => key.starts_with(prefix),
            None => key == pattern,
        })
    }

    /// Every message, in order.
    pub fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.sessions.iter().flat_map(|session| &session.seen)
    }

    /// The changes it saw, in order.
    pub fn changes(&self) -> impl Iterator<Item = &Committed> {
        self.seen().filter_map(|seen| match seen {
            Seen::Change { change, .. } => Some(change),
            _ => None,
        })
    }
}

impl Session {
    /// The newest revision that this connection got to, if it got anywhere: where the next one resumes.
    pub fn position(&self) -> Option<u64> {
        let last = self.seen.iter().rev().find_map(|seen| match seen {
            Seen::Change { change, .. } => Some(change.revision),
            Seen::Bookmark { revision } => Some(*revision),
            Seen::Resync { .. } => None,
        });
        last.or(self.since)
    }
}

impl Seen {
    /// Where in the log it is.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Change { change, .. } => change.revision,
            Self::Bookmark { revision } | Self::Resync { revision, .. } => *revision,
        }
    }
}

/// `7`, `7<-3` conflated, `|7` a bookmark, `!7` a resync.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { change, from_revision: None } => write!(f, "{}", change.revision),
            Self::Change { change, from_revision: Some(from) } => write!(f, "{}<-{from}", change.revision),
            Self::Bookmark { revision } => write!(f, "|{revision}"),
            Self::Resync { revision, reason } => write!(f, "!{revision}({reason})"),
        }
    }
}

//! The rows of the contract's table of error codes that this plugin says by itself.
//!
//! Invariant: every text is fixed. A refusal holds nothing of what a client sent.

use lockstep_plugin_api::names::{MAX_KEY_BYTES, key_problem};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// A code, with the text this plugin gives it, and what of the message it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
    place: Option<Place>,
}

/// A field, as an RFC 6901 pointer into the message, and what was expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Place {
    path: &'static str,
    reason: &'static str,
}

impl Refusal {
    const fn new(code: &'static str, message: &'static str) -> Self {
        Self { code, message, place: None }
    }

    /// A field that is missing or not what it has to be.
    pub(crate) const fn of_field(path: &'static str, reason: &'static str) -> Self {
        BAD_FIELD.at(path, reason)
    }

    /// What cannot be a config key; `None` if it can.
    pub(crate) fn of_key(key: &str) -> Option<Self> {
        let refusal = if key.len() > MAX_KEY_BYTES { KEY_TOO_LARGE } else { BAD_KEY };
        key_problem(key).map(|problem| refusal.at("/config_key", problem))
    }

    /// The same, about this field.
    pub(crate) const fn at(self, path: &'static str, reason: &'static str) -> Self {
        Self { place: Some(Place { path, reason }), ..self }
    }

    /// What the contract has as `details`.
    pub(crate) fn details(self) -> Option<Box<RawValue>> {
        self.place.map(|place| to_raw_value(&[place]).expect("fixed texts can be written"))
    }

    /// Whether the client sent something it should not have, as opposed to coming at the wrong time.
    pub(crate) fn is_clients_fault(self) -> bool {
        !matches!(self.code, "unavailable" | "read_only" | "rate_limited" | "unknown_base")
    }
}

/// Whether the same message may succeed later.
pub(crate) fn is_retryable(code: &str) -> bool {
    matches!(code, "unavailable" | "rate_limited" | "locked")
}

pub(crate) const NOT_JSON: Refusal = Refusal::new("bad_message", "The message is not a JSON object");
pub(crate) const NOT_TEXT: Refusal = Refusal::new("bad_message", "Messages are JSON in text frames");
const BAD_FIELD: Refusal =
    Refusal::new("bad_message", "A field is missing, has the wrong type, or is out of its bounds");
pub(crate) const TOO_DEEP: Refusal =
    Refusal::new("bad_message", "The value or the operations are nested more than 128 levels deep");
pub(crate) const BAD_PATTERN: Refusal = Refusal::new("bad_pattern", "A pattern is not valid");
const BAD_KEY: Refusal = Refusal::new("bad_key", "The config key is not valid");
const KEY_TOO_LARGE: Refusal = Refusal::new("too_large", "The config key is longer than any server takes");
pub(crate) const BAD_TENANT: Refusal = Refusal::new("bad_tenant", "The tenant is not valid");
pub(crate) const TOO_LARGE: Refusal =
    Refusal::new("too_large", "The value or the operations are larger than this server takes");
pub(crate) const TOO_MANY_PATTERNS: Refusal =
    Refusal::new("too_large", "There are more patterns than this server takes");
pub(crate) const METADATA_TOO_LARGE: Refusal =
    Refusal::new("too_large", "The lock's metadata is larger than this server takes");
pub(crate) const RATE_LIMITED: Refusal =
    Refusal::new("rate_limited", "This connection sends more messages than this server takes");
pub(crate) const TOO_MANY_SESSIONS: Refusal =
    Refusal::new("rate_limited", "There are more sessions than this server keeps");
pub(crate) const OTHER_TENANT: Refusal =
    Refusal::new("forbidden", "This connection belongs to another tenant");
pub(crate) const READ_ONLY: Refusal = Refusal::new("read_only", "This server takes no changes");
pub(crate) const UNAVAILABLE: Refusal =
    Refusal::new("unavailable", "The change was not written; try again later");
pub(crate) const NO_HISTORY: Refusal =
    Refusal::new("unavailable", "This pipeline keeps no history: `since` and `snapshot` are not available");
/// As a host begins: its source takes connections a moment before its sink is there.
pub(crate) const HISTORY_AWAY: Refusal = Refusal::new(
    "unavailable",
    "No sink shows the log here, or not yet: `since` and `snapshot` are not available; try again later",
);
pub(crate) const NO_BASE: Refusal =
    Refusal::new("unknown_base", "This pipeline keeps no history to compare a base or operations with");
pub(crate) const NO_LOCKS: Refusal = Refusal::new("unavailable", "This pipeline has no locks");
pub(crate) const LOCKS_AWAY: Refusal =
    Refusal::new("unavailable", "The lock was not decided; try again later");

/// The fixed text for a key that somebody else has locked (WS-08).
pub(crate) const LOCKED: &str = "Configuration is locked by another user";

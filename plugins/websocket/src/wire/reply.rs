//! What the server says to one client: the welcome, answers, and where in the log it stands.

use super::{LOCKED, LOCKS_AWAY, Refusal, UNAVAILABLE, is_retryable};
use lockstep_plugin_api::{prelude::*, time};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, time::Duration};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The messages, field by field in the order they are written.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message<'a> {
    ConnectionEstablished {
        connection_id: &'a str,
        timestamp: String,
        server_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        resumed: Option<bool>,
    },
    Pong,
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        patterns: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        snapshot: Option<bool>,
    },
    Resync {
        epoch: &'a str,
        revision: u64,
        reason: &'a str,
    },
    Bookmark {
        epoch: &'a str,
        revision: u64,
    },
    ConfigChangeResponse(Answer<'a>),
    ConfigLockResponse(Answer<'a>),
    Error {
        message: &'a str,
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        retryable: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<&'a RawValue>,
    },
}

/// The answer to a `config_change`, a `config_lock` or a `config_unlock`.
#[derive(Serialize, Default)]
struct Answer<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
    /// What whoever decided told beside it.
    #[serde(flatten)]
    told: Told<'a>,
}

/// Fields that come from elsewhere, by name.
type Told<'a> = BTreeMap<String, &'a RawValue>;

/// What an answer says by itself, whatever else is told under these names.
const OWN_FIELDS: [&str; 12] = [
    "type",
    "success",
    "error",
    "config_key",
    "id",
    "revision",
    "token",
    "session",
    "depth",
    "code",
    "retryable",
    "details",
];

impl Message<'_> {
    fn write(&self) -> Utf8Bytes {
        serde_json::to_string(self).expect("every field is a scalar or valid JSON").into()
    }
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) config_key: Option<&'a str>,
}

/// What a connection starts with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Welcome<'a> {
    pub(crate) connection_id: &'a str,
    pub(crate) server_id: &'a str,
    /// Where the log stands, and whether the session of an earlier connection goes on in this one.
    pub(crate) log: Option<(&'a LogPosition, bool)>,
}

/// The first message on every connection (WS-M1).
pub(crate) fn connection_established(welcome: Welcome<'_>, now_us: i64, naive: bool) -> Utf8Bytes {
    let Welcome { connection_id, server_id, log } = welcome;
    Message::ConnectionEstablished {
        connection_id,
        timestamp: timestamp(now_us, naive),
        server_id,
        epoch: log.map(|(position, _)| position.epoch.as_str()),
        revision: log.map(|(position, _)| position.head),
        resumed: log.map(|(_, resumed)| resumed),
    }
    .write()
}

/// The answer to a `ping` (WS-M7).
pub(crate) fn pong() -> Utf8Bytes {
    Message::Pong.write()
}

/// The answer to a `subscribe` in a direct pipeline (without `at`), or with the place in the log after which everything
/// comes, and whether a snapshot comes before that.
pub(crate) fn subscribed(
    id: Option<&RawValue>,
    patterns: &[String],
    at: Option<(&str, u64)>,
    snapshot: bool,
) -> Utf8Bytes {
    let (epoch, revision) = (at.map(|at| at.0), at.map(|at| at.1));
    Message::Subscribed { id, patterns, epoch, revision, snapshot: snapshot.then_some(true) }.write()
}

/// Something was left out: the state as of `revision` follows, and then everything after it.
pub(crate) fn resync(epoch: &str, revision: u64, reason: &str) -> Utf8Bytes {
    Message::Resync { epoch, revision, reason }.write()
}

/// Everything up to `revision` was sent.
pub(crate) fn bookmark(epoch: &str, revision: u64) -> Utf8Bytes {
    Message::Bookmark { epoch, revision }.write()
}

/// An `error` (WS-M8).
pub(crate) fn error(refusal: Refusal, id: Option<&RawValue>, retry_after: Option<Duration>) -> Utf8Bytes {
    // Rounded up: who comes back a moment too early is refused again.
    let retry_after_ms = retry_after.map(|wait| wait.as_millis() as u64 + 1);
    let (Refusal { code, message, .. }, details) = (refusal, refusal.details());
    let (retryable, details) = (is_retryable(code), details.as_deref());
    Message::Error { message, code, id, retryable, retry_after_ms, details }.write()
}

/// The answer to a `config_change` that did not enter the pipeline.
pub(crate) fn refused(refusal: Refusal, about: About<'_>) -> Utf8Bytes {
    let details = refusal.details();
    Message::ConfigChangeResponse(Answer::refused(refusal, details.as_deref(), about)).write()
}

/// The answer to a `config_change` whose way through the pipeline is over (WS-M4, WS-M5).
pub(crate) fn outcome(result: &OutcomeResult, about: About<'_>) -> Utf8Bytes {
    let answer = match result {
        OutcomeResult::Written => Answer::success(about),
        OutcomeResult::Applied { revision, details } => {
            let told = told(details.as_ref().map(Json::as_str));
            Answer { revision: Some(*revision), told, ..Answer::success(about) }
        }
        OutcomeResult::Rejected(error) => Answer::rejected(error, about, UNAVAILABLE),
        OutcomeResult::Failed(_) => Answer::failure(UNAVAILABLE.code, UNAVAILABLE.message, about),
    };
    Message::ConfigChangeResponse(answer).write()
}

/// A lease as its holder is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Granted<'a> {
    pub(crate) token: u64,
    /// The secret by which the session can be resumed.
    pub(crate) session: &'a str,
    pub(crate) depth: u32,
    pub(crate) expires_at: &'a RawValue,
}

/// The answer to a `config_lock` that was granted.
pub(crate) fn lock_granted(granted: Granted<'_>, about: About<'_>) -> Utf8Bytes {
    Message::ConfigLockResponse(Answer {
        token: Some(granted.token),
        session: Some(granted.session),
        depth: Some(granted.depth),
        told: BTreeMap::from([("expires_at".to_owned(), granted.expires_at)]),
        ..Answer::success(about)
    })
    .write()
}

/// The answer to a `config_unlock`: `depth` says how often the session still has the lock.
pub(crate) fn lock_released(depth: u32, about: About<'_>) -> Utf8Bytes {
    Message::ConfigLockResponse(Answer { depth: Some(depth), ..Answer::success(about) }).write()
}

/// The answer to a `config_lock` or `config_unlock` that never was an operation.
pub(crate) fn lock_refused(refusal: Refusal, about: About<'_>) -> Utf8Bytes {
    let details = refusal.details();
    Message::ConfigLockResponse(Answer::refused(refusal, details.as_deref(), about)).write()
}

/// The answer to a `config_lock` or `config_unlock` that the operation refused.
pub(crate) fn lock_failed(error: &Error, about: About<'_>) -> Utf8Bytes {
    Message::ConfigLockResponse(Answer::rejected(error, about, LOCKS_AWAY)).write()
}

/// The fields of a JSON object, without those that an answer says by itself.
fn told(details: Option<&str>) -> Told<'_> {
    let mut told: Told<'_> =
        details.and_then(|details| serde_json::from_str(details).ok()).unwrap_or_default();
    told.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    told
}

impl<'a> Answer<'a> {
    fn success(about: About<'a>) -> Self {
        Self { success: true, config_key: about.config_key, id: about.id, ..Self::default() }
    }

    fn failure(code: &'a str, message: &'a str, about: About<'a>) -> Self {
        Self {
            error: Some(message),
            config_key: about.config_key,
            id: about.id,
            code: Some(code),
            retryable: Some(is_retryable(code)),
            ..Self::default()
        }
    }

    fn refused(refusal: Refusal, details: Option<&'a RawValue>, about: About<'a>) -> Self {
        Self { details, ..Self::failure(refusal.code, refusal.message, about) }
    }

    /// Only a rejection with a code was written for authors; any other error's text is internal (D-03).
    fn rejected(error: &'a Error, about: About<'a>, otherwise: Refusal) -> Self {
        let Some(code) = error.code() else {
            return Self::failure(otherwise.code, otherwise.message, about);
        };
        if code == "locked" {
            return Self { told: told(error.details()), ..Self::failure(code, LOCKED, about) };
        }
        let details = error.details().and_then(|details| serde_json::from_str(details).ok());
        Self { details, ..Self::failure(code, error.message(), about) }
    }
}

/// `2024-01-01T12:00:00.000000Z`, or as Python's naive `isoformat` has it.
pub(super) fn timestamp(us: i64, naive: bool) -> String {
    if naive { time::format_naive_us(us) } else { time::format_us(us) }
}

#[cfg(test)]
mod tests;

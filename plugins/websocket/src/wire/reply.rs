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
    let Refusal { code, message } = refusal;
    Message::Error { message, code, id, retryable: is_retryable(code), retry_after_ms }.write()
}

/// The answer to a `config_change` that did not enter the pipeline.
pub(crate) fn refused(refusal: Refusal, about: About<'_>) -> Utf8Bytes {
    Message::ConfigChangeResponse(Answer::failure(refusal.code, refusal.message, about)).write()
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
    Message::ConfigLockResponse(Answer::failure(refusal.code, refusal.message, about)).write()
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
mod tests {
    use super::*;

    const NOON: i64 = 1_704_110_400_000_000;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn the_guides_messages_have_exactly_its_fields() {
        assert_eq!(pong().as_str(), r#"{"type":"pong"}"#);
        let mut welcome = Welcome { connection_id: "ws_0a1b2c3d", server_id: "node-1", log: None };
        assert_eq!(
            connection_established(welcome, NOON, false).as_str(),
            r#"{"type":"connection_established","connection_id":"ws_0a1b2c3d","timestamp":"2024-01-01T12:00:00.000000Z","server_id":"node-1"}"#
        );
        let position = LogPosition { epoch: "e".to_owned(), head: 7, compacted: 0 };
        welcome.log = Some((&position, false));
        assert!(
            connection_established(welcome, NOON, false)
                .ends_with(r#""server_id":"node-1","epoch":"e","revision":7,"resumed":false}"#)
        );
        let about = About { id: None, config_key: Some("k") };
        assert_eq!(
            outcome(&OutcomeResult::Written, about).as_str(),
            r#"{"type":"config_change_response","success":true,"config_key":"k"}"#
        );
        assert_eq!(
            error(super::super::NOT_JSON, None, None).as_str(),
            r#"{"type":"error","message":"The message is not a JSON object","code":"bad_message","retryable":false}"#
        );
    }

    #[test]
    fn a_locked_key_is_answered_with_the_guides_text() {
        let id = raw("7");
        let about = About { id: Some(&id), config_key: Some("k") };
        let locked = OutcomeResult::Rejected(Error::rejected("locked", "held by session 5"));
        assert_eq!(
            outcome(&locked, about).as_str(),
            r#"{"type":"config_change_response","success":false,"error":"Configuration is locked by another user","config_key":"k","id":7,"code":"locked","retryable":true}"#
        );
    }

    #[test]
    fn a_rejection_carries_its_details_and_an_internal_error_carries_nothing() {
        let about = About { id: None, config_key: Some("k") };
        let details = serde_json::json!([{"path": "/port", "reason": "is a string"}]);
        let rejected = Error::rejected("invalid_value", "The value breaks its schema").with_details(&details);
        assert_eq!(
            outcome(&OutcomeResult::Rejected(rejected), about).as_str(),
            r#"{"type":"config_change_response","success":false,"error":"The value breaks its schema","config_key":"k","code":"invalid_value","retryable":false,"details":[{"path":"/port","reason":"is a string"}]}"#
        );
        let internal = Error::fatal("/var/lib/secret: permission denied");
        for result in [OutcomeResult::Failed(internal.clone()), OutcomeResult::Rejected(internal)] {
            let text = outcome(&result, about);
            assert!(
                !text.contains("secret") && text.contains(r#""code":"unavailable","retryable":true"#),
                "{text}"
            );
        }
    }

    #[test]
    fn what_the_resolver_tells_is_added_to_the_answer_and_replaces_nothing() {
        let about = About { id: None, config_key: Some("k") };
        let details =
            Some(Json::parse(r#"{"resolution":{"resolved_value":1},"success":false}"#).expect("JSON"));
        assert_eq!(
            outcome(&OutcomeResult::Applied { revision: 9, details }, about).as_str(),
            r#"{"type":"config_change_response","success":true,"config_key":"k","revision":9,"resolution":{"resolved_value":1}}"#
        );
    }

    #[test]
    fn who_holds_a_lock_is_said_beside_the_refusal() {
        let about = About { id: None, config_key: Some("k") };
        let details = serde_json::json!({"locked_by": "eve", "expires_at": "later"});
        let locked = Error::rejected("locked", "held").with_details(&details);
        let expected = r#"_response","success":false,"error":"Configuration is locked by another user","config_key":"k","code":"locked","retryable":true,"expires_at":"later","locked_by":"eve"}"#;
        assert_eq!(lock_failed(&locked, about).as_str(), format!(r#"{{"type":"config_lock{expected}"#));
        assert_eq!(
            outcome(&OutcomeResult::Rejected(locked), about).as_str(),
            format!(r#"{{"type":"config_change{expected}"#)
        );
    }

    #[test]
    fn a_lease_is_answered_with_token_session_and_end() {
        let (id, expires_at) = (raw("7"), raw(r#""later""#));
        let about = About { id: Some(&id), config_key: Some("k") };
        let granted = Granted { token: 3, session: "s", depth: 1, expires_at: &expires_at };
        assert_eq!(
            lock_granted(granted, about).as_str(),
            r#"{"type":"config_lock_response","success":true,"config_key":"k","id":7,"token":3,"session":"s","depth":1,"expires_at":"later"}"#
        );
    }

    #[test]
    fn naive_timestamps_look_like_pythons() {
        assert_eq!(timestamp(NOON, true), "2024-01-01T12:00:00");
        assert_eq!(timestamp(NOON + 123_456, true), "2024-01-01T12:00:00.123456");
    }
}

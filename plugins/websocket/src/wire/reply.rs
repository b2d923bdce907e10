//! What the server says.

use super::{LOCKED, Refusal, UNAVAILABLE, is_retryable};
use lockstep_plugin_api::{prelude::*, time};
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The messages, field by field in the order they are written.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message<'a> {
    ConnectionEstablished {
        connection_id: &'a str,
        timestamp: String,
        server_id: &'a str,
    },
    Pong,
    Subscribed {
        id: &'a RawValue,
        patterns: &'a [String],
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
    ConfigSync {
        config_key: &'a str,
        new_value: &'a Json,
        old_value: Option<&'a Json>,
        event_type: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        source_node: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        event_id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
    },
}

/// The answer to a `config_change` or a `config_lock`.
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
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
}

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

/// The first message on every connection (WS-M1).
pub(crate) fn connection_established(
    connection_id: &str,
    server_id: &str,
    now_us: i64,
    naive: bool,
) -> Utf8Bytes {
    let timestamp = timestamp(now_us, naive);
    Message::ConnectionEstablished { connection_id, timestamp, server_id }.write()
}

/// The answer to a `ping` (WS-M7).
pub(crate) fn pong() -> Utf8Bytes {
    Message::Pong.write()
}

/// The answer to a `subscribe` that has an `id`.
pub(crate) fn subscribed(id: &RawValue, patterns: &[String]) -> Utf8Bytes {
    Message::Subscribed { id, patterns }.write()
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

/// The answer to a `config_lock` or `config_unlock`.
pub(crate) fn lock_refused(refusal: Refusal, about: About<'_>) -> Utf8Bytes {
    Message::ConfigLockResponse(Answer::failure(refusal.code, refusal.message, about)).write()
}

/// The answer to a `config_change` whose way through the pipeline is over (WS-M4, WS-M5).
pub(crate) fn outcome(result: &OutcomeResult, about: About<'_>) -> Utf8Bytes {
    let done = Answer { success: true, config_key: about.config_key, id: about.id, ..Answer::default() };
    let answer = match result {
        OutcomeResult::Written => done,
        OutcomeResult::Applied { revision, .. } => Answer { revision: Some(*revision), ..done },
        OutcomeResult::Rejected(error) => Answer::rejected(error, about),
        OutcomeResult::Failed(_) => Answer::failure(UNAVAILABLE.code, UNAVAILABLE.message, about),
    };
    Message::ConfigChangeResponse(answer).write()
}

impl<'a> Answer<'a> {
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
    fn rejected(error: &'a Error, about: About<'a>) -> Self {
        let Some(code) = error.code() else {
            return Self::failure(UNAVAILABLE.code, UNAVAILABLE.message, about);
        };
        let message = if code == "locked" { LOCKED } else { error.message() };
        let details = error.details().and_then(|details| serde_json::from_str(details).ok());
        Self { details, ..Self::failure(code, message, about) }
    }
}

/// A change as subscribers see it (WS-M9).
pub(crate) fn config_sync(change: &Change, naive: bool) -> Utf8Bytes {
    Message::ConfigSync {
        config_key: change.config_key(),
        new_value: change.new_value(),
        old_value: change.old_value(),
        event_type: change.event_type(),
        tenant_id: change.tenant_id(),
        timestamp: change.timestamp_us().map(|us| timestamp(us, naive)),
        user_id: change.user_id(),
        source_node: change.source_node(),
        event_id: change.event_id(),
        epoch: change.epoch(),
        revision: change.revision(),
    }
    .write()
}

/// `2024-01-01T12:00:00.000000Z`, or as Python's naive `isoformat` has it: no `Z`, no fraction of zero.
fn timestamp(us: i64, naive: bool) -> String {
    let mut text = time::format_us(us);
    if naive {
        text.truncate(text.trim_end_matches('Z').len());
        text.truncate(text.strip_suffix(".000000").map_or(text.len(), str::len));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_704_110_400_000_000;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).expect("JSON")
    }

    fn change() -> Change {
        Change::new("app.database.host", Json::parse(r#"{"a": 1}"#).expect("JSON"))
    }

    #[test]
    fn the_guides_messages_have_exactly_its_fields() {
        assert_eq!(pong().as_str(), r#"{"type":"pong"}"#);
        assert_eq!(
            connection_established("ws_0a1b2c3d", "node-1", NOON, false).as_str(),
            r#"{"type":"connection_established","connection_id":"ws_0a1b2c3d","timestamp":"2024-01-01T12:00:00.000000Z","server_id":"node-1"}"#
        );
        assert_eq!(
            config_sync(&change(), false).as_str(),
            r#"{"type":"config_sync","config_key":"app.database.host","new_value":{"a": 1},"old_value":null,"event_type":"config_updated"}"#
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
    fn what_a_change_knows_is_added_to_config_sync() {
        let mut change = change();
        change.set_event_type("config_deleted");
        change.set_new_value(Json::null());
        change.set_old_value(Some(Json::parse("[1]").expect("JSON")));
        change.set_tenant_id(Some("t1".into()));
        change.set_user_id(Some("eve".into()));
        change.set_source_node(Some("node-1".into()));
        change.set_event_id(Some("0190".into()));
        change.set_timestamp_us(Some(NOON));
        assert_eq!(
            config_sync(&change, false).as_str(),
            r#"{"type":"config_sync","config_key":"app.database.host","new_value":null,"old_value":[1],"event_type":"config_deleted","tenant_id":"t1","timestamp":"2024-01-01T12:00:00.000000Z","user_id":"eve","source_node":"node-1","event_id":"0190"}"#
        );
    }

    #[test]
    fn naive_timestamps_look_like_pythons() {
        assert_eq!(timestamp(NOON, true), "2024-01-01T12:00:00");
        assert_eq!(timestamp(NOON + 123_456, true), "2024-01-01T12:00:00.123456");
    }
}

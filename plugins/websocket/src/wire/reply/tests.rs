//! The text of every answer.

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
    let details = Some(Json::parse(r#"{"resolution":{"resolved_value":1},"success":false}"#).expect("JSON"));
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

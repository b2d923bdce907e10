use super::*;
use serde_json::{Value, json};

const SECRET: &str = "hunter2hunter2hunter2hunter2";

fn config(config: Value) -> WebhookConfig {
    serde_json::from_value(config.clone()).unwrap_or_else(|error| panic!("{config}: {error}"))
}

/// The configuration with this beside an address.
fn with(more: Value) -> Value {
    let mut config = json!({ "url": "https://hooks.example/hunter2" });
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    config
}

fn refusal(json: Value) -> (String, String) {
    let error = config(json.clone()).settings().expect_err(&json.to_string());
    assert_eq!(error.kind(), ErrorKind::CONFIG, "{json}");
    assert!(!error.message().contains("hunter2"), "{error}");
    (error.detail().to_owned(), error.message().to_owned())
}

fn warnings(json: Value) -> Vec<String> {
    let mut advice = Advice::default();
    config(json).advise(&mut advice);
    advice.warnings().iter().map(|warning| format!("{}: {warning}", warning.detail())).collect()
}

#[test]
fn an_address_is_all_it_needs() {
    let settings = config(with(json!({}))).settings().expect("complete");
    assert!(settings.events.contain("conflict_detected") && settings.events.contain("conflict_resolved"));
    assert!(!settings.events.contain("config_updated"));
    assert!(matches!(settings.body, Body::Raw { values: true }) && settings.signer.is_none());
    assert_eq!((settings.timeout.as_secs(), settings.concurrency), (5, 1));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn pagerduty_has_an_address_of_its_own_and_leaves_values_out() {
    let settings =
        config(json!({ "template": "pagerduty", "routing_key": SECRET })).settings().expect("complete");
    assert_eq!(settings.receivers[0].shown(), "https://events.pagerduty.com");
    assert!(matches!(settings.body, Body::PagerDuty { values: false, .. }));
    let settings = config(with(json!({ "template": "slack" }))).settings().expect("complete");
    assert!(matches!(settings.body, Body::Slack { values: false }));
}

#[test]
fn what_cannot_work_is_refused_at_its_field() {
    for (json, at, says) in [
        (json!({}), "url", "missing"),
        (json!({ "url": "hooks.example/hunter2" }), "url", "no URL"),
        (json!({ "url": "ftp://hooks.example/hunter2" }), "url", "neither"),
        (with(json!({ "urls": ["https://b.example"] })), "urls", "write one"),
        (json!({ "urls": ["https://a.example", "hunter2"] }), "urls.1", "no URL"),
        (json!({ "urls": ["https://a.example", "https://a.example/"] }), "urls.1", "twice"),
        (
            json!({ "urls": (0..17).map(|i| format!("https://{i}.example")).collect::<Vec<_>>() }),
            "urls",
            "16",
        ),
        (with(json!({ "on": [] })), "on", "no event type"),
        (with(json!({ "on": ["conflict_*", "["] })), "on.1", "not a glob"),
        (with(json!({ "template": "slack", "body": "{}" })), "body", "write one"),
        (with(json!({ "body": "{{colour}}" })), "body", "no field `colour`"),
        (with(json!({ "body": "key {{config_key}}" })), "body", "not JSON"),
        (with(json!({ "body": "{{new_value}}", "values": false })), "body", "{{new_value}}"),
        (with(json!({ "routing_key": SECRET })), "routing_key", "pagerduty"),
        (with(json!({ "severity": "info" })), "severity", "pagerduty"),
        (json!({ "template": "pagerduty" }), "routing_key", "needs"),
        (json!({ "template": "pagerduty", "routing_key": " " }), "routing_key", "empty"),
        (json!({ "template": "pagerduty", "routing_key": SECRET, "on": ["*"] }), "on.0", "conflicts alone"),
        (with(json!({ "headers": { "a b": "x" } })), "headers.a b", "no name"),
        (with(json!({ "headers": { "Webhook-Id": "x" } })), "headers.Webhook-Id", "itself"),
        (with(json!({ "headers": { "host": "x" } })), "headers.host", "itself"),
        (with(json!({ "headers": { "Authorization": "hunter2\n" } })), "headers.Authorization", "line break"),
        (with(json!({ "secret": "hunter2" })), "secret", "at least 24 bytes"),
        (with(json!({ "secret": "whsec_!hunter2" })), "secret", "base64"),
        (with(json!({ "previous_secret": SECRET })), "previous_secret", "`secret`"),
        (with(json!({ "secret": SECRET, "previous_secret": "x" })), "previous_secret", "24"),
        (with(json!({ "timeout": "11s" })), "timeout", "10s"),
        (with(json!({ "timeout": "1ms" })), "timeout", "100ms"),
        (with(json!({ "concurrency": 0 })), "concurrency", "32"),
        (with(json!({ "retry_for": "10ms" })), "retry_for", "1s"),
        (json!({ "url": "http://127.0.0.1/", "ssl_context": {} }), "ssl_context", "https://"),
        (with(json!({ "ssl_context": { "certfile": "a" } })), "ssl_context.keyfile", "key"),
    ] {
        let (field, message) = refusal(json.clone());
        assert_eq!(field, at, "{json}: {message}");
        assert!(message.contains(says), "{json}: {message}");
    }
}

#[test]
fn unknown_fields_are_refused() {
    serde_json::from_value::<WebhookConfig>(with(json!({ "ulr": "x" })))
        .map(drop)
        .expect_err("a misspelt field");
    serde_json::from_value::<WebhookConfig>(with(json!({ "template": "teams" })))
        .map(drop)
        .expect_err("no template");
}

#[test]
fn what_works_and_may_surprise_is_said() {
    assert_eq!(warnings(with(json!({}))), [""; 0]);
    assert_eq!(warnings(json!({ "url": "http://127.0.0.1:1/" })), [""; 0]);
    let said = warnings(
        json!({ "urls": ["https://a.example", "http://b.example:81/hunter2"], "on": ["*", "conflict"] }),
    );
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("urls.1: http://b.example:81 is spoken to without TLS"), "{said:?}");
    assert!(said[1].starts_with("on.1: ") && said[1].contains("conflict_detected"), "{said:?}");
    assert!(!said.concat().contains("hunter2"));
}

//! What was done to sealed values on their way is refused at its end, clearly, and kept as it came.

use super::*;
use lockstep_test_support::{LIMIT, append, lines};
use serde_json::json;

/// Lines through `encrypt` of one pipeline, and lines through `decrypt` of another.
fn site() -> Site {
    let site = Site::new()
        .pipeline(
            "seals",
            "
sources: [ { plugin: file, config: { path: SITE/plain.ndjson } } ]
transforms: [ { plugin: encrypt, config: { keys: ['app.*'], ring: [ { file: ../keys/ring } ] } } ]
sinks: [ { plugin: file, config: { path: SITE/sealed.ndjson } } ]
",
        )
        .pipeline(
            "opens",
            "
sources: [ { plugin: file, config: { path: SITE/received.ndjson } } ]
transforms: [ { plugin: decrypt, config: { ring: [ { file: ../keys/ring } ] } } ]
sinks: [ { plugin: file, config: { path: SITE/opened.ndjson } } ]
",
        );
    set_ring(&site, &[("k1", 1)]);
    site
}

/// The same with one field of the envelope changed.
fn with(sealed: &Value, change: impl Fn(&mut Value)) -> Value {
    let mut other = sealed.clone();
    change(&mut other);
    other
}

fn flipped(text: &Value) -> Value {
    let mut bytes = text.as_str().expect("text").to_owned().into_bytes();
    bytes[10] = if bytes[10] == b'A' { b'B' } else { b'A' };
    json!(String::from_utf8(bytes).expect("text"))
}

#[test]
fn each_is_refused_with_what_is_wrong_and_dead_lettered_as_it_came() {
    let site = site();
    let mut host = site.started();
    let change = json!({ "config_key": "app.pin", "tenant_id": "t1", "event_type": "config_updated", "new_value": "canary-4711" });
    append(&site.path("plain.ndjson"), [change.to_string()]);
    host.wait_until("the sealed line", LIMIT, |_| lines(&site.path("sealed.ndjson")).len() == 1);
    let sealed: Value = serde_json::from_str(&lines(&site.path("sealed.ndjson"))[0]).expect("JSON");

    let cases = [
        (
            with(&sealed, |it| it["new_value"]["$enc"]["ct"] = flipped(&it["new_value"]["$enc"]["ct"])),
            "the sealed value does not open",
        ),
        (with(&sealed, |it| it["tenant_id"] = json!("t2")), "the sealed value does not open"),
        (with(&sealed, |it| it["config_key"] = json!("app.pin2")), "the sealed value does not open"),
        (
            with(&sealed, |it| it["new_value"]["$enc"]["kid"] = json!("k9")),
            "the value was sealed under an unknown key",
        ),
        (
            with(&sealed, |it| drop(it["new_value"]["$enc"].as_object_mut().expect("an object").remove("n"))),
            "the sealed value is damaged",
        ),
    ];
    append(&site.path("received.ndjson"), cases.iter().map(|(line, _)| line.to_string()));
    append(&site.path("received.ndjson"), [sealed.to_string()]);
    host.wait_until("the good line", LIMIT, |_| lines(&site.path("opened.ndjson")).len() == 1);
    let opened: Value = serde_json::from_str(&lines(&site.path("opened.ndjson"))[0]).expect("JSON");
    assert_eq!(opened, change);
    host.wait_until("dead letters", LIMIT, |_| {
        let listed = site.run(["dlq", "list", "--json"]).expect_code(0).json();
        listed["dead_letters"].as_array().is_some_and(|list| list.len() == cases.len())
    });
    for (n, (line, message)) in (1..).zip(&cases) {
        let letter = site.run(["dlq", "show", &n.to_string(), "--json"]).expect_code(0).json();
        assert_eq!(
            (&letter["error"]["code"], &letter["error"]["message"]),
            (&json!("invalid_value"), &json!(message))
        );
        assert_eq!(letter["error"]["details"][0]["path"], "/new_value");
        assert_eq!(letter["record"]["value"]["text"], line.to_string(), "with the sealed bytes");
    }
    // With the key that was missing, the record can be delivered after all.
    set_ring(&site, &[("k9", 9), ("k1", 1)]);
    host.stop();
    let received = lines(&site.path("received.ndjson")).len();
    assert_eq!(received, cases.len() + 1);
    assert!(!site.run(["dlq", "list", "--json"]).stdout.contains("canary-4711"));
}

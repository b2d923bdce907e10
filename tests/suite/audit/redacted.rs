//! Resolutions are kept with the resolved value, unless that is sealed or its key is listed.

use super::{done, entries, site};
use lockstep_test_support::Site;
use serde_json::{Value, json};

/// Two changes of a key from one base.
fn conflict(site: &Site, key: &str, values: [&str; 2]) {
    let base = done(site, &format!("set {key} 0 --json")).json()["revision"].clone();
    for value in values {
        done(site, &format!("set {key} {value} --base-revision {base}"));
    }
}

#[test]
fn a_resolution_is_told_with_the_guides_fields_and_its_value_unless_that_is_not_to_be_shown() {
    let (site, _) = site();
    let site = site.env("LOCKSTEP_AUDIT__REDACT", "[\"secrets.*\"]");
    let host = site.started();
    conflict(&site, "app.x", ["1", "2"]);
    conflict(&site, "secrets.pin", ["\"canary-1\"", "\"canary-2\""]);
    let sealed = |text: &str| {
        format!(r#"{{"$enc":{{"v":1,"alg":"A256GCM","kid":"k","dk":"QQ==","n":"QQ==","ct":"{text}"}}}}"#)
    };
    conflict(&site, "app.sealed", [&sealed("Y2FuYXJ5LTM="), &sealed("Y2FuYXJ5LTQ=")]);
    let resolved = entries(&site, "conflict_resolved");
    let values: Vec<_> =
        resolved.iter().map(|entry| (&entry["config_key"], &entry["resolved_value"])).collect();
    let (listed, hidden) = (json!({ "$redacted": "listed" }), json!({ "$redacted": "sealed" }));
    let expected =
        [(json!("app.x"), json!(2)), (json!("secrets.pin"), listed), (json!("app.sealed"), hidden)];
    assert_eq!(values, expected.iter().map(|(key, value)| (key, value)).collect::<Vec<_>>());
    for entry in &resolved {
        assert_eq!(
            (&entry["event_type"], &entry["resolution_strategy"]),
            (&json!("conflict_resolved"), &json!("last_write_wins"))
        );
        assert_eq!(
            (&entry["competing_changes_count"], &entry["resolution_method"]),
            (&json!(2), &json!("last_write_wins"))
        );
        assert!(entry["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{entry}");
        assert!(entry["winning_change"].is_string() && entry["conflict_id"].is_string(), "{entry}");
    }
    let changes = entries(&site, "config_*");
    let told = |entry: &&Value| entry.get("value_sha256").is_some() || entry.get("value_bytes").is_some();
    let listed: Vec<_> = changes.iter().filter(|entry| entry["config_key"] == "secrets.pin").collect();
    assert_eq!((listed.len(), listed.into_iter().filter(told).count()), (3, 0), "nor size, nor hash");
    assert_eq!(changes.iter().filter(told).count(), 6);
    let exported = done(&site, "audit export").stdout;
    for canary in ["canary", "Y2FuYXJ5"] {
        assert!(!exported.contains(canary), "`{canary}` in {exported}");
    }
    host.stop();
}

#[test]
fn without_changes_only_what_operators_make_has_an_entry() {
    let (site, port) = site();
    let site = site.env("LOCKSTEP_AUDIT__CHANGES", "false");
    let host = site.started();
    let mut client = lockstep_test_support::WsClient::connect(port);
    assert_eq!(client.change("app.ws", &json!(7))["success"], true);
    done(&site, "set app.x 1");
    let changes = entries(&site, "config_*");
    assert_eq!((changes.len(), &changes[0]["config_key"]), (1, &json!("app.x")));
    host.stop();
}

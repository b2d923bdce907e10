//! What of an entry is shown whose key is listed, or that holds sealed values.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::redact::Redaction;

fn apply(listed: &[&str], entry: Value) -> Value {
    let listed: Vec<_> = listed.iter().map(|glob| (*glob).to_owned()).collect();
    serde_json::from_str(&Redaction::new(&listed).apply(entry.to_string())).expect("JSON")
}

fn resolution(key: &str, value: Value) -> Value {
    json!({
        "event_type": "conflict_resolved", "config_key": key, "resolution_strategy": "merge_strategies",
        "competing_changes_count": 2, "resolution_method": "numeric_average", "resolved_value": value,
        "original_values": [1, 2], "min_value": 1, "max_value": 2, "discarded_changes": ["a"],
        "conflicts": [{ "path": "", "kind": "edit_edit", "base": 7, "values": [1, 2] }],
        "timestamp": "2026-01-01T00:00:00.000000Z",
    })
}

#[test]
fn what_is_neither_sealed_nor_listed_stays_to_the_letter() {
    let entry = r#"{"config_key":"app.x","resolved_value":1.10,"resolution_method":"last_write_wins"}"#;
    let redaction = Redaction::new(&["secrets.*".to_owned()]);
    assert_eq!(redaction.apply(entry.to_owned()), entry);
}

#[test]
fn a_listed_keys_entry_keeps_everything_but_values() {
    let shown = apply(&["secrets.*"], resolution("secrets.pin", json!(1.5)));
    let listed = json!({ "$redacted": "listed" });
    for field in ["resolved_value", "original_values", "min_value", "max_value"] {
        assert_eq!(shown[field], listed, "{field}");
    }
    let conflict = json!({ "path": "", "kind": "edit_edit", "base": listed, "values": listed });
    assert_eq!(shown["conflicts"], json!([conflict]));
    for field in ["event_type", "config_key", "resolution_method", "timestamp", "discarded_changes"] {
        assert_eq!(shown[field], resolution("secrets.pin", json!(1))[field], "{field}");
    }
    let odd = apply(&["*"], json!({ "config_key": "k", "reason": { "hidden": 1 }, "mine": "x", "no": null }));
    assert_eq!(odd, json!({ "config_key": "k", "reason": listed, "mine": listed, "no": null }));
    assert_eq!(apply(&["*"], json!({ "mine": 1 })), json!({ "mine": 1 }), "about no key");
}

#[test]
fn a_name_that_was_made_of_a_listed_keys_message_is_hidden_wherever_it_stands() {
    let derived = lockstep_plugin_api::wire::derived_event_id(&[b"hunter2"]).as_str().to_owned();
    let given = Uuid::now_v7().to_string();
    let entry = json!({
        "config_key": "secrets.pin", "winning_change": derived, "shown_change": given,
        "discarded_changes": [derived, given], "conflict_id": derived,
    });
    let listed = json!({ "$redacted": "listed" });
    let shown = apply(&["secrets.*"], entry.clone());
    assert_eq!(
        shown,
        json!({
            "config_key": "secrets.pin", "winning_change": listed, "shown_change": given,
            "discarded_changes": [listed, given], "conflict_id": derived,
        })
    );
    assert_eq!(apply(&["other.*"], entry.clone()), entry);
}

#[test]
fn a_sealed_value_is_hidden_wherever_it_is() {
    let sealed = json!({ "$enc": { "v": 1, "ct": "c2VjcmV0" } });
    let shown = apply(&[], resolution("app.x", sealed.clone()));
    assert_eq!(shown["resolved_value"], json!({ "$redacted": "sealed" }));
    assert_eq!(shown["original_values"], json!([1, 2]));
    let nested = apply(&[], json!({ "conflicts": [{ "values": [sealed, 1] }], "x": { "$enc": 1 } }));
    let hidden = json!([{ "values": [{ "$redacted": "sealed" }, 1] }]);
    assert_eq!(nested, json!({ "conflicts": hidden, "x": { "$enc": 1 } }));
    let spelled = r#"{"resolved_value":{"\u0024enc":{"ct":"c2VjcmV0"}}}"#.to_owned();
    assert!(!Redaction::new(&[]).apply(spelled).contains("c2VjcmV0"));
}

/// What the guide's call writes down: changes in the place of their names, and the id of a conflict.
#[test]
fn of_the_guides_call_about_a_listed_key_the_names_stay_and_the_changes_go() {
    let change = |value: &str| json!({ "new_value": value, "old_value": "canary", "timestamp": "2026-01-01T00:00:00Z" });
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"of names").to_string();
    let entry = json!({
        "event_type": "conflict_resolved", "config_key": "secrets.pin", "resolution_strategy": "manual_resolution",
        "competing_changes_count": 2, "resolved_value": null, "resolution_method": "manual_resolution_pending",
        "shown_change": change("canary"), "discarded_changes": [change("canary")], "conflict_id": id,
        "requires_human_intervention": true, "base_revision": null,
        "conflicts": [{ "path": "", "kind": "edit_edit", "values": ["canary", "canary"] }],
        "timestamp": "2026-01-01T00:00:00.000000Z",
    });
    let listed = json!({ "$redacted": "listed" });
    let mut expected = entry.clone();
    for field in ["shown_change", "discarded_changes"] {
        expected[field] = listed.clone();
    }
    expected["conflicts"][0]["values"] = listed;
    assert_eq!(apply(&["secrets.*"], entry), expected);
}

#[test]
fn what_is_not_hidden_stays_to_the_letter_however_odd_its_neighbours_are() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let names = r#""event_type":"conflict_resolved","config_key":"secrets.pin","user_id":"\u0061nn""#;
    for value in ["1e400", "1.10", "123456789012345678901234567890", &deep] {
        let entry = format!(r#"{{{names},"resolved_value":{value},"revision":1.10}}"#);
        assert_eq!(Redaction::new(&[]).apply(entry.clone()), entry, "unlisted");
        let shown = Redaction::new(&["secrets.*".to_owned()]).apply(entry);
        assert_eq!(
            shown,
            format!(r#"{{{names},"resolved_value":{{"$redacted":"listed"}},"revision":1.10}}"#)
        );
        let beside = format!(r#"{{{names},"a":{{"$enc":{{"ct":"canary"}}}},"b":[{value},{{"$enc":1}}]}}"#);
        let shown = Redaction::new(&[]).apply(beside);
        let expected = format!(r#"{{{names},"a":{{"$redacted":"sealed"}},"b":[{value},{{"$enc":1}}]}}"#);
        assert_eq!(shown, expected);
    }
    let inside =
        format!(r#"{{"a":{0}{{"$enc":{{"ct":"canary"}}}}{1}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let shown = Redaction::new(&["secrets.*".to_owned()]).apply(inside);
    assert!(shown.contains("sealed") && !shown.contains("canary"));
}

#[test]
fn no_spelling_of_an_entry_lets_a_value_through() {
    let redaction = Redaction::new(&["secrets.*".to_owned()]);
    for entry in [
        r#"{"config_\u006bey":"secrets.pin","resolved_value":"canary"}"#,
        r#"{"config_key":"app.x","config_key":"secrets.pin","resolved_value":"canary"}"#,
        r#"{"config_key":"secrets.pin","conflicts":[{"conflicts":[{"reason":"canary"}]}]}"#,
        r#"{"config_key":"secrets.pin","conflicts":[["canary"],"canary",{"base":"canary"}]}"#,
        r#"{"config_key":"secrets.pin","conflicts":"canary","reason":["a",["canary"]],"by":{"a":"canary"}}"#,
        r#"{"config_key":"secrets.pin","resolved_v\u0061lue":"canary","conflict_id":{"a":"canary"}}"#,
        r#"{"a": { "\u0024e\u006ec" : {"ct":"canary"} } }"#,
        r#"{"a":{"$enc":1,"$enc":{"ct":"canary"}}}"#,
        r#"{"a":{"$enc":{"$enc":{"ct":"canary"},"b":1}}}"#,
        r#"{"$enc":{"ct":"canary"}}"#,
        r#"["secrets.pin","canary"]"#,
    ] {
        let shown = redaction.apply(entry.to_owned());
        assert!(!shown.contains("canary"), "{shown}");
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&shown).is_ok(), "{shown}");
    }
    for entry in
        [r#"{"a":{"$enc":{},"b":1}}"#, r#"{"a":{"b":"{\"$enc\":{}}"}}"#, r#"{"b":["$enc",{"a":"$enc"}]}"#]
    {
        assert_eq!(redaction.apply(entry.to_owned()), entry);
    }
}

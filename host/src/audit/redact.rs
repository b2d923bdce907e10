//! Values that the audit does not show: sealed ones, and those of keys that `audit.redact` lists.
//!
//! Invariant: what comes out is JSON on one line, whatever went in, and of an entry about a listed key only fields that are
//! known to hold no value stay, nor a name that was made of one. A component that says more has to be read where it says it.

use std::borrow::Cow;

use lockstep_plugin_api::glob::Glob;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use uuid::Uuid;

/// Fields that name things, count them or say when and why. They stay while they hold no object.
const PLAIN: [&str; 38] = [
    "acquired_at",
    "admin_user_id",
    "applied_changes",
    "assigned_before",
    "assigned_to",
    "assignee",
    "base_revision",
    "by",
    "code",
    "competing_changes_count",
    "config_key",
    "conflict_id",
    "deduplicated_length",
    "discarded_changes",
    "event_id",
    "event_type",
    "expires_at",
    "kind",
    "merged_sources",
    "operations_applied",
    "original_length",
    "outcome",
    "path",
    "reason",
    "remote",
    "requires_human_intervention",
    "resolution_method",
    "resolution_strategy",
    "resolved_revision",
    "revision",
    "session",
    "shown_change",
    "source_node",
    "tenant_id",
    "timestamp",
    "token",
    "user_id",
    "winning_change",
];

/// Named after changes that have a place of their own, never after values.
const CONFLICT_ID: &str = "conflict_id";

/// Lists whose items are looked into by the same rule.
const LISTS: [&str; 1] = ["conflicts"];

/// What is left of a value.
const REDACTED: &str = "$redacted";

pub(super) struct Redaction {
    listed: Vec<Glob>,
}

/// As much of an entry as decides.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(borrow, default)]
    config_key: Option<Cow<'a, str>>,
}

impl Redaction {
    /// # Panics
    /// If one of them is not a glob.
    pub fn new(patterns: &[String]) -> Self {
        let glob = |pattern: &String| Glob::new(pattern).expect("the settings were checked");
        Self { listed: patterns.iter().map(glob).collect() }
    }

    /// Whether values of this key are not shown.
    pub fn lists(&self, config_key: &str) -> bool {
        self.listed.iter().any(|glob| glob.matches(config_key))
    }

    /// The entry without such values.
    pub fn apply(&self, entry: String) -> String {
        let unreadable = || json!({ REDACTED: "unreadable" }).to_string();
        let is_listed = !self.listed.is_empty() && self.is_about_listed(&entry);
        // The second is how JSON may spell any letter of it.
        let may_be_sealed = entry.contains("$enc") || entry.contains("\\u");
        if !is_listed && !may_be_sealed {
            let is_json = serde_json::from_str::<IgnoredAny>(&entry).is_ok();
            return if is_json { on_one_line(entry) } else { unreadable() };
        }
        let Ok(mut value) = serde_json::from_str(&entry) else { return unreadable() };
        hide_sealed(&mut value);
        if is_listed {
            hide_listed(&mut value);
        }
        value.to_string()
    }

    /// An entry that cannot be read is taken for one.
    fn is_about_listed(&self, entry: &str) -> bool {
        let about = serde_json::from_str::<About<'_>>(entry).map(|about| about.config_key);
        about.map_or(true, |key| key.is_some_and(|key| self.lists(&key)))
    }
}

/// Between the parts of JSON a line break is a space, and around it there is none; inside strings it is escaped.
fn on_one_line(entry: String) -> String {
    let trimmed = entry.trim();
    match trimmed.contains(['\n', '\r']) {
        true => trimmed.replace(['\n', '\r'], " "),
        false if trimmed.len() < entry.len() => trimmed.to_owned(),
        false => entry,
    }
}

/// A sealed value is an object whose only field is `$enc`, itself an object.
fn hide_sealed(value: &mut Value) {
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.get("$enc").is_some_and(Value::is_object) => {
            *value = json!({ REDACTED: "sealed" });
        }
        Value::Object(fields) => fields.values_mut().for_each(hide_sealed),
        Value::Array(items) => items.iter_mut().for_each(hide_sealed),
        _ => {}
    }
}

fn hide_listed(value: &mut Value) {
    let Value::Object(fields) = value else {
        *value = json!({ REDACTED: "listed" });
        return;
    };
    for (name, value) in fields {
        match value {
            Value::Array(items) if LISTS.contains(&name.as_str()) => items.iter_mut().for_each(hide_listed),
            _ if name == CONFLICT_ID && value.is_string() => {}
            value if PLAIN.contains(&name.as_str()) && is_plain(value) => hide_derived(value),
            Value::Null => {}
            value => *value = json!({ REDACTED: "listed" }),
        }
    }
}

/// A change whose author gave it no name is named after its message: who guesses the value could try it against that.
pub(super) fn is_derived(event_id: &str) -> bool {
    Uuid::parse_str(event_id).is_ok_and(|id| id.get_version_num() == 5)
}

fn hide_derived(value: &mut Value) {
    match value {
        Value::String(text) if is_derived(text) => *value = json!({ REDACTED: "listed" }),
        Value::Array(items) => items.iter_mut().for_each(hide_derived),
        _ => {}
    }
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(items) => items.iter().all(Value::is_string),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let odd =
            apply(&["*"], json!({ "config_key": "k", "reason": { "hidden": 1 }, "mine": "x", "no": null }));
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
}

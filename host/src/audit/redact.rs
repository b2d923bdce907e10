//! Values that the audit does not show: sealed ones, and those of keys that `audit.redact` lists.
//!
//! Invariant: what comes out is JSON on one line, whatever went in, and of an entry about a listed key only fields that are
//! known to hold no value stay, nor a name that was made of one. What stays is as it was written, to the letter. A component
//! that says more has to be read where it says it.

use std::borrow::Cow;
use std::fmt;

use lockstep_plugin_api::glob::Glob;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::sealed_parts::sealed_parts;

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

/// The list whose items are looked into by the same rule; there is none in them.
const CONFLICTS: &str = "conflicts";

/// What is left of a value, and of an entry that is no JSON.
const LISTED: &str = r#"{"$redacted":"listed"}"#;
const SEALED: &str = r#"{"$redacted":"sealed"}"#;
const UNREADABLE: &str = r#"{"$redacted":"unreadable"}"#;

pub(super) struct Redaction {
    listed: Vec<Glob>,
}

/// As much of an entry as decides.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(borrow, default)]
    config_key: Option<Cow<'a, str>>,
}

/// An object's fields in their order, also those that come twice.
struct Fields<'a>(Vec<(Text<'a>, &'a RawValue)>);

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

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
        if serde_json::from_str::<IgnoredAny>(&entry).is_err() {
            return UNREADABLE.to_owned();
        }
        let is_listed = !self.listed.is_empty() && self.is_about_listed(&entry);
        let mut shown = without_sealed(on_one_line(entry));
        if is_listed {
            shown = without_listed(&shown, true);
        }
        shown
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

fn without_sealed(entry: String) -> String {
    // The second is how JSON may spell any letter of the first.
    if !entry.contains("$enc") && !entry.contains("\\u") {
        return entry;
    }
    let mut shown = String::new();
    let mut at = 0;
    for part in sealed_parts(&entry) {
        shown += &entry[at..part.start];
        shown += SEALED;
        at = part.end;
    }
    shown + &entry[at..]
}

/// An object without the values of fields that may hold what is not to be shown; what is no object is not shown.
fn without_listed(entry: &str, may_have_conflicts: bool) -> String {
    let Ok(Fields(fields)) = serde_json::from_str(entry) else { return LISTED.to_owned() };
    let fields = fields.iter().map(|(name, value)| {
        let value = match name.0.as_ref() {
            CONFLICTS if may_have_conflicts => conflicts(value.get()),
            name => shown(name, value.get()),
        };
        format!("{}:{value}", serde_json::to_string(&name.0).expect("text is JSON"))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn conflicts(value: &str) -> Cow<'_, str> {
    let Some(items) = items(value) else { return shown(CONFLICTS, value) };
    let shown = items.iter().map(|item| without_listed(item.get(), false));
    format!("[{}]", shown.collect::<Vec<_>>().join(",")).into()
}

/// What is shown of a field's value.
fn shown<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    let is_kept = value == "null" || name == CONFLICT_ID && value.starts_with('"');
    match PLAIN.contains(&name) && is_plain(value) {
        _ if is_kept => value.into(),
        true => without_derived(value),
        false => LISTED.into(),
    }
}

/// A change whose author gave it no name is named after its message: who guesses the value could try it against that.
pub(super) fn is_derived(event_id: &str) -> bool {
    Uuid::parse_str(event_id).is_ok_and(|id| id.get_version_num() == 5)
}

/// A plain value without such names.
fn without_derived(value: &str) -> Cow<'_, str> {
    if let Some(items) = items(value) {
        let shown = items.iter().map(|item| without_derived(item.get()));
        return format!("[{}]", shown.collect::<Vec<_>>().join(",")).into();
    }
    let text = value.starts_with('"').then(|| serde_json::from_str::<Text<'_>>(value));
    match text {
        Some(Ok(text)) if !is_derived(&text.0) => value.into(),
        Some(_) => LISTED.into(),
        None => value.into(),
    }
}

/// No object, and no list of anything but strings.
fn is_plain(value: &str) -> bool {
    match items(value) {
        Some(items) => items.iter().all(|item| item.get().starts_with('"')),
        None => !value.starts_with('{'),
    }
}

/// Those of a list.
fn items(value: &str) -> Option<Vec<&RawValue>> {
    value.starts_with('[').then(|| serde_json::from_str(value).ok())?
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

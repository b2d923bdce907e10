//! What a message says about an event beside its values.
//!
//! Invariant: nothing here is a value of the configuration, so a message of facts alone tells nobody one.

use crate::events::{CONFLICT_DETECTED, CONFLICT_RESOLVED};
use lockstep_plugin_api::{prelude::*, time};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Of an item of a list in the metadata, such as a place in conflict or a competing change, only this is told.
const ITEM_FACTS: [&str; 7] = ["path", "kind", "event_id", "user_id", "timestamp", "source_node", "hlc"];

/// How many places in conflict people are told.
const MOST_PLACES: usize = 10;

/// The facts of one event.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) change: &'a Change,
    /// The event's id, as in `webhook-id`.
    pub(crate) id: &'a str,
    metadata: Told<'a>,
}

/// What is told of the metadata, by name: everything but what may hold a value. Numbers stay as they are written.
pub(crate) type Told<'a> = BTreeMap<String, Fact<'a>>;

/// What is told of one field of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Fact<'a> {
    Text(String),
    List(Vec<Item<'a>>),
    /// A number, true, false or null.
    Plain(&'a RawValue),
}

/// What is told of an item of a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Item<'a> {
    /// Of an object, by name.
    Facts(BTreeMap<String, String>),
    Plain(&'a RawValue),
}

impl<'a> Facts<'a> {
    pub(crate) fn new(change: &'a Change, id: &'a str) -> Self {
        let fields = change.metadata().and_then(|metadata| fields(metadata.as_str())).unwrap_or_default();
        let told = |(name, json): (String, &'a RawValue)| Fact::of(&name, json).map(|fact| (name, fact));
        Self { change, id, metadata: fields.into_iter().filter_map(told).collect() }
    }

    /// A text of the metadata; empty is none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.metadata.get(name) {
            Some(Fact::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn plain(&self, name: &str) -> Option<&str> {
        match self.metadata.get(name) {
            Some(Fact::Plain(json)) => Some(json.get()),
            _ => None,
        }
    }

    fn items(&self, name: &str) -> &[Item<'a>] {
        match self.metadata.get(name) {
            Some(Fact::List(items)) => items,
            _ => &[],
        }
    }

    fn length(&self, name: &str) -> Option<usize> {
        Some(self.items(name).len()).filter(|n| *n > 0)
    }

    /// How many changes stood, or stand, against each other. Of a conflict that is resolved, `siblings` are those that
    /// stand now.
    fn n_competing(&self) -> Option<usize> {
        let is_over = self.change.event_type() == CONFLICT_RESOLVED;
        let others =
            if is_over { self.length("discarded_changes") } else { self.plain("siblings")?.parse().ok() };
        self.length("competing_changes").or(others)
    }

    fn is(&self, name: &str) -> bool {
        self.plain(name) == Some("true")
    }

    /// The conflict that the event is about.
    pub(crate) fn conflict_id(&self) -> Option<&str> {
        self.text("conflict_id")
    }

    /// The conflict that this one goes on from, if the event is the first that tells of it.
    pub(crate) fn supersedes(&self) -> Option<&str> {
        let is_first = self.change.event_type() == CONFLICT_DETECTED && self.text("open_since").is_none();
        self.text("supersedes").filter(|_| is_first)
    }

    /// Whether it is about a conflict, whose competing changes are what it is about.
    pub(crate) fn is_about_conflict(&self) -> bool {
        self.change.event_type().starts_with("conflict_")
    }

    /// Whether the conflict waits for somebody's decision.
    pub(crate) fn needs_decision(&self) -> bool {
        self.is("requires_human_intervention")
    }

    /// Whether it has waited for too long.
    pub(crate) fn is_escalated(&self) -> bool {
        self.is("escalated")
    }

    /// Whose key it is, as people write it.
    pub(crate) fn key_with_tenant(&self) -> String {
        match self.change.tenant_id() {
            Some(tenant) => format!("{} (tenant {tenant})", self.change.config_key()),
            None => self.change.config_key().to_owned(),
        }
    }

    /// What happened, in a few words.
    pub(crate) fn title(&self) -> String {
        let title = match self.change.event_type() {
            "conflict_detected" if self.is_escalated() => {
                "Configuration conflict has waited too long for a decision"
            }
            "conflict_detected" if self.needs_decision() => "Configuration conflict needs a decision",
            "conflict_detected" if self.text("open_since").is_some() => "Configuration conflict stays open",
            "conflict_detected" => "Configuration conflict",
            "conflict_assigned" if self.text("assigned_to").is_none() => {
                "Configuration conflict is nobody's any more"
            }
            "conflict_assigned" => "Configuration conflict assigned",
            "conflict_resolved" => "Configuration conflict resolved",
            "config_locked" => "Configuration key locked",
            "config_unlocked" => "Configuration key unlocked",
            "config_created" => "Configuration key created",
            "config_updated" => "Configuration key changed",
            "config_deleted" => "Configuration key removed",
            other => return format!("Configuration event {other}"),
        };
        title.to_owned()
    }

    /// When it happened, as people and programs write it.
    pub(crate) fn timestamp(&self) -> Option<String> {
        self.change.timestamp_us().map(time::format_us)
    }

    /// What people are told, name by name, most important first.
    pub(crate) fn named(&self) -> Vec<(&'static str, String)> {
        let change = self.change;
        let places = self.places();
        // A conflict waits for its decision without end: what expires is its record elsewhere.
        let until = self.text("expires_at").filter(|_| !self.is_about_conflict());
        let owned = |text: Option<&str>| text.map(str::to_owned);
        [
            ("Key", Some(change.config_key().to_owned())),
            ("Tenant", owned(change.tenant_id())),
            ("Conflict", owned(self.conflict_id())),
            ("Strategy", owned(self.text("resolution_method"))),
            ("Competing changes", self.n_competing().map(|n| n.to_string())),
            ("In conflict at", (!places.is_empty()).then(|| places.join(", "))),
            ("Open since", owned(self.text("open_since"))),
            ("Assigned to", owned(self.text("assigned_to"))),
            ("User", owned(change.user_id())),
            ("Reason", owned(self.text("reason"))),
            ("Until", owned(until)),
            ("Node", owned(change.source_node())),
            ("Revision", change.revision().map(|revision| revision.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
    }

    /// The places of the value that are in conflict, as JSON pointers.
    fn places(&self) -> Vec<&str> {
        let paths = self.items("conflicts").iter().filter_map(|conflict| match conflict {
            Item::Facts(facts) => facts.get("path").map(String::as_str),
            Item::Plain(_) => None,
        });
        paths.filter(|path| !path.is_empty()).take(MOST_PLACES).collect()
    }

    /// The metadata without what may hold a value.
    pub(crate) fn metadata(&self) -> &Told<'a> {
        &self.metadata
    }

    /// The whole metadata, as the event has it.
    pub(crate) fn whole_metadata(&self) -> Option<&'a Json> {
        self.change.metadata()
    }
}

/// The fields of an object; `None` if it is something else.
fn fields(json: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

fn text(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

impl<'a> Fact<'a> {
    /// What of a field of the metadata is no value.
    fn of(name: &str, json: &'a RawValue) -> Option<Self> {
        let is_value =
            name.ends_with("value") || name.ends_with("values") || matches!(name, "base" | "ops" | "changes");
        match json.get().as_bytes().first()? {
            _ if is_value => None,
            b'{' => None,
            b'"' => text(json).map(Self::Text),
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(json.get()).ok()?;
                Some(Self::List(items.into_iter().filter_map(Item::of).collect()))
            }
            _ => Some(Self::Plain(json)),
        }
    }
}

impl<'a> Item<'a> {
    fn of(json: &'a RawValue) -> Option<Self> {
        match json.get().as_bytes().first()? {
            b'{' => {
                let facts = fields(json.get())?.into_iter();
                let facts = facts.filter(|(name, _)| ITEM_FACTS.contains(&name.as_str()));
                Some(Self::Facts(facts.filter_map(|(name, json)| Some((name, text(json)?))).collect()))
            }
            b'[' => None,
            _ => Some(Self::Plain(json)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn facts_hold_no_value() {
        let metadata = json!({
            "conflict_id": "c", "siblings": 2, "winning_change": "e1", "discarded_changes": ["e2"],
            "conflicts": [{ "path": "/port", "kind": "edit_edit", "base": "hunter2", "values": ["hunter2", 1] }],
            "resolved_value": "hunter2", "original_values": ["hunter2"], "base": "hunter2", "anything": { "a": "hunter2" },
            "competing_changes": [{ "event_id": "e1", "new_value": "hunter2", "timestamp": { "a": "hunter2" } }],
            "changes": ["hunter2"], "nested": [["hunter2"]],
        });
        let mut change = Change::new("app.x", Json::write("hunter2").expect("JSON"));
        change.set_metadata(Some(Json::write(&metadata).expect("JSON")));
        let facts = Facts::new(&change, "id");
        let told = facts.metadata();
        assert_eq!(
            serde_json::to_value(told).expect("JSON"),
            json!({
                "conflict_id": "c", "siblings": 2, "winning_change": "e1", "discarded_changes": ["e2"],
                "conflicts": [{ "path": "/port", "kind": "edit_edit" }],
                "competing_changes": [{ "event_id": "e1" }], "nested": [],
            })
        );
        assert!(!format!("{:?}", facts.named()).contains("hunter2"));
        assert!(facts.named().contains(&("In conflict at", "/port".to_owned())));
    }

    #[test]
    fn a_conflict_has_as_many_changes_as_stood_against_each_other_and_no_end() {
        let named = |event_type: &str, metadata: Value| {
            let mut change = Change::new("app.x", Json::null());
            change.set_event_type(event_type);
            change.set_metadata(Some(Json::write(&metadata).expect("JSON")));
            let named = Facts::new(&change, "id").named();
            named.into_iter().map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>()
        };
        let three = json!([{ "event_id": "e1" }, { "event_id": "e2" }, { "event_id": "e3" }]);
        let decided = json!({ "siblings": 1, "competing_changes": three, "discarded_changes": ["e1", "e2", "e3"],
            "expires_at": "2026-02-07T12:00:00Z" });
        let resolved = named("conflict_resolved", decided.clone());
        assert_eq!(resolved, ["Key: app.x", "Competing changes: 3"]);
        let covered = named("conflict_resolved", json!({ "siblings": 1, "discarded_changes": ["e1", "e2"] }));
        assert!(covered.contains(&"Competing changes: 2".to_owned()), "{covered:?}");
        let detected = named(
            "conflict_detected",
            json!({ "siblings": 3, "discarded_changes": ["e1", "e2"],
            "expires_at": "2026-02-07T12:00:00Z" }),
        );
        assert_eq!(detected, ["Key: app.x", "Competing changes: 3"]);
        let locked = named("config_locked", json!({ "expires_at": "2026-02-07T12:00:00Z" }));
        assert_eq!(locked, ["Key: app.x", "Until: 2026-02-07T12:00:00Z"]);
        let bare = named("conflict_resolved", json!({ "siblings": 1 }));
        assert_eq!(bare, ["Key: app.x"], "nobody said how many there were");
    }

    #[test]
    fn a_number_that_is_none_to_this_program_hides_no_fact() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let metadata = format!(
            r#"{{"conflict_id":"c","siblings":2,"n":1.10,"conflicts":[{{"path":"/n","base":1e400,"values":[{deep}]}}]}}"#
        );
        let mut change = Change::new("app.x", Json::null());
        change.set_event_type("conflict_detected");
        change.set_metadata(Some(Json::parse(&metadata).expect("JSON")));
        let facts = Facts::new(&change, "id");
        assert_eq!(facts.conflict_id(), Some("c"));
        assert!(facts.named().contains(&("In conflict at", "/n".to_owned())));
        let told = serde_json::to_string(facts.metadata()).expect("JSON");
        assert_eq!(told, r#"{"conflict_id":"c","conflicts":[{"path":"/n"}],"n":1.10,"siblings":2}"#);
    }

    #[test]
    fn metadata_of_any_shape_is_taken() {
        for metadata in ["[]", "1", "null", r#"{"conflict_id":5,"conflicts":{"a":1},"escalated":"yes"}"#] {
            let mut change = Change::new("app.x", Json::null());
            change.set_event_type("conflict_detected");
            change.set_metadata(Some(Json::parse(metadata).expect("JSON")));
            let facts = Facts::new(&change, "id");
            assert_eq!((facts.conflict_id(), facts.is_escalated()), (None, false));
            assert_eq!(facts.title(), "Configuration conflict");
        }
    }
}

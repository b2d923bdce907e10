//! What subscribers are shown: changes as `config_sync` (WS-M9), notices as a message of their own type (WS-M10, WS-M11).

use super::reply::timestamp;
use crate::publication::{Entry, Publication, Subject};
use lockstep_plugin_api::prelude::*;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How a change is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By a direct pipeline: whatever revision it has is not this host's.
    Direct,
    /// A change of the log.
    Change,
    /// A notice of the log.
    Notice,
}

impl Form {
    /// The form of an entry of the log.
    pub(crate) fn of_entry(is_notice: bool) -> Self {
        if is_notice { Self::Notice } else { Self::Change }
    }

    /// The revision by which the change has a place among others.
    pub(crate) fn revision(self, change: &Change) -> Option<u64> {
        change.revision().filter(|_| self != Self::Direct)
    }
}

/// Makes the frame.
pub(crate) fn publication(change: &Change, form: Form, naive: bool) -> Publication {
    let event = change.event_id().and_then(|id| Uuid::parse_str(id).ok());
    if form == Form::Notice {
        let entry = change.revision().map(|revision| Entry { revision, subject: None });
        return Publication { text: notice(change, naive).into(), event: None, entry };
    }
    let (text, old_value) = config_sync(change, naive);
    let entry = form.revision(change).map(|revision| {
        let name = format!("{}\0{}", change.tenant_id().unwrap_or_default(), change.config_key()).into();
        Entry { revision, subject: Some(Subject { name, old_value }) }
    });
    Publication { text: text.into(), event, entry }
}

/// What stands behind the values, in the order it is written.
#[derive(Serialize)]
struct Rest<'a> {
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
}

/// The text, and where in it the old value is: a conflated message has another one there.
fn config_sync(change: &Change, naive: bool) -> (String, std::ops::Range<usize>) {
    let (new, old) = (change.new_value().as_str(), change.old_value().map_or("null", Json::as_str));
    let mut text = String::with_capacity(new.len() + old.len() + change.config_key().len() + 400);
    text.push_str(r#"{"type":"config_sync","config_key":"#);
    text.push_str(&json(change.config_key()));
    text.push_str(r#","new_value":"#);
    text.push_str(new);
    text.push_str(r#","old_value":"#);
    let start = text.len();
    text.push_str(old);
    let old_value = start..text.len();
    let rest = Rest {
        event_type: change.event_type(),
        tenant_id: change.tenant_id(),
        timestamp: change.timestamp_us().map(|us| timestamp(us, naive)),
        user_id: change.user_id(),
        source_node: change.source_node(),
        event_id: change.event_id(),
        epoch: change.epoch(),
        revision: change.revision(),
    };
    text.push(',');
    text.push_str(&json(&rest)[1..]);
    (text, old_value)
}

/// A notice: its kind is the message's type, and what it says beside the key is in its metadata.
#[derive(Serialize)]
struct Notice<'a> {
    r#type: &'a str,
    config_key: &'a str,
    /// The guide has it for locks even where there is none (GAP-3).
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    /// What the key shows, if the notice is about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_value: Option<&'a RawValue>,
    #[serde(flatten)]
    says: BTreeMap<String, &'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

/// What a notice says by itself, whatever its metadata has under these names.
const OWN_FIELDS: [&str; 9] = [
    "type",
    "config_key",
    "tenant_id",
    "user_id",
    "new_value",
    "timestamp",
    "source_node",
    "epoch",
    "revision",
];

fn notice(change: &Change, naive: bool) -> String {
    let mut says: BTreeMap<String, &RawValue> =
        change.metadata().and_then(|metadata| metadata.read().ok()).unwrap_or_default();
    says.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    json(&Notice {
        r#type: change.event_type(),
        config_key: change.config_key(),
        tenant_id: change.tenant_id(),
        user_id: change.user_id(),
        // `null` is read as absent.
        new_value: change.new_value().read().unwrap_or_default(),
        says,
        timestamp: change.timestamp_us().map(|us| timestamp(us, naive)),
        source_node: change.source_node(),
        epoch: change.epoch(),
        revision: change.revision(),
    })
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("every field is a scalar or valid JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::Conflated;

    const NOON: i64 = 1_704_110_400_000_000;

    fn change() -> Change {
        Change::new("app.database.host", Json::parse(r#"{"a": 1}"#).expect("JSON"))
    }

    #[test]
    fn config_sync_has_exactly_the_guides_fields() {
        assert_eq!(
            publication(&change(), Form::Direct, false).text.as_str(),
            r#"{"type":"config_sync","config_key":"app.database.host","new_value":{"a": 1},"old_value":null,"event_type":"config_updated"}"#
        );
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
        change.set_epoch(Some("e".into()));
        change.set_revision(Some(7));
        let publication = publication(&change, Form::Change, false);
        assert_eq!(
            publication.text.as_str(),
            r#"{"type":"config_sync","config_key":"app.database.host","new_value":null,"old_value":[1],"event_type":"config_deleted","tenant_id":"t1","timestamp":"2024-01-01T12:00:00.000000Z","user_id":"eve","source_node":"node-1","event_id":"0190","epoch":"e","revision":7}"#
        );
        let first = publication.as_first().expect("an entry");
        assert_eq!(first, Conflated { from_revision: 7, old_value: "[1]".into() });
    }

    #[test]
    fn a_conflated_change_says_what_it_stands_for() {
        let mut change = change();
        change.set_old_value(Some(Json::parse("5").expect("JSON")));
        change.set_revision(Some(9));
        let conflated = Conflated { from_revision: 3, old_value: r#"{"b":2}"#.into() };
        assert_eq!(
            publication(&change, Form::Change, false).frame(Some(&conflated)).as_str(),
            r#"{"type":"config_sync","config_key":"app.database.host","new_value":{"a": 1},"old_value":{"b":2},"event_type":"config_updated","revision":9,"from_revision":3}"#
        );
    }

    #[test]
    fn a_notice_is_a_message_of_its_own_type() {
        let mut change = Change::new("app.x", Json::null());
        change.set_event_type("config_locked");
        change.set_user_id(Some("eve".into()));
        change.set_metadata(Some(Json::parse(r#"{"expires_at":"later","type":"pong"}"#).expect("JSON")));
        change.set_revision(Some(4));
        let publication = publication(&change, Form::Notice, false);
        assert_eq!(
            publication.text.as_str(),
            r#"{"type":"config_locked","config_key":"app.x","tenant_id":null,"user_id":"eve","expires_at":"later","revision":4}"#
        );
        assert!(publication.subject().is_none() && publication.revision() == 4);

        change.set_event_type("conflict_detected");
        change.set_new_value(Json::parse("[1]").expect("JSON"));
        let text = super::publication(&change, Form::Notice, false).text;
        assert!(
            text.contains(r#""type":"conflict_detected""#) && text.contains(r#""new_value":[1]"#),
            "{text}"
        );
    }
}

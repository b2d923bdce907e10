//! A change as it is asked for over HTTP, and the change that it becomes.

use super::super::acts;
use super::super::answer::Refusal;
use super::super::log_view::check_names;
use lockstep_plugin_api::change::{CONFIG_DELETED, MAX_DEPTH, depth};
use lockstep_plugin_api::{Change, Json, Text, time};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The largest value, and the most that operations may take.
const MAX_VALUE: usize = 1 << 20;

/// The longest name of a user, a session or an attempt.
const MAX_NAME: usize = 256;

/// Who makes a change without saying so.
const ANONYMOUS: &str = "anonymous";

/// A change as it is asked for. A field with a name of no meaning is refused: one that was to protect the change, and is
/// spelled wrong, would protect nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Asked<'a> {
    pub(in crate::admin) config_key: String,
    /// `null` is a value.
    #[serde(borrow, default, deserialize_with = "present")]
    pub(in crate::admin) new_value: Option<&'a RawValue>,
    /// What its author did to the value; `new_value` may then be left out.
    #[serde(borrow, default)]
    pub(in crate::admin) ops: Option<&'a RawValue>,
    #[serde(default)]
    pub(in crate::admin) op: Option<Op>,
    #[serde(default)]
    pub(in crate::admin) tenant_id: Option<String>,
    #[serde(default)]
    pub(in crate::admin) user_id: Option<String>,
    #[serde(default)]
    pub(in crate::admin) base: Option<Base>,
    /// As `base`, in the log of this host.
    #[serde(default)]
    pub(in crate::admin) base_revision: Option<u64>,
    #[serde(default)]
    pub(in crate::admin) fence: Option<Fence>,
    /// The session that holds the lock of the key.
    #[serde(default)]
    pub(in crate::admin) session: Option<String>,
    #[serde(default)]
    pub(in crate::admin) idempotency_key: Option<String>,
    #[serde(borrow, default)]
    pub(in crate::admin) metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::admin) enum Op {
    Set,
    Delete,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Base {
    pub(in crate::admin) epoch: String,
    pub(in crate::admin) revision: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Fence {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    token: u64,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Asked<'_> {
    /// What the audit tells of it if it does not come to a change.
    pub(in crate::admin) fn describe(&self, event_type: &'static str, act: &acts::Asked) {
        act.is(event_type, &self.config_key);
        act.with("config_key", self.config_key.as_str());
        act.with("tenant_id", self.tenant_id.as_deref());
        act.with("user_id", self.user_id.as_deref());
    }

    pub(super) fn into_change(self, epoch: &str, node_id: &str) -> Result<Change, Refusal> {
        check_names(self.tenant_id.as_deref(), &self.config_key)?;
        for (field, name) in [
            ("user_id", &self.user_id),
            ("session", &self.session),
            ("idempotency_key", &self.idempotency_key),
        ] {
            if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME) {
                return Err(Refusal::bad_message(format!("`{field}` must have 1 to {MAX_NAME} bytes")));
            }
        }
        let (wish, base) = (self.wish()?, self.base(epoch)?);
        let mut change = Change::new(self.config_key, wish.value);
        if wish.is_deletion {
            change.set_event_type(CONFIG_DELETED);
        }
        change.set_ops(wish.ops);
        change.set_user_id(Some(Text::from(self.user_id.unwrap_or_else(|| ANONYMOUS.to_owned()))));
        change.set_tenant_id(self.tenant_id.map(Text::from));
        change.set_idempotency_key(self.idempotency_key.map(Text::from));
        change.set_timestamp_us(Some(time::now_us()));
        change.set_source_node(Some(node_id.into()));
        change.set_event_id(Some(Uuid::now_v7().to_string().into()));
        change.set_base(base);
        change.set_fence(self.fence.map(|fence| json_of(&fence)));
        change.set_metadata(self.metadata.map(json));
        Ok(change)
    }

    fn wish(&self) -> Result<Wish, Refusal> {
        if matches!(self.op, Some(Op::Delete)) {
            return match (self.new_value.filter(|value| value.get() != "null"), self.ops) {
                (None, None) => Ok(Wish { value: Json::null(), ops: None, is_deletion: true }),
                (Some(_), _) => Err(Refusal::bad_message("a deletion has no `new_value`")),
                (None, Some(_)) => Err(Refusal::bad_message("a deletion has no `ops`")),
            };
        }
        if self.new_value.or(self.ops).is_none() {
            return Err(Refusal::bad_message("say `new_value`, or `ops`, or `\"op\": \"delete\"`"));
        }
        if self.ops.is_some_and(|ops| !ops.get().starts_with(['[', '{'])) {
            return Err(Refusal::bad_message("`ops` must be a list, or one operation of the guide's"));
        }
        let value = self.new_value.map_or_else(|| Ok(Json::null()), |value| bounded("`new_value`", value))?;
        let ops = self.ops.map(|ops| bounded("`ops`", ops)).transpose()?;
        Ok(Wish { value, ops, is_deletion: false })
    }

    fn base(&self, epoch: &str) -> Result<Option<Json>, Refusal> {
        match (&self.base, self.base_revision) {
            (Some(_), Some(_)) => {
                Err(Refusal::bad_message("`base` and `base_revision` say the same: give one"))
            }
            (Some(base), None) => Ok(Some(json_of(base))),
            (None, Some(revision)) => Ok(Some(json_of(&Base { epoch: epoch.to_owned(), revision }))),
            (None, None) => Ok(None),
        }
    }
}

/// What a change is to make of the key.
struct Wish {
    value: Json,
    ops: Option<Json>,
    is_deletion: bool,
}

/// A field within the bounds of a value.
fn bounded(field: &str, value: &RawValue) -> Result<Json, Refusal> {
    if value.get().len() > MAX_VALUE {
        return Err(Refusal::of_code("too_large", format!("{field} must have at most {MAX_VALUE} bytes")));
    }
    if depth(value.get()) > MAX_DEPTH {
        let text = format!("{field} must be nested at most {MAX_DEPTH} levels deep");
        return Err(Refusal::bad_message(text));
    }
    Ok(json(value))
}

fn json(value: &RawValue) -> Json {
    Json::parse(value.get()).expect("it was read as JSON")
}

fn json_of(value: &impl Serialize) -> Json {
    Json::write(value).expect("names and numbers can be written")
}

#[cfg(test)]
mod tests {
    use super::super::without_value;
    use super::*;

    fn change(body: &str) -> Result<Change, Refusal> {
        let asked: Asked<'_> =
            serde_json::from_str(body).map_err(|error| Refusal::bad_message(without_value(&error)))?;
        asked.into_change("e1", "node-1")
    }

    fn refused(body: &str) -> String {
        change(body).expect_err(body).message().to_owned()
    }

    #[test]
    fn a_change_has_what_was_asked_and_what_the_host_knows() {
        let change = change(
            r#"{"config_key":"app.x","new_value":1.10,"tenant_id":"t1","user_id":"ann","base_revision":7,
                "fence":{"lock":"app","token":3},"idempotency_key":"k","metadata":{"why":"test"}}"#,
        )
        .expect("a change");
        assert_eq!((change.config_key(), change.new_value().as_str()), ("app.x", "1.10"));
        assert_eq!((change.tenant_id(), change.user_id()), (Some("t1"), Some("ann")));
        assert_eq!(change.base().map(Json::as_str), Some(r#"{"epoch":"e1","revision":7}"#));
        assert_eq!(change.fence().map(Json::as_str), Some(r#"{"lock":"app","token":3}"#));
        assert_eq!(change.source_node(), Some("node-1"));
        assert!(change.event_id().is_some() && change.timestamp_us().is_some() && !change.is_deletion());
    }

    #[test]
    fn null_is_a_value_and_a_deletion_is_asked_for() {
        let null = change(r#"{"config_key":"k","new_value":null}"#).expect("a change");
        assert!(!null.is_deletion() && null.user_id() == Some("anonymous"));
        assert!(change(r#"{"config_key":"k","op":"delete"}"#).expect("a change").is_deletion());
        assert!(refused(r#"{"config_key":"k"}"#).contains("new_value"));
        assert!(refused(r#"{"config_key":"k","op":"delete","new_value":1}"#).contains("deletion"));
    }

    #[test]
    fn operations_stand_in_the_place_of_a_value_or_beside_it_within_its_bounds() {
        for (fields, value) in [(r#""ops":[5,"x"]"#, "null"), (r#""new_value":"x","ops":[5,"x"]"#, r#""x""#)]
        {
            let change = change(&format!(r#"{{"config_key":"k",{fields}}}"#)).expect("a change");
            assert_eq!(
                (change.new_value().as_str(), change.ops().map(Json::as_str)),
                (value, Some(r#"[5,"x"]"#))
            );
        }
        for (fields, part) in [
            (r#""ops":null"#, "say"),
            (r#""ops":"x""#, "a list"),
            (r#""ops":[1],"op":"delete""#, "deletion"),
            (&format!(r#""ops":{}1{}"#, "[".repeat(129), "]".repeat(129)), "nested"),
            (&format!(r#""ops":["{}"]"#, "x".repeat(MAX_VALUE)), "bytes"),
        ] {
            let message = refused(&format!(r#"{{"config_key":"k",{fields}}}"#));
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_its_value() {
        for (body, part) in [
            (r#"{"config_key":"k","new_value":1,"fense":{"token":1}}"#, "fense"),
            (r#"{"new_value":1}"#, "config_key"),
            (r#"{"config_key":"a..b","new_value":1}"#, "empty segment"),
            (r#"{"config_key":"k","new_value":1,"tenant_id":"global"}"#, "reserved"),
            (
                r#"{"config_key":"k","new_value":1,"base_revision":1,"base":{"epoch":"e","revision":1}}"#,
                "give one",
            ),
            (r#"{"config_key":"k","new_value":1,"user_id":""}"#, "user_id"),
            (r#"{"config_key":"k","new_value":"hunter2","base_revision":"hunter2"}"#, "wrong type"),
            (r#"{"config_key":"k","new_value":hunter2}"#, "not valid JSON"),
        ] {
            let message = refused(body);
            assert!(message.contains(part) && !message.contains("hunter2"), "{message}");
        }
        let deep = format!(r#"{{"config_key":"k","new_value":{}1{}}}"#, "[".repeat(129), "]".repeat(129));
        assert!(!refused(&deep).is_empty());
    }
}

//! `POST /v1/changes`: a change enters the pipeline through the log, and the answer is what became of it.

use super::HostView;
use super::acts;
use super::answer::Refusal;
use super::log_view::check_names;
use crate::runtime::Became;
use axum::Json as Body;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use lockstep_plugin_api::change::{CONFIG_DELETED, depth};
use lockstep_plugin_api::record::SESSION_HEADER;
use lockstep_plugin_api::source::OutcomeResult;
use lockstep_plugin_api::{Change, Json, Record, Text, time};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The largest value.
const MAX_VALUE: usize = 1 << 20;

/// As deep as a value may be nested.
const MAX_DEPTH: usize = 128;

/// The longest name of a user, a session or an attempt.
const MAX_NAME: usize = 256;

/// What the host says itself: no transform does it in its place.
const OWN_FIELDS: [&str; 5] = ["success", "config_key", "revision", "epoch", "repeated"];

/// Who makes a change without saying so.
const ANONYMOUS: &str = "anonymous";

/// What a change is answered with that was not refused.
#[derive(Serialize)]
pub(super) struct Done {
    success: bool,
    config_key: String,
    /// None if a transform dropped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    /// It was committed before, and nothing was done now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) repeated: bool,
    /// What transforms told the author. Values stay as they were written.
    #[serde(flatten)]
    details: BTreeMap<String, Box<RawValue>>,
}

/// A change as it is asked for. A field with a name of no meaning is refused: one that was to protect the change, and is
/// spelled wrong, would protect nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked<'a> {
    pub(super) config_key: String,
    /// `null` is a value.
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) new_value: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) op: Option<Op>,
    #[serde(default)]
    pub(super) tenant_id: Option<String>,
    #[serde(default)]
    pub(super) user_id: Option<String>,
    #[serde(default)]
    pub(super) base: Option<Base>,
    /// As `base`, in the log of this host.
    #[serde(default)]
    pub(super) base_revision: Option<u64>,
    #[serde(default)]
    pub(super) fence: Option<Fence>,
    /// The session that holds the lock of the key.
    #[serde(default)]
    pub(super) session: Option<String>,
    #[serde(default)]
    pub(super) idempotency_key: Option<String>,
    #[serde(borrow, default)]
    pub(super) metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Op {
    Set,
    Delete,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Base {
    pub(super) epoch: String,
    pub(super) revision: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fence {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    token: u64,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

pub(super) async fn submit(
    State(host): State<Arc<HostView>>,
    Extension(act): Extension<acts::Asked>,
    body: Bytes,
) -> Result<Response, Refusal> {
    act.is("admin_change", "");
    let asked: Asked<'_> = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_message(format!("the body is no change: {}", without_value(&error))))?;
    asked.describe("admin_change", &act);
    Ok(match enter(&host, &act, asked).await {
        Ok(done) => Body(done).into_response(),
        Err(refused) => *refused,
    })
}

/// Lets a change enter the pipeline through the log; gives what became of it, or the answer that it was refused with.
pub(super) async fn enter(
    host: &HostView,
    act: &acts::Asked,
    asked: Asked<'_>,
) -> Result<Done, Box<Response>> {
    let refused = |refusal: Refusal| Box::new(refusal.into_response());
    let pipeline = host.log_pipeline().map_err(refused)?;
    let epoch = host.log.log.epoch();
    let config_key = asked.config_key.clone();
    let session = asked.session.clone();
    let mut record = Record::from_change(asked.into_change(epoch, &host.node_id).map_err(refused)?);
    if let Some(session) = session {
        record.set_header(SESSION_HEADER, session.as_bytes());
    }
    let (tell, told) = oneshot::channel();
    pipeline.submit(record, act.operator(), Box::new(|became| drop(tell.send(became))));
    let ended = |_| refused(Refusal::unavailable("the pipeline ended before it answered"));
    let became = told.await.map_err(ended)?;
    match became {
        // The commit was another request's; this one gets an entry of its own.
        Became { result: OutcomeResult::Applied { revision, .. }, is_repeat: true } => {
            act.with("repeat_of", revision);
        }
        // Its entry is in its commit, and says who made it.
        Became { result: OutcomeResult::Applied { .. }, is_repeat: false } => act.is_told(),
        _ => {}
    }
    answer(&config_key, epoch, became)
}

/// serde quotes what it did not expect; the author knows its value, and whoever reads over his shoulder should not.
pub(super) fn without_value(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let is_about_names = text.starts_with("unknown field") || text.starts_with("missing field");
    let place = format!("line {}, column {}", error.line(), error.column());
    if is_about_names { text } else { format!("not valid JSON, or a field has the wrong type, at {place}") }
}

fn answer(config_key: &str, epoch: &str, became: Became) -> Result<Done, Box<Response>> {
    match became.result {
        OutcomeResult::Applied { revision, details } => {
            let mut done = Done::new(config_key);
            (done.revision, done.epoch) = (Some(revision), Some(epoch.to_owned()));
            done.repeated = became.is_repeat;
            done.details = details.and_then(|details| details.read().ok()).unwrap_or_default();
            Ok(done.without_details(&OWN_FIELDS))
        }
        // A transform dropped it: its author has nothing to mend, and there is no revision.
        OutcomeResult::Written => Ok(Done::new(config_key)),
        OutcomeResult::Rejected(error) | OutcomeResult::Failed(error) => {
            let about = [("success", json!(false)), ("config_key", json!(config_key))];
            let about = about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Err(Box::new(Refusal::from(&error).with_body(about)))
        }
    }
}

impl Done {
    /// Takes away what a transform says under names that mean something else in an answer.
    pub(super) fn without_details(mut self, names: &[&str]) -> Self {
        self.details.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    /// Without a revision.
    pub(super) fn new(config_key: &str) -> Self {
        let (config_key, details) = (config_key.to_owned(), BTreeMap::new());
        Self { success: true, config_key, revision: None, epoch: None, repeated: false, details }
    }
}

impl Asked<'_> {
    /// What the audit tells of it if it does not come to a change.
    pub(super) fn describe(&self, event_type: &'static str, act: &acts::Asked) {
        act.is(event_type, &self.config_key);
        act.with("config_key", self.config_key.as_str());
        act.with("tenant_id", self.tenant_id.as_deref());
        act.with("user_id", self.user_id.as_deref());
    }

    fn into_change(self, epoch: &str, node_id: &str) -> Result<Change, Refusal> {
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
        let (value, is_deletion) = self.value()?;
        let base = self.base(epoch)?;
        let mut change = Change::new(self.config_key, value);
        if is_deletion {
            change.set_event_type(CONFIG_DELETED);
        }
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

    /// The value, and whether the key is to have none.
    fn value(&self) -> Result<(Json, bool), Refusal> {
        match (&self.op, self.new_value) {
            (Some(Op::Delete), None) => Ok((Json::null(), true)),
            (Some(Op::Delete), Some(value)) if value.get() == "null" => Ok((Json::null(), true)),
            (Some(Op::Delete), Some(_)) => Err(Refusal::bad_message("a deletion has no `new_value`")),
            (_, None) => Err(Refusal::bad_message("say `new_value`, or `\"op\": \"delete\"`")),
            (_, Some(value)) if value.get().len() > MAX_VALUE => {
                Err(Refusal::of_code("too_large", format!("the value is larger than {MAX_VALUE} bytes")))
            }
            (_, Some(value)) if depth(value.get()) > MAX_DEPTH => {
                Err(Refusal::bad_message(format!("the value is nested more than {MAX_DEPTH} levels deep")))
            }
            (_, Some(value)) => Ok((json(value), false)),
        }
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

fn json(value: &RawValue) -> Json {
    Json::parse(value.get()).expect("it was read as JSON")
}

fn json_of(value: &impl Serialize) -> Json {
    Json::write(value).expect("names and numbers can be written")
}

#[cfg(test)]
mod tests {
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

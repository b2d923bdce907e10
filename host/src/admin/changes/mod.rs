//! `POST /v1/changes`: a change enters the pipeline through the log, and the answer is what became of it.

mod asked;

pub(super) use asked::{Asked, Base, Fence, Op};

use super::HostView;
use super::acts;
use super::answer::Refusal;
use crate::runtime::Became;
use axum::Json as Body;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use lockstep_plugin_api::Record;
use lockstep_plugin_api::record::SESSION_HEADER;
use lockstep_plugin_api::source::OutcomeResult;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the host says itself: no transform does it in its place.
const OWN_FIELDS: [&str; 5] = ["success", "config_key", "revision", "epoch", "repeated"];

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

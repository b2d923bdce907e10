//! `/v1/dead-letters`: records that could not be delivered, looked at, tried again and dropped.

use super::HostView;
use super::access::Caller;
use super::acts::Asked;
use super::answer::{Refusal, apart};
use crate::audit::{Act, Audit, Operator, Outcome};
use crate::runtime::{DeadLetters, Entry};
use crate::store::{Commit, StoreError};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::num::NonZeroUsize;
use std::sync::Arc;
use tracing::info;

/// How many are listed unless asked otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// How many are read at once: each holds its record.
const READ: usize = 50;

/// How many are looked through for one page; a caller that wants more goes on after it.
const MAX_READ: usize = 5000;

/// What the audit calls it that one is dropped.
const DROP: &str = "admin_dead_letter_drop";

/// Which dead letters are listed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only this pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Only those with a greater number.
    #[serde(default)]
    pub after: u64,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<NonZeroUsize>,
}

/// Some dead letters, without their records.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    pub dead_letters: Vec<Value>,
    /// Where to go on; none at the end.
    pub next: Option<u64>,
}

/// The dead letters that a filter lets pass.
pub fn page(letters: &DeadLetters, filter: &Filter) -> Result<Page, StoreError> {
    let limit = filter.limit.map_or(LIMIT, NonZeroUsize::get).min(MAX_LIMIT);
    let mut page = Page { dead_letters: Vec::new(), next: None };
    let mut after = filter.after;
    for _ in 0..MAX_READ / READ {
        let read = letters.list(after, READ)?;
        for entry in &read {
            if page.dead_letters.len() == limit {
                page.next = Some(after);
                return Ok(page);
            }
            after = entry.number();
            if filter.pipeline.as_ref().is_none_or(|pipeline| *pipeline == entry.letter.pipeline) {
                page.dead_letters.push(summary(entry));
            }
        }
        if read.len() < READ {
            return Ok(page);
        }
    }
    page.next = Some(after);
    Ok(page)
}

/// What is known of a dead letter without looking into its record.
fn summary(entry: &Entry) -> Value {
    let letter = &entry.letter;
    json!({
        "id": entry.number(),
        "pipeline": letter.pipeline,
        "component": letter.component,
        "kind": letter.kind,
        "source": letter.source,
        "key": letter.record.key.as_ref().map(shown_key),
        "attempts": letter.attempts,
        "error": { "kind": letter.error.kind, "code": letter.error.code, "message": letter.error.message },
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
    })
}

/// Everything about a dead letter.
pub fn detail(entry: &Entry) -> Value {
    let mut shown = json!({ "id": entry.number() });
    if let (Some(fields), Value::Object(more)) = (shown.as_object_mut(), json!(entry.letter)) {
        fields.extend(more);
    }
    shown
}

/// A key that is text is shown as it is.
fn shown_key(key: &crate::runtime::Blob) -> Value {
    match key {
        crate::runtime::Blob::Text(text) => json!(text),
        other => json!(other),
    }
}

pub(super) async fn list(
    State(host): State<Arc<HostView>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Page>, Refusal> {
    let Query(filter) = filter.map_err(|rejection| Refusal::bad_message(rejection.body_text()))?;
    apart(move || Ok(Json(page(&host.dead_letters, &filter)?))).await
}

/// Only here is a record shown, so only to who may change things.
pub(super) async fn show(
    State(host): State<Arc<HostView>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    if !caller.is_trusted {
        return Err(Refusal::unauthenticated(
            "a record is shown over the socket, or with `Authorization: Bearer TOKEN`",
        ));
    }
    apart(move || Ok(Json(detail(&host.dead_letter(&id)?)))).await
}

/// Answered when the record is on its way: it is delivered when it is no dead letter any more.
pub(super) async fn retry(
    State(host): State<Arc<HostView>>,
    Extension(act): Extension<Asked>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    act.is("admin_dead_letter_retry", &id);
    apart(move || {
        let entry = host.dead_letter(&id)?;
        describe(&act, &entry);
        let (pipeline, component) = (&entry.letter.pipeline, &entry.letter.component);
        let running = host
            .pipeline(pipeline)
            .ok_or_else(|| Refusal::not_found(format!("no pipeline `{pipeline}` runs here any more")))?;
        running.retry(&entry).map_err(Refusal::unavailable)?;
        info!(id = entry.number(), pipeline, component, "dead letter tried again");
        Ok((StatusCode::ACCEPTED, Json(json!({ "id": entry.number(), "attempts": entry.letter.attempts }))))
    })
    .await
}

pub(super) async fn drop(
    State(host): State<Arc<HostView>>,
    Extension(act): Extension<Asked>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    act.is(DROP, &id);
    apart(move || {
        let entry = host.dead_letter(&id)?;
        describe(&act, &entry);
        if !act.within(|commit| host.dead_letters.drop_letter(&entry.key, commit))? {
            return Err(Refusal::unavailable("it is being tried again just now"));
        }
        let (pipeline, component) = (&entry.letter.pipeline, &entry.letter.component);
        info!(id = entry.number(), pipeline, component, "dead letter dropped");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// What the audit tells of a dead letter: not its record.
fn describe(act: &Asked, entry: &Entry) {
    about(entry).into_iter().for_each(|(name, value)| act.with(&name, value));
}

fn about(entry: &Entry) -> Map<String, Value> {
    let letter = &entry.letter;
    let names = [
        ("pipeline", Some(letter.pipeline.as_str().into())),
        ("component", Some(letter.component.as_str().into())),
        ("key", letter.record.key.as_ref().map(shown_key)),
    ];
    names.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Drops a dead letter without a host, and writes that into the audit of the same store; false if it is being tried again.
///
/// # Errors
/// If the store refuses.
pub fn drop_dead_letter(letters: &DeadLetters, audit: &Audit, entry: &Entry) -> Result<bool, StoreError> {
    let Operator { by, remote } = &Operator::here();
    let (details, target) = (&about(entry), &entry.number().to_string());
    let (outcome, code) = (Outcome::Done, None);
    let mut commit = Commit::default();
    audit.add_act(&mut commit, &Act { event_type: DROP, target, by, remote, details, outcome, code });
    letters.drop_letter(&entry.key, commit)
}

impl HostView {
    fn dead_letter(&self, id: &str) -> Result<Entry, Refusal> {
        let number = id.parse().map_err(|_| Refusal::bad_message(format!("`{id}` is not a number")))?;
        let entry = self.dead_letters.get(number)?;
        entry.ok_or_else(|| Refusal::not_found(format!("there is no dead letter {number}")))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::unavailable(error.to_string())
    }
}

//! `/v1/operations`: what components offer to be called by name. The host knows none of the names.

use super::HostView;
use super::acts::Asked;
use super::answer::Refusal;
use crate::runtime::OperationInfo;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Arguments that say what a call is about and on whose behalf: the audit shows these, and of the others their names.
const SHOWN: [&str; 4] = ["config_key", "tenant_id", "user_id", "admin_user_id"];

/// Arguments by name. What they are is the component's, which gets them as they were written.
type Arguments<'a> = BTreeMap<String, &'a RawValue>;

pub(super) async fn list(State(host): State<Arc<HostView>>) -> Json<Vec<OperationInfo>> {
    Json(host.log.pipeline.as_ref().map(|pipeline| pipeline.operations()).unwrap_or_default())
}

/// Without a body, there are no arguments.
pub(super) async fn call(
    State(host): State<Arc<HostView>>,
    Extension(act): Extension<Asked>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    act.is("admin_operation", &name);
    let arguments = if body.is_empty() { "{}" } else { std::str::from_utf8(&body).unwrap_or_default() };
    let named: Arguments<'_> = serde_json::from_str(arguments)
        .map_err(|_| Refusal::bad_message("the arguments must be a JSON object"))?;
    describe(&act, &named);
    let pipeline = host.log_pipeline()?;
    let (tell, told) = oneshot::channel();
    if pipeline.call(&name, arguments, Box::new(|answer| drop(tell.send(answer)))) {
        act.only_reads();
    }
    let answer = told.await.map_err(|_| Refusal::unavailable("the component is gone"))?;
    let answer = answer.map_err(|error| Refusal::from(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], answer).into_response())
}

/// Names only, but for those that say what it is about.
fn describe(act: &Asked, arguments: &Arguments<'_>) {
    for name in SHOWN {
        let text = arguments.get(name).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
        act.with(name, text);
    }
    act.with("arguments", arguments.keys().cloned().collect::<Vec<_>>());
}

//! What the server answers when it does not do what was asked: a status, and JSON with a stable code.

use crate::history::TooLarge;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lockstep_plugin_api::{Error, ErrorKind, Json as Written};
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// When to come back, where nobody knows better.
const COME_BACK: Duration = Duration::from_secs(1);

/// The code of a refusal, beside its response.
#[derive(Debug, Clone)]
pub(super) struct Code(pub Cow<'static, str>);

/// A request that is not served.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
    /// What varies, for programs. Values in it stay as they were written.
    details: Option<Written>,
    retry_after: Option<Duration>,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Body<'a> {
    /// What else is to be said about the request.
    #[serde(flatten)]
    about: Map<String, Value>,
    error: Problem<'a>,
}

/// What went wrong.
#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Written>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), details: None, retry_after: None }
    }

    /// With one of the codes of the contract, or a plugin's own.
    pub fn of_code(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let code = code.into();
        let status = status_of(&code);
        Self { code, ..Self::new(status, "", message) }
    }

    pub fn bad_message(message: impl Into<String>) -> Self {
        Self::of_code("bad_message", message)
    }

    pub fn bad_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "bad_message", "this path does not take this method")
    }

    pub fn too_large(limit: usize) -> Self {
        Self::of_code("too_large", format!("the body is larger than {limit} bytes"))
    }

    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::of_code("unauthenticated", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::of_code("forbidden", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::of_code("not_found", message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::of_code("unavailable", message)
    }

    /// With what varies, for programs.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Written::write(&details).ok();
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body: what went wrong, beside what else is to be said about the request.
    pub fn with_body(self, about: Map<String, Value>) -> Response {
        let Self { code, message, details, .. } = &self;
        let error = Problem { code, message, retryable: is_retryable(code), details: details.as_ref() };
        let mut response = (self.status, Json(Body { about, error })).into_response();
        response.extensions_mut().insert(Code(self.code));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            // In whole seconds, and never too early.
            let seconds = self.retry_after.unwrap_or(COME_BACK).as_millis().div_ceil(1000).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds as u64));
        }
        response
    }
}

/// The contract's table. A code it does not know is a plugin's, about a change that is well-formed.
fn status_of(code: &str) -> StatusCode {
    match code {
        "bad_message" | "bad_pattern" | "bad_key" | "bad_tenant" => StatusCode::BAD_REQUEST,
        "unauthenticated" => StatusCode::UNAUTHORIZED,
        "forbidden" | "read_only" => StatusCode::FORBIDDEN,
        "not_found" | "no_changes" => StatusCode::NOT_FOUND,
        "locked" | "stale_fence" | "conflict" | "base_required" | "unknown_base" => StatusCode::CONFLICT,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Whether the same request may succeed later.
fn is_retryable(code: &str) -> bool {
    matches!(code, "unavailable" | "rate_limited" | "locked")
}

/// What a component said about a change or a call. Whoever asks here operates the host, so an error without a code is
/// shown with its text.
impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let mut refusal = match (error.kind(), error.code()) {
            (ErrorKind::REJECTED, Some(code)) => Self::of_code(code.to_owned(), error.message()),
            (ErrorKind::REJECTED, None) => Self::of_code("rejected", error.message()),
            (ErrorKind::UNSUPPORTED, _) => Self::not_found(error.message()),
            _ => Self::unavailable(error.message()),
        };
        refusal.details = error.details().and_then(|details| Written::parse(details).ok());
        refusal.retry_after = Some(error.retry_after()).filter(|after| !after.is_zero());
        refusal
    }
}

impl From<TooLarge> for Refusal {
    fn from(error: TooLarge) -> Self {
        Self::of_code("too_large", error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.with_body(Map::new())
    }
}

/// Does what may wait away from the server's one thread.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Refusal::unavailable("the request failed inside the host; see its log")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(error: &Error) -> u16 {
        Refusal::from(error).status.as_u16()
    }

    #[test]
    fn every_code_of_the_contract_has_its_status() {
        for (code, expected) in [
            ("bad_message", 400),
            ("bad_pattern", 400),
            ("bad_key", 400),
            ("bad_tenant", 400),
            ("unauthenticated", 401),
            ("forbidden", 403),
            ("read_only", 403),
            ("not_found", 404),
            ("no_changes", 404),
            ("locked", 409),
            ("stale_fence", 409),
            ("conflict", 409),
            ("base_required", 409),
            ("unknown_base", 409),
            ("too_large", 413),
            ("invalid_value", 422),
            ("a_plugins_own", 422),
            ("rate_limited", 429),
            ("unavailable", 503),
        ] {
            assert_eq!(status(&Error::rejected(code, "no")), expected, "{code}");
        }
    }

    #[test]
    fn an_error_that_is_no_rejection_may_be_tried_again() {
        let response = Refusal::from(&Error::retry(Duration::from_millis(1500), "busy")).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(status(&Error::fatal("gone")), 503);
        assert_eq!(status(&Error::unsupported("no such operation")), 404);
    }

    #[test]
    fn details_are_given_on() {
        let details = json!([{ "path": "/port", "reason": "is a string" }]);
        let refusal = Refusal::from(&Error::rejected("invalid_value", "no").with_details(&details));
        assert_eq!(refusal.details, Written::write(&details).ok());
    }
}

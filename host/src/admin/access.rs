//! Who may do what.
//!
//! The socket belongs to the host's user and allows everything. Over TCP on loopback, reading is open and changing takes
//! the token; beyond loopback everything but the two probes takes it. What a browser can be made to send from another
//! site is refused: a `Host` that is not ours, an `Origin` that is not the `Host`.

use super::answer::Refusal;
use super::listen::Arrival;
use super::token::Token;
use crate::audit::Operator;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// How long one request may take. A test has as long as its machine needs.
const MAX_TIME: Duration = Duration::from_secs(if cfg!(test) { 600 } else { 10 });

/// How long an operation may take: one may wait for a lock.
const MAX_OPERATION_TIME: Duration = Duration::from_secs(120);

/// The largest body a request may have.
pub(super) const MAX_BODY: usize = 64 << 10;

/// The same where it carries a value: the largest one, and what stands around it.
pub(super) const MAX_VALUE_BODY: usize = (1 << 20) + MAX_BODY;

/// Asked by load balancers and orchestrators, which have no token. They show nothing that is worth one.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The way a request came in.
#[derive(Clone)]
pub(super) enum Door {
    Socket,
    Tcp {
        is_loopback: bool,
        /// None if it could not be kept on disk: changes come through the socket only then.
        token: Option<Token>,
    },
}

/// What the sender of a request may see.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// States and counts.
    pub may_read: bool,
    /// The data in records too.
    pub is_trusted: bool,
    /// Who that is, for the audit.
    pub operator: Operator,
}

/// Lets a request pass if its sender may do that.
pub(super) async fn guard(
    State(door): State<Arc<Door>>,
    ConnectInfo(arrival): ConnectInfo<Arrival>,
    mut request: Request,
    next: Next,
) -> Response {
    match door.caller(&request, arrival.operator) {
        Ok(caller) => {
            let _busy = arrival.busy.hold();
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            let (method, path) = (request.method(), request.uri().path());
            warn!(%method, path, reason = refusal.message(), "admin request refused");
            refusal.into_response()
        }
    }
}

/// Answers in time, whether or not it is done.
pub(super) async fn within_time(request: Request, next: Next) -> Response {
    let Limits { time, .. } = Limits::of(request.uri().path());
    let answer = tokio::time::timeout(time, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        Refusal::unavailable(format!("not done within {time:?}; it may still happen")).into_response()
    })
}

/// What one request may take of the host.
struct Limits {
    body: usize,
    time: Duration,
}

impl Limits {
    fn of(path: &str) -> Self {
        match path {
            "/v1/changes" => Self { body: MAX_VALUE_BODY, time: MAX_TIME },
            path if path.starts_with("/v1/operations/") => {
                Self { body: MAX_VALUE_BODY, time: MAX_OPERATION_TIME }
            }
            _ => Self { body: MAX_BODY, time: MAX_TIME },
        }
    }
}

impl Door {
    fn caller(&self, request: &Request, operator: Operator) -> Result<Caller, Refusal> {
        let headers = request.headers();
        let limit = Limits::of(request.uri().path()).body;
        if text(headers, header::CONTENT_LENGTH)
            .is_some_and(|length| length.parse().is_ok_and(|n: usize| n > limit))
        {
            return Err(Refusal::too_large(limit));
        }
        let Self::Tcp { is_loopback, token } = self else {
            return Ok(Caller { may_read: true, is_trusted: true, operator });
        };
        let has_token =
            given_token(headers).is_some_and(|given| token.as_ref().is_some_and(|token| token.is(given)));
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_probe = PROBES.contains(&request.uri().path());
        if !is_probe {
            check_origin(headers, *is_loopback)?;
        }
        let is_open = is_probe || (is_read && *is_loopback);
        if !has_token && !is_open {
            return Err(Refusal::unauthenticated(
                "this takes `Authorization: Bearer TOKEN` with the token in `admin.token` of the data folder",
            ));
        }
        Ok(Caller { may_read: *is_loopback || has_token, is_trusted: has_token, operator })
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn given_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A page of another site can send requests here, by name (its own name, pointed at us) or across origins; neither gets
/// anywhere. Beyond loopback the names we are known by are not ours to know, and there nothing is open without a token.
fn check_origin(headers: &HeaderMap, is_loopback: bool) -> Result<(), Refusal> {
    let host = text(headers, header::HOST).unwrap_or_default();
    if is_loopback && !is_loopback_name(host) {
        return Err(Refusal::forbidden("the `Host` header must be a loopback address or `localhost`"));
    }
    match headers.get(header::ORIGIN) {
        Some(origin)
            if origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host) =>
        {
            Err(Refusal::forbidden("requests from other sites are refused: the `Origin` is not this server"))
        }
        _ => Ok(()),
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_goes_by_these_names_only() {
        for host in ["127.0.0.1:8780", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8780", "127.8.8.8:1"] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in [
            "",
            "evil.example:8780",
            "localhost.evil.example",
            "192.168.1.1:8780",
            "[fe80::1]:1",
            "127.0.0.1.evil",
        ] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }
}

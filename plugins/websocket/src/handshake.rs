//! From a byte stream to a WebSocket: who asks, for which tenant, and whether there is room.

use crate::{
    origin,
    server::{Connection, Server},
};
use lockstep_plugin_api::names::tenant_problem;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Error,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, StatusCode, Uri, header},
        protocol::{Role, WebSocketConfig},
    },
};
use tracing::warn;

/// How long a client may take to ask.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);

/// What a change's fields other than its value may take in a frame.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// Allocated for every connection, so small: a longer message makes its own room.
const BUFFER_BYTES: usize = 4 * 1024;

/// What plain HTTP is answered.
const UPGRADE_REQUIRED: &[u8] =
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
    Content-Type: text/plain\r\nContent-Length: 29\r\n\r\nthis is a WebSocket endpoint\n";

/// Makes the connection, or answers why not.
pub(crate) async fn accept<S>(server: &Arc<Server>, mut stream: S) -> Option<(WebSocketStream<S>, Connection)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut admitted = None;
    let admit = |request: &Request, response| admit(server, request, response, &mut admitted);
    // The stream is lent: if this is no handshake, it is still here for an answer.
    let result = timeout(WITHIN, accept_hdr_async(&mut stream, admit)).await;
    match (result, admitted) {
        (Ok(Ok(_borrowing)), Some(connection)) => {
            let config = frame_limits(server.settings.max_value_bytes);
            Some((WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await, connection))
        }
        (Ok(Err(Error::Protocol(_))), _) => {
            let _ = timeout(WITHIN, stream.write_all(UPGRADE_REQUIRED)).await;
            let _ = timeout(WITHIN, stream.shutdown()).await;
            None
        }
        _ => None,
    }
}

fn frame_limits(max_value_bytes: usize) -> WebSocketConfig {
    let limit = max_value_bytes + ENVELOPE_BYTES;
    WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
}

fn admit(
    server: &Arc<Server>,
    request: &Request,
    response: Response,
    admitted: &mut Option<Connection>,
) -> Result<Response, ErrorResponse> {
    let tenant = query(request.uri(), "tenant=");
    let session = query(request.uri(), "session=");
    if tenant.is_some_and(|tenant| tenant_problem(tenant).is_some()) {
        return Err(refusal(StatusCode::BAD_REQUEST, "the tenant is not valid\n"));
    }
    if let Some(page) = request.headers().get(header::ORIGIN) {
        let (allowed, page) = (server.settings.allowed_origins.as_deref(), page.to_str().unwrap_or_default());
        if !origin::may_connect(allowed, server.address(), page) {
            server.metrics.refused.add(1);
            warn!(origin = page, "a web page was refused: its origin is not among `allowed_origins`");
            return Err(refusal(StatusCode::FORBIDDEN, "pages of this origin may not connect\n"));
        }
    }
    match server.connect(tenant, session) {
        Some(connection) => {
            *admitted = Some(connection);
            Ok(response)
        }
        None => {
            server.metrics.refused.add(1);
            let mut full = refusal(StatusCode::SERVICE_UNAVAILABLE, "too many connections\n");
            full.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            Err(full)
        }
    }
}

fn refusal(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(text.to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    response
}

/// What stands behind this name in the address. Valid tenants and sessions need no percent-encoding, so none is undone.
fn query<'a>(uri: &'a Uri, name_and_equals: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name_and_equals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_comes_from_the_query() {
        for (uri, expected) in [
            ("/", None),
            ("/any/path?x=1", None),
            ("/?tenant=t1", Some("t1")),
            ("/?x=1&tenant=t1&y=2", Some("t1")),
            ("/?tenant=", Some("")),
        ] {
            let uri: Uri = uri.parse().expect("a URI");
            assert_eq!(query(&uri, "tenant="), expected, "{uri}");
        }
    }

    #[test]
    fn the_answer_to_plain_http_has_the_length_it_says() {
        let text = std::str::from_utf8(UPGRADE_REQUIRED).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}

//! The WebSocket plugin: a source that takes changes from clients and a sink that shows changes to subscribers.
//!
//! A source and a sink with the same listen address share one server, so a client subscribes and makes changes over one
//! connection. Reading order: `config` and `wire` (what comes in), `endpoint` (who shares a server), `server` (accepting),
//! `session` and `requests` (one client), `subscriptions` and `outbox` (how a change reaches the right clients).
#![forbid(unsafe_code)]

mod config;
mod tls;
mod wire;
mod outbox;
mod subscriptions;
mod endpoint;
mod server;
mod handshake;
mod session;
mod keepalive;
mod requests;
mod unanswered;
mod rate;
mod source;
mod sink;
#[cfg(test)]
mod tests;

use lockstep_plugin_api::prelude::*;

export_plugin! {
    async_source "websocket" (answers) => source::WebSocketSource,
    sink "websocket" => sink::WebSocketSink,
}

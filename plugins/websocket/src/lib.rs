//! The WebSocket plugin: a source that takes changes from clients and a sink that shows changes to subscribers.
//!
//! A source and a sink with the same listen address share one server, so a client subscribes and makes changes over one
//! connection. Reading order: `config` and `wire` (what comes in), `endpoint` (who shares a server), `server` (accepting),
//! `session` and `requests` (one client), `subscriptions`, `fanout` and `outbox` (how a change reaches the right clients),
//! `log` and `catch_up` (what a client gets that was away or is slow), `sessions` and `locks` (who holds locks).
#![forbid(unsafe_code)]

mod config;
mod tls;
mod wire;
mod publication;
mod outbox;
mod subscriptions;
mod fanout;
mod log;
mod endpoint;
mod metrics;
mod server;
mod origin;
mod handshake;
mod session;
mod keepalive;
mod requests;
mod change;
mod subscribe;
mod unanswered;
mod catch_up;
mod sessions;
mod locks;
mod rate;
mod source;
mod sink;
#[cfg(test)]
mod tests;

use lockstep_plugin_api::prelude::*;

export_plugin! {
    async_source "websocket" (answers) => source::WebSocketSource,
    sink "websocket" (notices) => sink::WebSocketSink,
}

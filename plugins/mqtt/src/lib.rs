//! The MQTT plugin: a source that takes changes, or any messages, from a broker and a sink that publishes them, by MQTT 5 or
//! 3.1.1.
//!
//! The packets are rumqttc's, the connection is ours: who gives the packet ids knows which publish an acknowledgement is
//! about, who reads the socket can stop reading it, and TLS needs no detour. Reading order: `config`, `topic` and `filter`
//! (names), `packet` and `link` (one connection), `desk` (what lies between the host and a task); then `composer`, `outbox`,
//! `window`, `publisher` for the sink, and `subscriber`, `ledger`, `inbox`, `reader` for the source.
#![forbid(unsafe_code)]

mod topic;
mod filter;
mod packet;
mod config;
mod tls;
mod pulse;
mod link;
mod desk;
mod metrics;
mod identity;
mod outbox;
mod composer;
mod window;
mod suspicion;
mod publisher;
mod sink;
mod ledger;
mod inbox;
mod reader;
mod subscriber;
mod source;
#[cfg(test)]
mod conversation;

use lockstep_plugin_api::prelude::*;

export_plugin! {
    source "mqtt" (may_replay) => source::MqttSource,
    pipelined_sink "mqtt" => sink::MqttSink,
}

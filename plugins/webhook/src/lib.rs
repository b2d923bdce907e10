//! The webhook plugin: tells HTTP receivers what happened, a POST for each conflict, lock or change.
//!
//! Reading order: `config` and `receiver` (what an operator writes), `events`, `facts` and `body` (what is said about a
//! record), `message`, `signature`, `client` and `answer` (one POST), `lane` (one receiver: order, waiting, trying again),
//! `sink` (what the host is told).
//!
//! Invariant: a record counts as written when every receiver has answered that it took it. Addresses, headers and keys may
//! be secrets: what is logged or told of a receiver is its origin.
#![forbid(unsafe_code)]

mod config;
mod receiver;
mod events;
mod facts;
mod body;
mod message;
mod signature;
mod tls;
mod answer;
mod client;
mod pause;
mod metrics;
mod lane;
mod sink;

use lockstep_plugin_api::export_plugin;

export_plugin! { pipelined_sink "webhook" (notices) => sink::WebhookSink }

//! The Redis plugin: configuration changes in a stream with a hint channel beside it, and the newest state of every key
//! in a cache that is written by compare and set.
//!
//! Reading order: `config` and `names` (what an operator writes and how things are called), `connection` (one server,
//! sentinels or a cluster), `entry` and `cell` (what lies there), `sink` (how it is written), `source` (how it is read),
//! `meeting` (how a sink finds the source of its place).
#![forbid(unsafe_code)]

mod config;
mod names;
mod metrics;
mod connection;
mod entry;
mod cell;
mod meeting;
mod sink;
mod source;

use lockstep_plugin_api::prelude::*;

export_plugin! {
    source "redis" (replays) => source::RedisSource,
    pipelined_sink "redis" (notices) => sink::RedisSink,
}

//! Configuration changes, or any messages, to and from Apache Kafka.
//!
//! The sink writes changes into topics chosen by a routing table and acks a batch when brokers have it. The source reads
//! topics as a member of a consumer group and goes on where the host has come to. Both keep the order of a key.
#![forbid(unsafe_code)]

mod config;
mod health;
mod position;
mod route;
mod message;
mod flight;
mod producer;
mod topics;
mod sink;
mod lanes;
mod lag;
mod group;
mod catch_up;
mod taken;
mod incoming;
mod dead_letters;
mod passed_over;
mod reader;
mod keeper;
mod source;
mod metrics;

use lockstep_plugin_api::export_plugin;

export_plugin! {
    source "kafka" (replays) => source::KafkaSource,
    pipelined_sink "kafka" => sink::KafkaSink,
}

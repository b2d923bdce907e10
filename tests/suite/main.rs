//! The real `lockstep` binary with real plugins, from outside.

mod layers;
mod pipelines;
mod cli;
mod commands;
mod handshake;
mod versions;
mod services;
mod websocket;
mod websocket_log;
mod malformed;
mod delivery;
mod log;
mod log_faults;
mod log_services;
mod log_sinks;
mod drain;
mod breaker;
mod dead_letter;
mod dead_letter_retry;
mod backpressure;
mod faults;
mod hangs;
mod disk_full;
mod canary;
mod admin;
mod log_acceptance;

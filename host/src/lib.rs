//! The Lockstep host: pipeline files in, running pipelines out.
//!
//! Rooms in the order of the flow; a room imports only from those above it and from `plugin-api`.

pub mod condition;
pub mod history;
pub mod config;
pub mod telemetry;
pub mod registry;
pub mod store;
pub mod audit;
pub mod log;
pub mod pipeline;
pub mod runtime;
pub mod admin;
pub mod host;
pub mod cli;
pub mod allocator;

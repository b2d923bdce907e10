//! Leases on config keys: operations take and give them, and a transform lets only the holder's changes pass.
//!
//! Invariant: whatever a caller was told about a lease was committed first, and a granted token is the registered one.
#![forbid(unsafe_code)]

mod config;
mod name;
mod clock;
mod lease;
mod refusal;
mod decide;
mod line;
mod request;
mod event;
mod table;
mod effects;
mod draft;
mod store;
mod leases;
mod task;
mod arguments;
mod operations;
mod transform;
#[cfg(test)]
mod tests;

use lockstep_plugin_api::export_plugin;

export_plugin! { transform "lock" => transform::Lock }

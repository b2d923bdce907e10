//! Leases on config keys: operations take and give them, and a transform lets only the holder's changes pass.
//!
//! Reading order: `config`, `name`, `lease`, `request` and `arguments` (what can be asked), `check` (who may write), then
//! the backends `embedded` and `redis`, `operations` and `transform` (how either is reached).
//! Invariant: whatever a caller was told about a lease was committed first, and a granted token is registered here.
#![forbid(unsafe_code)]

mod config;
mod name;
mod clock;
mod lease;
mod check;
mod refusal;
mod request;
mod arguments;
mod owners;
mod line;
mod table;
mod event;
mod writes;
mod store;
mod meters;
mod embedded;
mod redis;
mod backend;
mod operations;
mod transform;

use lockstep_plugin_api::export_plugin;

export_plugin! { transform "lock" => transform::Lock }

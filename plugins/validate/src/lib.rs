//! Refuses changes that break a JSON Schema, a key rule or a size limit, and tells their authors where and why.
//!
//! Invariant: what is said about a refused change comes from the rule, never from the value, which may be a secret.
#![forbid(unsafe_code)]

mod config;
mod names;
mod tenants;
mod files;
mod folder;
mod schema;
mod library;
mod rules;
mod reason;
mod transform;

use lockstep_plugin_api::export_plugin;

export_plugin! { transform "validate" => transform::Validate }

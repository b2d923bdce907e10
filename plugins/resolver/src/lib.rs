//! Tells concurrent changes from later ones, and decides which value a key shows.
//!
//! Invariant: what a key shows is a function of the set of changes that were taken in, on every host, whatever the order
//! and the path in which they came; no change that its successor's author had not seen disappears without being named.
#![forbid(unsafe_code)]

// `pub(crate)`, because the benchmark compiles this file as a module of its own.
pub(crate) mod config;
pub(crate) mod advice;
pub(crate) mod clock;
pub(crate) mod value;
pub(crate) mod ot;
pub(crate) mod conflict;
pub(crate) mod merge;
pub(crate) mod strategy;
pub(crate) mod siblings;
pub(crate) mod wire;
pub(crate) mod draft;
pub(crate) mod carry;
pub(crate) mod turn;
pub(crate) mod encoding;
pub(crate) mod ingested;
pub(crate) mod node;
pub(crate) mod ledger;
pub(crate) mod manual;
pub(crate) mod report;
pub(crate) mod notice;
pub(crate) mod metrics;
pub(crate) mod staging;
pub(crate) mod calls;
pub(crate) mod sweep;
pub(crate) mod transform;

use lockstep_plugin_api::export_plugin;

export_plugin! { transform "resolver" (commits) => transform::Resolver }

//! A generator, a transform that does nothing and a sink that writes nothing, as a plugin.
#![forbid(unsafe_code)]

mod components;

use components::{Generator, Noop, Null};

lockstep_plugin_api::export_plugin! {
    source "bench_generator" => Generator,
    transform "bench_noop" => Noop,
    sink "bench_null" => Null,
}

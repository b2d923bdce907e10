//! A generator, transforms that do nothing or next to nothing, and a sink that writes nothing, as a plugin.
#![forbid(unsafe_code)]

mod components;
mod set_user;

use components::{Generator, Noop, Null};
use set_user::SetUser;

lockstep_plugin_api::export_plugin! {
    source "bench_generator" => Generator,
    transform "bench_noop" => Noop,
    transform "bench_set_user" => SetUser,
    sink "bench_null" => Null,
}

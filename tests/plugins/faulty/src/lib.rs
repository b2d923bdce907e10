//! Components that misbehave where their configuration says, once or always.
#![forbid(unsafe_code)]

mod fault;
mod source;
mod task;
mod transform;
mod sink;

use lockstep_plugin_api::prelude::*;

export_plugin! {
    source "faulty" => source::FaultySource,
    async_source "faulty_task" => task::FaultyTask,
    transform "faulty" => transform::FaultyTransform,
    sink "faulty" => sink::FaultySink,
    pipelined_sink "faulty_pipelined" => sink::FaultyPipelinedSink,
}

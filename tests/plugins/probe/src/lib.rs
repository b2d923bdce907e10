//! A scripted source, a slow transform and recording sinks, told what to do by files in a folder.
//!
//! A test reads and writes that folder through `Probe` of the support crate, which says what each file means.
#![forbid(unsafe_code)]

mod orders;
mod source;
mod transform;
mod sink;
mod pipelined;

use lockstep_plugin_api::prelude::*;

export_plugin! {
    source "probe" (replays) => source::ProbeSource,
    transform "probe" => transform::ProbeTransform,
    sink "probe" => sink::ProbeSink,
    pipelined_sink "probe_pipelined" => pipelined::ProbePipelinedSink,
}

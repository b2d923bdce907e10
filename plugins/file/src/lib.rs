//! Lines of a file in, lines of a file out.
//!
//! The source follows a file of NDJSON or plain lines through rotation and restarts, or reads a stream such as standard
//! input. The sink appends one line per record and says `written` only when the line is as durable as its `fsync` asks.
#![forbid(unsafe_code)]

mod config;
mod lines;
mod line_record;
mod position;
mod siblings;
mod follow;
mod stream_source;
mod source;
mod sink_error;
mod encode;
mod append;
mod sync;
mod stream_sink;
mod sink;

use lockstep_plugin_api::export_plugin;

export_plugin! {
    source "file" (may_replay) => source::FileSource,
    sink "file" => sink::FileSink,
}

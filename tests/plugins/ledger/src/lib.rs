//! A transform that commits: counts the changes of each key in the host's state. A sink that reads the log again.
//!
//! A test tells it by files in a folder what to do between a read and the commit; `suite/log.rs` does so.
#![forbid(unsafe_code)]

mod bumps;
mod transform;
mod replayer;

use lockstep_plugin_api::prelude::*;

export_plugin! {
    transform "ledger" (commits) => transform::Ledger,
    sink "replayer" (notices) => replayer::Replayer,
}

//! Pipeline -> [`RunningPipeline`]: threads, batches on their way, and everything that can go wrong with them.
//!
//! ```text
//! source ─poll─► chain of transforms ─► route ─► sink: put, acked
//!    ▲                                              │ last sink lets go of the flight
//!    └── outcomes, commit ◄── committer: positions stored ◄──┘
//! ```
//! Through the log the way is cut in two, see `through_log/`: up to the commit, and from the log to each sink.
//!
//! Order that never changes: every sink wrote -> authors told, position stored -> source committed.

mod breaker;
mod catch_up;
mod chain;
mod accounting;
mod committer;
mod dead_letter;
mod failed;
mod withheld;
mod feed;
mod flight;
mod metrics;
mod positions;
mod restart;
mod route;
mod run;
mod running;
mod sink_task;
mod source_task;
mod stack;
mod status;
mod supervisor;
mod threads;
mod through_log;
mod watchdog;

pub use dead_letter::{
    Blob, DeadLetter, DeadLetterError, DeadLetters, Entry, QueueName, Size, StoredError, StoredRecord,
};
pub use running::RunningPipeline;
pub use status::{ComponentState, ComponentStatus, PipelineError, PipelineState, PipelineStatus, SeenError};
pub use supervisor::{Shared, spawn};
pub use through_log::{AdminIntake, Became, CallOperations, HostLog, OperationInfo, Operations};
pub use watchdog::Watchdog;

use crate::pipeline::Step;

fn component_status(step: &Step) -> ComponentStatus {
    let (component, kind) = (&step.component, step.component.kind().as_str());
    ComponentStatus::new(&step.name, kind, component.name(), component.version(), ComponentState::Starting)
}

//! What a run through the log has beside a direct one.
//!
//! ```text
//! sources, admin ─► ingest: chain, ONE commit {entries, state, positions, seen names} ─► authors told
//!                                        │ the log
//!                    tail of each sink ◄─┘ own cursor, `when` and chain ─► sink: put, acked ─► cursor moves
//! ```
//! Order that never changes: committed -> author told -> delivered -> cursor moved.

mod answered;
mod batch;
mod component_host;
mod counted;
mod cursors;
mod endpoints;
mod heartbeat;
mod ingest;
mod intake;
mod operations;
mod replay;
mod restarts;
mod scope;
mod seen;
mod sink_failures;
mod tail;
mod turns;

pub use component_host::log_component_host;
pub use endpoints::{Endpoints, stamp};
pub use heartbeat::Heartbeat;
pub use ingest::ingest;
pub use intake::{AdminIntake, Became, ComponentIntake, Reply, admin_status};
pub use operations::{CallOperations, Offered, OperationInfo, Operations};
pub use restarts::SinkRestarts;
pub use tail::{Next, Tail};

use super::run::{Ended, Failure, Run};
use crate::audit::Audit;
use crate::log::Log;
use crate::pipeline::{Pipeline, Step};
use crate::registry::Operation;
use crate::store::Store;
use answered::Answered;
use cursors::Cursors;
use lockstep_plugin_api::Error;
use operations::Offerer;
use replay::Replays;
use seen::Seen;
use sink_failures::SinkFailures;
use std::time::Duration;
use turns::Turns;

/// The name of the host's own source.
pub use crate::pipeline::ADMIN_SOURCE as ADMIN;

/// What authors hear whose changes were on their way when the run ended.
pub const NOT_KNOWN: &str = "the pipeline ended before it was known whether the change was committed";

/// How long to wait before a store that refuses is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// About how many bytes of records one commit carries, and one page of the log; the store takes a multiple of it.
pub const BATCH_BYTES: u64 = 8 << 20;

/// The host's log and what is shared around it. Cheap to clone.
#[derive(Clone)]
pub struct HostLog {
    pub log: Log,
    pub audit: Audit,
    pub operations: Operations,
}

/// The log's side of one run.
pub struct ThroughLog {
    pub host: HostLog,
    pub cursors: Cursors,
    pub failures: SinkFailures,
    /// Where changes of components enter.
    pub intake: ComponentIntake,
    answered: Answered,
    turns: Turns,
    replays: Vec<Replays>,
    seen: Seen,
}

impl ThroughLog {
    /// Reads where every sink stands.
    pub fn new(host: HostLog, store: &Store, pipeline: &Pipeline, intake: ComponentIntake) -> Self {
        let replays = pipeline.sinks.iter().map(|_| Replays::default()).collect();
        let cursors = Cursors::load(&host.log, pipeline);
        let (failures, seen) = (SinkFailures::new(pipeline.sinks.len()), Seen::new(store.clone()));
        let (answered, turns) = (Answered::default(), Turns::default());
        Self { host, cursors, failures, intake, answered, turns, replays, seen }
    }

    /// A sink's thread has ended or hangs: what it failed of, if it did.
    pub fn sink_ended(&self, sink: usize) -> Option<Failure> {
        self.replays[sink].close();
        self.failures.take(sink)
    }

    /// The authors of the oldest batch that was committed have been told.
    pub fn authors_told(&self) {
        self.answered.told();
    }
}

impl Run {
    /// Lets others call operations of this component. A name that somebody else has keeps the pipeline from running.
    pub fn offer(&self, step: &Step, offered: Vec<Operation>) -> Result<Option<Offered>, Ended> {
        let Some(through) = self.through_log().filter(|_| !offered.is_empty()) else { return Ok(None) };
        let by = Offerer {
            pipeline: self.pipeline.name.clone(),
            component: step.name.clone(),
            plugin: step.component.file().to_owned(),
            is_before_log: self.pipeline.is_before_log(step),
        };
        let offered = through.host.operations.offer(&by, offered);
        offered.map(Some).map_err(|taken| self.fail(step, "operations", &Error::config(taken), true))
    }
}

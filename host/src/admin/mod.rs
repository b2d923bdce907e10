//! The admin server: health, metrics, pipelines, dead letters, and what is configured, over HTTP.
//!
//! It runs on a thread of its own with a runtime of its own, and whatever may wait (the store, a full queue) leaves that
//! thread: a pipeline or a disk that hangs is seen here, not felt.

mod listen;
mod token;
mod access;
mod acts;
mod answer;
mod health;
mod process;
mod scrape;
mod pipelines;
mod dead_letters;
mod plugins;
mod guide_metrics;
mod log_view;
mod changes;
mod keys;
mod watch;
mod operations;
mod audit;
mod state;
mod server;
mod client;
#[cfg(test)]
mod tests;

pub use audit::{AuditLines, AuditList, AuditShown, AuditVerdict, audit_list, broken_at, verdict};
pub use client::{Client, ClientError, Lines, escaped};
pub use dead_letters::{Filter, Page, detail, drop_dead_letter, page};
pub use keys::Moment;
pub use listen::AdminError;
pub use log_view::{Called, LogPipeline, LogView, Told};
pub use plugins::plugins;
pub use server::{AdminServer, BoundAddress};

use crate::audit::Audit;
use crate::registry::Registry;
use crate::runtime::{DeadLetters, RunningPipeline};
use crate::store::Store;
use crate::telemetry::Metrics;
use std::time::Instant;

/// The Unix socket, in the data folder. Whoever may open it may do everything.
pub const SOCKET: &str = "admin.sock";
/// Where the address that was bound is written, in the data folder.
pub const ADDRESS: &str = "admin.addr";
/// Where the token for changes over TCP lies, in the data folder.
pub const TOKEN: &str = "admin.token";

/// What the admin server can see of its host. Cheap to clone.
#[derive(Clone)]
pub struct HostView {
    pub node_id: String,
    pub registry: Registry,
    pub store: Store,
    pub audit: Audit,
    pub log: LogView,
    pub dead_letters: DeadLetters,
    pub metrics: Metrics,
    pub pipelines: Vec<RunningPipeline>,
    pub started: Instant,
}

impl HostView {
    fn pipelines(&self) -> &[RunningPipeline] {
        &self.pipelines
    }

    fn pipeline(&self, name: &str) -> Option<&RunningPipeline> {
        self.pipelines().iter().find(|pipeline| pipeline.name() == name)
    }
}

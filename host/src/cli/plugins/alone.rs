//! A component that is opened by itself: without a pipeline, a log or a host around it.

use crate::registry::{Component, Operation, Transform};
use crate::telemetry::{Metrics, component_host};
use lockstep_plugin_api::Error;
use lockstep_plugin_api::abi::adapt::completion;
use lockstep_plugin_api::abi::types::RArc;
use lockstep_plugin_api::abi::vtable::{CallerParts, CatchUpCell, ComponentParts, StopCell};
use serde_json::json;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A transform with its usual configuration, for its operations. What needs state or the log is answered with a refusal.
pub(super) struct Alone {
    /// What it offers ends with it.
    _transform: Transform,
    operations: Vec<Operation>,
}

impl Alone {
    /// Opens the component.
    ///
    /// # Errors
    /// What the component says, for example that it cannot do without configuration.
    pub fn open(component: &Component, base_dir: &Path) -> Result<Self, Error> {
        let parts = ComponentParts {
            pipeline: "none".into(),
            component: component.name().into(),
            node_id: "none".into(),
            base_dir: base_dir.to_string_lossy().as_ref().into(),
            keep_failed: false,
            answers: false,
            watchdog_ms: LIMIT.as_millis() as u64,
            through_log: false,
            before_log: false,
            heartbeat_interval_ms: 30_000,
            conflict_resolution_interval_ms: 10_000,
            cleanup_interval_ms: 300_000,
            positions: Vec::new().into(),
            stop: RArc::new(StopCell { stopping: 0.into() }),
            catch_up: RArc::new(CatchUpCell::default()),
            host: component_host(Metrics::new().scope(&[])),
        };
        let mut transform = component.open_transform(&json!({}), parts)?;
        let operations = transform.operations()?;
        Ok(Self { _transform: transform, operations })
    }

    /// What it offers.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

/// Calls an operation and waits for its answer, as JSON.
///
/// # Errors
/// What the operation answers, or that it did not.
pub(super) fn ask(operation: &Operation, arguments: &str) -> Result<String, Error> {
    let (answer, answered) = mpsc::sync_channel(1);
    let caller = CallerParts { is_operator: true, name: "command line".into() };
    // Nobody listens any more after the limit.
    operation.call(caller, arguments, completion(move |result| drop(answer.send(result))));
    let late = |_| Error::fatal(format!("no answer within {} s", LIMIT.as_secs()));
    answered.recv_timeout(LIMIT).map_err(late)?
}

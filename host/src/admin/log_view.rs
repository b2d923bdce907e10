//! The log and the pipeline through it, as far as the admin server has to do with them.

use super::HostView;
use super::answer::Refusal;
use crate::audit::Operator;
use crate::log::Log;
use crate::runtime::{AdminIntake, Became, CallOperations, OperationInfo, RunningPipeline};
use lockstep_plugin_api::names::{check_key, tenant_problem};
use lockstep_plugin_api::{Error, Record};
use std::sync::Arc;

/// What became of a change, told once.
pub type Told = Box<dyn FnOnce(Became) + Send>;

/// What an operation answered as JSON, told once.
pub type Called = Box<dyn FnOnce(Result<String, Error>) + Send>;

/// A host's log and who commits to it. Cheap to clone.
#[derive(Clone)]
pub struct LogView {
    pub log: Log,
    /// None if no pipeline of this host goes through the log: then it can be read and nothing more.
    pub pipeline: Option<Arc<dyn LogPipeline>>,
}

/// The pipeline through the log, from its operators' side.
pub trait LogPipeline: Send + Sync {
    /// Lets a change enter as one of the source `admin`. Never waits; `told` may be called at once.
    fn submit(&self, record: Record, operator: Operator, told: Told);

    /// What its components offer to be called by name.
    fn operations(&self) -> Vec<OperationInfo>;

    /// Starts an operation with arguments that are JSON, and tells whether it only reads. Never waits.
    fn call(&self, operation: &str, arguments: &str, called: Called) -> bool;
}

impl LogView {
    /// The log of a host, and whichever of its pipelines goes through it.
    pub fn new(log: Log, pipelines: &[RunningPipeline]) -> Self {
        let through = pipelines.iter().find_map(ThroughLog::of);
        Self { log, pipeline: through.map(|through| Arc::new(through) as Arc<dyn LogPipeline>) }
    }
}

/// A running pipeline that goes through the log.
struct ThroughLog {
    intake: AdminIntake,
    operations: CallOperations,
}

impl ThroughLog {
    fn of(pipeline: &RunningPipeline) -> Option<Self> {
        let (intake, operations) = (pipeline.admin()?, pipeline.operations()?);
        Some(Self { intake, operations })
    }
}

impl LogPipeline for ThroughLog {
    fn submit(&self, record: Record, operator: Operator, told: Told) {
        self.intake.submit_by(Some(operator), record, told);
    }

    fn operations(&self) -> Vec<OperationInfo> {
        self.operations.list()
    }

    fn call(&self, operation: &str, arguments: &str, called: Called) -> bool {
        self.operations.call(operation, arguments, called)
    }
}

impl HostView {
    pub(super) fn log_pipeline(&self) -> Result<Arc<dyn LogPipeline>, Refusal> {
        self.log.pipeline.clone().ok_or_else(|| {
            Refusal::not_found(
                "no pipeline of this host goes through the log: end the `transforms` of one with a component that \
                 commits",
            )
        })
    }
}

/// Refuses what cannot be the name of a key, or of a tenant.
pub(super) fn check_names(tenant: Option<&str>, key: &str) -> Result<(), Refusal> {
    check_tenant(tenant)?;
    check_key(key).map_err(|error| Refusal::from(&error))
}

/// Refuses what cannot be the name of a tenant.
pub(super) fn check_tenant(tenant: Option<&str>) -> Result<(), Refusal> {
    match tenant.and_then(tenant_problem) {
        Some(problem) => Err(Refusal::of_code("bad_tenant", format!("the tenant {problem}"))),
        None => Ok(()),
    }
}

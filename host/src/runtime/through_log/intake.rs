//! The source that every pipeline through the log has without naming it: operators' changes.
//!
//! What is submitted enters the chain like anything else, and its outcome comes back to whoever submitted it.

use super::super::{
    flight::{Flight, Origin},
    run::Run,
    running::{Inner, RunningPipeline},
    source_task::ChainInput,
    status::{ComponentState, ComponentStatus, PipelineState},
    threads::Entrances,
};
use super::ADMIN;
use crate::audit::Operator;
use lockstep_plugin_api::{Error, Record, abi::Records, source::OutcomeResult};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

/// What became of an operator's change.
#[derive(Debug, Clone)]
pub struct Became {
    pub result: OutcomeResult,
    /// Its author had sent it before, under the same name for it: it was committed then, and nothing was done now.
    pub is_repeat: bool,
}

impl From<OutcomeResult> for Became {
    fn from(result: OutcomeResult) -> Self {
        Self { result, is_repeat: false }
    }
}

/// Takes operators' changes. Cheap to clone.
#[derive(Clone)]
pub struct AdminIntake(RunningPipeline);

impl AdminIntake {
    pub fn new(pipeline: RunningPipeline) -> Self {
        Self(pipeline)
    }

    /// Sends a change through the pipeline, and calls `answer` with what became of it: from another thread, or at once
    /// if the pipeline does not run (`Failed`, code `unavailable`) or is full (`Failed`, kind `retry`). Never waits.
    pub fn submit(&self, record: Record, answer: impl FnOnce(OutcomeResult) + Send + 'static) {
        self.submit_by(None, record, |became| answer(became.result));
    }

    /// The same for a change that this operator makes, who is named in its entry in the audit.
    pub fn submit_by(
        &self,
        operator: Option<Operator>,
        record: Record,
        answer: impl FnOnce(Became) + Send + 'static,
    ) {
        let reply = Reply::new(answer);
        match self.0.entrances() {
            Some((run, entrances)) => enter(&run, &entrances, record, (operator, reply)),
            None => reply.answer(unavailable("the pipeline through the log is not running")),
        }
    }
}

/// The same for the components of the pipeline, which do not keep it running.
#[derive(Clone)]
pub struct ComponentIntake(Weak<Inner>);

impl ComponentIntake {
    pub fn new(pipeline: &RunningPipeline) -> Self {
        Self(Arc::downgrade(&pipeline.0))
    }

    /// As [`AdminIntake::submit`], for the component of this name, which the audit names.
    pub fn submit(
        &self,
        record: Record,
        component: &str,
        answer: impl FnOnce(OutcomeResult) + Send + 'static,
    ) {
        let operator = Operator::component(component);
        match self.0.upgrade() {
            Some(pipeline) => {
                let intake = AdminIntake(RunningPipeline(pipeline));
                intake.submit_by(Some(operator), record, |became| answer(became.result));
            }
            None => answer(unavailable("the pipeline of this component is over")),
        }
    }
}

/// Puts an operator's change into the chain's queue.
pub fn enter(
    run: &Arc<Run>,
    entrances: &Entrances,
    mut record: Record,
    (operator, reply): (Option<Operator>, Reply),
) {
    let is_full = || OutcomeResult::Failed(Error::retry(Duration::from_secs(1), "the pipeline is full"));
    if run.in_flight.room(Duration::ZERO).is_none() {
        return reply.answer(is_full());
    }
    let (id, n_bytes) = (run.take_ids(1), record.size() as u64);
    record.set_id(id);
    let flight = Flight::new(Origin::Admin { operator, reply }, id..id + 1, n_bytes, entrances.progress());
    let flight = Arc::new(flight);
    let records = Records::from(vec![record]);
    run.in_flight.add(1, n_bytes);
    run.metrics.admin_read();
    if entrances.enter_chain(ChainInput { flight: flight.clone(), records, from: 0 }).is_ok() {
        return;
    }
    run.in_flight.release(1, n_bytes);
    run.metrics.admin_acked(1);
    let Origin::Admin { reply, .. } = &flight.origin else { return };
    reply.answer(is_full());
}

/// The source as it is shown among the others. It is there whenever the pipeline takes anything.
pub fn admin_status(pipeline: PipelineState) -> ComponentStatus {
    let state = match pipeline {
        PipelineState::Running => ComponentState::Running,
        PipelineState::Starting | PipelineState::Restarting => ComponentState::Starting,
        PipelineState::Failed => ComponentState::Failed,
        PipelineState::Draining | PipelineState::Finished | PipelineState::Stopped => {
            ComponentState::Finished
        }
    };
    ComponentStatus::new(ADMIN, "source", "host", env!("CARGO_PKG_VERSION"), state)
}

/// Whoever waits for the outcome of an operator's change. Dropped without an answer it says that nobody knows.
pub struct Reply(Mutex<Option<Answer>>);

type Answer = Box<dyn FnOnce(Became) + Send>;

impl Reply {
    fn new(answer: impl FnOnce(Became) + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(answer))))
    }

    /// Answers; the first answer counts.
    pub fn answer(&self, became: impl Into<Became>) {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = answer {
            answer(became.into());
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(unavailable(super::NOT_KNOWN));
    }
}

fn unavailable(reason: &str) -> OutcomeResult {
    OutcomeResult::Failed(Error::rejected("unavailable", reason))
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

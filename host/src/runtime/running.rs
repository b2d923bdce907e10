//! A pipeline seen from outside its threads: what it shows, what may enter, and the order to end.

use super::{
    dead_letter::Entry,
    run::{Phase, Run},
    status::{PipelineState, PipelineStatus, StatusBoard},
    threads::{Entrances, Refused},
    through_log::{AdminIntake, CallOperations, HostLog, admin_status},
};
use crate::log::Log;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// A pipeline that runs until it ends or is told to. Cheap to clone.
#[derive(Clone)]
pub struct RunningPipeline(pub(super) Arc<Inner>);

pub struct Inner {
    pub name: String,
    pub status: StatusBoard,
    /// Of the pipeline through the log.
    pub host_log: Option<HostLog>,
    pub control: Mutex<Control>,
    pub changed: Condvar,
}

#[derive(Default)]
pub struct Control {
    pub is_stopping: bool,
    pub is_over: bool,
    pub current: Option<(Arc<Run>, Option<Entrances>)>,
    pub thread: Option<JoinHandle<()>>,
}

impl RunningPipeline {
    pub(super) fn lock(&self) -> MutexGuard<'_, Control> {
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn state(&self) -> PipelineState {
        self.0.status.state()
    }

    pub fn status(&self) -> PipelineStatus {
        let mut status = self.0.status.snapshot();
        if let Some((run, _)) = &self.lock().current {
            let used = run.in_flight.used();
            (status.in_flight_records, status.in_flight_bytes) = (used.records, used.bytes);
        }
        if self.0.host_log.is_some() {
            status.components.push(admin_status(status.state));
        }
        status
    }

    /// The log, if this pipeline goes through it.
    pub fn log(&self) -> Option<Log> {
        self.0.host_log.as_ref().map(|host_log| host_log.log.clone())
    }

    /// Where operators' changes enter, if this pipeline goes through the log.
    pub fn admin(&self) -> Option<AdminIntake> {
        self.0.host_log.as_ref().map(|_| AdminIntake::new(self.clone()))
    }

    /// What the components of this pipeline offer to be called, if it goes through the log.
    pub fn operations(&self) -> Option<CallOperations> {
        self.0.host_log.as_ref().map(|host_log| CallOperations::new(host_log.operations.clone()))
    }

    /// The ways into the run, while it takes anything.
    pub(super) fn entrances(&self) -> Option<(Arc<Run>, Entrances)> {
        let (run, entrances) = self.lock().current.clone()?;
        if run.phase() == Phase::Running { Some((run, entrances?)) } else { None }
    }

    /// Asks the pipeline to stop polling, finish what is in flight and end.
    pub fn drain(&self) {
        self.lock().is_stopping = true;
        self.0.changed.notify_all();
    }

    /// Waits until the pipeline is over; false if that takes longer than `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        let control = self.lock();
        let (control, _) = self
            .0
            .changed
            .wait_timeout_while(control, limit, |control| !control.is_over)
            .unwrap_or_else(PoisonError::into_inner);
        control.is_over
    }

    /// Lets a dead letter enter again where it failed. It is removed when it was delivered, and stays if it fails again.
    ///
    /// # Errors
    /// A sentence, if the pipeline does not run or has no such component.
    pub fn retry(&self, entry: &Entry) -> Result<(), String> {
        let Some((run, entrances)) = self.entrances() else {
            return Err(format!("pipeline `{}` is not running", self.name()));
        };
        let letter = &entry.letter;
        if letter.record.withheld.is_some() {
            return Err(
                "its value was to be sealed, so it is not here: have the change made again, then drop this"
                    .to_owned(),
            );
        }
        // A new id: the old one may be in use by this run.
        let record = letter.record.to_record(run.take_ids(1));
        let Some(claim) = run.dead_letters.claim(&entry.key) else {
            return Err("it is being tried again just now".to_owned());
        };
        let entered = entrances.enter(&run, letter, claim, record);
        let (pipeline, kind, component) = (self.name(), &letter.kind, &letter.component);
        entered.map_err(|refused| match refused {
            Refused::Gone => format!("pipeline `{pipeline}` has no {kind} `{component}` that runs"),
            Refused::ByCondition => {
                format!("the `when` of {kind} `{component}` does not take this record; drop it, or change the pipeline")
            }
            Refused::Behind => {
                format!("{kind} `{component}` of pipeline `{pipeline}` is behind; try again later")
            }
        })
    }
}

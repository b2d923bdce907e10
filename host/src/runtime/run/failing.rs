//! What goes wrong in a run, and whose end that is: the run's, or that of one sink behind the log.

use super::{Ended, Phase, Run};
use crate::pipeline::Step;
use crate::runtime::{
    status::{ComponentState, SeenError},
    watchdog::{Hung, Watched},
};
use lockstep_plugin_api::{Error, ErrorKind};
use std::{sync::Arc, thread::ThreadId};
use tracing::error;

/// Why a run failed, or a sink that fails alone.
#[derive(Debug, Clone)]
pub struct Failure {
    pub component: String,
    pub error: SeenError,
    /// Whether starting again cannot help.
    pub is_permanent: bool,
    /// Whether it left a thread behind.
    pub is_hung: bool,
}

impl Failure {
    fn new(component: &str, error: SeenError, is_permanent: bool) -> Self {
        Self { component: component.to_owned(), error, is_permanent, is_hung: false }
    }

    /// Why whoever failed is not started again, where it is not.
    pub fn why_final(&self) -> &'static str {
        if self.is_permanent { "starting again cannot help" } else { "it fails again and again" }
    }
}

impl Run {
    /// A component failed, and with it the run, or the sink behind the log that it belongs to. The first failure is the
    /// one that counts.
    pub fn fail(&self, step: &Step, call: &'static str, error: &Error, is_permanent: bool) -> Ended {
        let seen = SeenError::new(call, error);
        self.status.set_component_error(step.index, ComponentState::Failed, seen.clone());
        let is_config = error.kind() == ErrorKind::CONFIG;
        let logged = match is_config {
            // With its place: there is nothing else to look for.
            true => format!("{}: {}", self.pipeline.file.display(), seen.message),
            false => error.message().to_owned(),
        };
        self.fail_at(step.index, Failure::new(&step.name, seen, is_permanent || is_config), &logged);
        Ended
    }

    /// A record failed at a component that is told to stop then. What the record's error says is shown and not logged:
    /// it may quote the value.
    pub fn stop_at(&self, step: &Step, error: &Error) -> Ended {
        const STOPPED: &str = "a record failed and `on_error.then` is `stop`";
        let seen = SeenError::new("record", error);
        let seen = SeenError { message: format!("{STOPPED}: {}", seen.message), ..seen };
        self.status.set_component_error(step.index, ComponentState::Failed, seen.clone());
        self.fail_at(step.index, Failure::new(&step.name, seen, true), STOPPED);
        Ended
    }

    fn fail_at(&self, index: usize, failure: Failure, logged: &str) {
        match self.sink_behind_log(index) {
            Some(sink) => self.fail_sink(sink, failure, logged),
            None => self.fail_run(failure, logged),
        }
    }

    fn fail_run(&self, failure: Failure, logged: &str) {
        let mut state = self.lock();
        state.n_hung += u64::from(failure.is_hung);
        let is_first = state.failure.is_none() && state.phase != Phase::Aborting;
        if is_first {
            state.failure = Some(failure.clone());
        }
        drop(state);
        if is_first {
            log(&failure, logged);
        }
        self.enter(Phase::Aborting);
    }

    /// The others go on: the sink's thread comes to its end, and whoever started it hears what it failed of.
    fn fail_sink(&self, sink: usize, failure: Failure, logged: &str) {
        let Some(through) = self.through_log().filter(|_| self.phase() != Phase::Aborting) else { return };
        if through.failures.add(sink, &failure) {
            log(&failure, logged);
        }
        let own: Vec<usize> = self.pipeline.sinks[sink].steps().map(|step| step.index).collect();
        self.lock().stops.retain(|stop| {
            let is_own = own.contains(&stop.index);
            if is_own {
                stop.set();
            }
            !is_own
        });
        self.wait_no_longer_for(own);
    }

    /// The sink that a component belongs to, if it reads the log and so can fail alone.
    fn sink_behind_log(&self, index: usize) -> Option<usize> {
        self.through_log()?;
        self.pipeline.sinks.iter().position(|sink| sink.steps().any(|step| step.index == index))
    }

    /// What is in flight could not be finished within the grace period.
    pub fn fail_to_drain(&self) {
        let used = self.in_flight.used();
        let message = format!("the grace period is over with {} records in flight", used.records);
        let seen = SeenError::new("drain", &Error::fatal(&message));
        self.fail_run(Failure::new(&self.pipeline.name, seen, true), &message);
    }

    /// A thread of the host itself panicked: a defect of the host, which must not look like an orderly end.
    pub fn fail_by_panic(&self, component: &str) {
        let error = Error::fatal("the host's own thread panicked; this is a defect of the host");
        let seen = SeenError::new("host", &error);
        self.fail_run(Failure::new(component, seen, false), error.message());
    }

    /// How many calls ended this run by hanging, each with a thread that is left behind.
    pub fn n_hung(&self) -> u64 {
        self.lock().n_hung
    }

    pub fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// Watches the calls of a component: one that hangs is its failure.
    pub fn watch(self: &Arc<Self>, step: &Step) -> Arc<Watched> {
        // Components are watched by the thread that calls them.
        self.watch_for(step, Some(std::thread::current().id()))
    }

    /// Watches the replies to a source, which the committer calls.
    pub fn watch_replies(self: &Arc<Self>, step: &Step) -> Arc<Watched> {
        self.watch_for(step, None)
    }

    fn watch_for(self: &Arc<Self>, step: &Step, thread: Option<ThreadId>) -> Arc<Watched> {
        let run = Arc::downgrade(self);
        let (name, index) = (step.name.clone(), step.index);
        let durations = self.metrics.call_durations(index);
        self.watchdog.watch(
            format!("{}/{}", self.pipeline.name, step.name),
            Some(durations),
            move |hung: Hung| {
                let Some(run) = run.upgrade() else { return };
                let message = format!("`{}` did not come back within {:.1?}", hung.call.name(), hung.after);
                error!(component = name, call = hung.call.name(), stack = hung.stack, "a plugin call hangs");
                let seen = SeenError {
                    detail: hung.stack,
                    ..SeenError::new(hung.call.name(), &Error::fatal(message))
                };
                let seen = SeenError { kind: "hung", ..seen };
                run.status.set_component_error(index, ComponentState::Hung, seen.clone());
                let logged = seen.message.clone();
                run.fail_at(index, Failure { is_hung: true, ..Failure::new(&name, seen, false) }, &logged);
                if let Some(thread) = thread {
                    let _ = run.hung.send(thread);
                }
            },
        )
    }
}

fn log(failure: &Failure, logged: &str) {
    let Failure { component, error, .. } = failure;
    error!(component, call = error.call, kind = error.kind, error = logged, "task failed");
}

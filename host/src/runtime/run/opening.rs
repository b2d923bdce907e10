//! Components that come up, and endpoints that are away.
//!
//! A run starts when every component is open that is waited for.

use super::{Ended, Phase, Run, State};
use crate::pipeline::Step;
use crate::runtime::{
    breaker::Breaker,
    chain::Instance,
    status::{ComponentState, SeenError},
    watchdog::{Call, GivenUp, Watched},
};
use lockstep_plugin_api::Error;
use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};
use tracing::{info, warn};

impl Run {
    /// As [`Run::pause`], for a component that is not open yet: draining ends it too.
    fn pause_while_opening(&self, wait: Duration) -> Result<(), Ended> {
        let state = self.lock();
        let is_wanted = |state: &mut State| state.phase <= Phase::Running;
        let waited = self.changed.wait_timeout_while(state, wait, is_wanted);
        if waited.unwrap_or_else(PoisonError::into_inner).0.phase <= Phase::Running {
            Ok(())
        } else {
            Err(Ended)
        }
    }

    /// One more component is open; the last one starts the pipeline.
    pub fn opened(&self, step: &Step) {
        self.status.set_component(step.index, ComponentState::Running);
        self.wait_no_longer_for([step.index]);
    }

    /// An endpoint is away that the others need not wait for: that of a source, or of a sink behind the log. It and its
    /// own transforms are not waited for any more: the others start, and it joins them when it is open.
    fn waive(&self, step: &Step) {
        let (sources, sinks) = (&self.pipeline.sources, &self.pipeline.sinks);
        let is_log = self.pipeline.through_log;
        let is_its = |steps: &Vec<usize>| {
            if is_log { steps.contains(&step.index) } else { steps.first() == Some(&step.index) }
        };
        let sources = sources.iter().map(|source| source.steps().map(|step| step.index).collect());
        let sinks = sinks.iter().map(|sink| sink.steps().map(|step| step.index).collect());
        if let Some(steps) = sources.chain(sinks.filter(|_| is_log)).find(is_its) {
            self.wait_no_longer_for(steps);
        }
    }

    /// These are open, or are not waited for any more.
    pub(super) fn wait_no_longer_for(&self, steps: impl IntoIterator<Item = usize>) {
        let mut state = self.lock();
        for index in steps {
            state.unopened.remove(&index);
        }
        self.start_if_open(state);
    }

    fn start_if_open(&self, state: MutexGuard<'_, State>) {
        let is_open = state.unopened.is_empty() && state.phase == Phase::Opening;
        drop(state);
        if is_open {
            info!("pipeline running");
            self.enter(Phase::Running);
        }
    }

    /// Opens a component. An endpoint that is away is waited for; anything else is a failure.
    pub fn open<T>(
        &self,
        step: &Step,
        watched: &Watched,
        instance: Instance,
        mut new: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Ended> {
        let mut breaker = Breaker::default();
        loop {
            // Told to drain before everything was open: nothing was polled, so there is nothing to finish.
            if self.phase() > Phase::Running {
                return Err(Ended);
            }
            match watched.call(Call::New, &mut new) {
                Err(GivenUp) => return Err(Ended),
                Ok(Ok(component)) => {
                    self.answered(step, &mut breaker);
                    if instance == Instance::First {
                        self.opened(step);
                    }
                    return Ok(component);
                }
                Ok(Err(error)) if error.kind().is_about_endpoint() => {
                    let wait = self.tripped(step, Call::New, &error, &mut breaker);
                    self.waive(step);
                    self.pause_while_opening(wait)?;
                }
                Ok(Err(error)) => return Err(self.fail(step, Call::New.name(), &error, false)),
            }
        }
    }

    /// An endpoint is away: says so once per outage, and gives how long to wait before the next probe.
    pub fn tripped(&self, step: &Step, call: Call, error: &Error, breaker: &mut Breaker) -> Duration {
        if !breaker.is_open() {
            warn!(
                component = step.name,
                call = call.name(),
                error = error.message(),
                "endpoint away, breaker open"
            );
            self.metrics.breaker_opened(step.index);
        }
        let seen = SeenError::new(call.name(), error);
        self.status.set_component_error(step.index, ComponentState::NotConnected, seen);
        breaker.trip(error)
    }

    /// An endpoint answered: says so if it had been away.
    pub fn answered(&self, step: &Step, breaker: &mut Breaker) {
        if let Some(away) = breaker.close() {
            info!(component = step.name, seconds = away.as_secs_f32(), "endpoint back, breaker closed");
            self.metrics.breaker_closed(step.index);
            self.status.set_component(step.index, ComponentState::Running);
        }
    }
}

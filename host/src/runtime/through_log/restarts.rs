//! Sinks behind the log are started again one by one: the run, its authors and the other sinks go on meanwhile.
//!
//! Invariant: at most one thread of a sink is believed. One that hangs is left behind before the next one starts, from
//! the sink's cursor.

use super::super::{
    restart::Failures,
    run::{Failure, Phase, Run},
    status::ComponentState,
    threads::Threads,
};
use crate::config::RestartSettings;
use std::{sync::Arc, thread::ThreadId, time::Instant};
use tracing::{error, info, warn};

/// The sinks of a pipeline through the log, by their place; of a direct pipeline there are none.
pub struct SinkRestarts(Vec<Seat>);

/// One sink, from thread to thread.
struct Seat {
    failures: Failures,
    thread: Option<ThreadId>,
    /// When it is started again.
    due: Option<Instant>,
    /// Why it is not started again.
    dead: Option<Failure>,
}

impl SinkRestarts {
    pub fn new(n_sinks: usize, settings: &RestartSettings) -> Self {
        let seat = |_| Seat { failures: Failures::new(settings), thread: None, due: None, dead: None };
        Self((0..n_sinks).map(seat).collect())
    }

    /// A run began, with a thread for each sink.
    pub fn begin(&mut self, threads: &Threads) {
        for (seat, thread) in self.0.iter_mut().zip(&threads.sinks) {
            (seat.thread, seat.due, seat.dead) = (Some(*thread), None, None);
        }
    }

    /// A thread has ended or hangs; if it was a sink's that failed, the sink is started again later, or never.
    pub fn ended(&mut self, run: &Run, threads: &mut Threads, thread: ThreadId) {
        let Some(through) = run.through_log() else { return };
        let Some(sink) = self.0.iter().position(|seat| seat.thread == Some(thread)) else { return };
        let (seat, step) = (&mut self.0[sink], &run.pipeline.sinks[sink].step);
        seat.thread = None;
        // A draining run leaves the rest to the next start: the log keeps it.
        let failure = through.sink_ended(sink).filter(|_| run.phase() <= Phase::Running);
        let Some(failure) = failure else { return };
        let component = &step.name;
        seat.failures.n_hung += u64::from(failure.is_hung);
        match seat.failures.add(failure.is_permanent) {
            Some(wait) => {
                warn!(component, wait = ?wait, "sink failed, starting again");
                run.status.set_restarting(step.index);
                seat.due = Some(Instant::now() + wait);
            }
            None => {
                let reason = failure.why_final();
                error!(component, reason, "sink failed, not started again");
                run.status.set_component(step.index, ComponentState::Failed);
                threads.close_sink(sink);
                seat.dead = Some(failure);
            }
        }
    }

    /// Starts the sinks whose time has come, and gives their threads.
    pub fn start_due(&mut self, run: &Arc<Run>, threads: &mut Threads) -> Vec<ThreadId> {
        let mut started = Vec::new();
        for (sink, seat) in self.0.iter_mut().enumerate() {
            if run.phase() > Phase::Running {
                seat.due = None;
            }
            if seat.due.take_if(|due| *due <= Instant::now()).is_some() {
                seat.thread = start(run, threads, sink);
                started.extend(seat.thread);
            }
        }
        started
    }

    /// Whether a sink is going to be started again.
    pub fn is_waiting(&self) -> bool {
        self.0.iter().any(|seat| seat.due.is_some())
    }

    /// Why a sink is not started again, if there is one.
    pub fn dead(&self) -> Option<Failure> {
        self.0.iter().find_map(|seat| seat.dead.clone())
    }
}

fn start(run: &Arc<Run>, threads: &mut Threads, sink: usize) -> Option<ThreadId> {
    // What an old instance said since its thread ended.
    run.through_log()?.failures.take(sink);
    let sink_step = &run.pipeline.sinks[sink];
    for step in sink_step.steps() {
        run.status.set_component(step.index, ComponentState::Starting);
        run.metrics.breaker_closed(step.index);
    }
    info!(component = sink_step.step.name, "starting the sink again");
    threads.restart_sink(run, sink)
}

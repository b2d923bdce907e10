//! Keeps one pipeline running: starts it, waits for its end, starts it again after a failure, drains it when asked.

use super::{
    committer::Progress,
    dead_letter::DeadLetters,
    metrics::PipelineMetrics,
    restart::Failures,
    run::{Failure, Phase, Run, Surroundings},
    running::{Inner, RunningPipeline},
    status::{ComponentState, PipelineState, StatusBoard},
    threads::Threads,
    through_log::{ComponentIntake, Heartbeat, HostLog, SinkRestarts, ThroughLog},
    watchdog::Watchdog,
};
use crate::config::{RestartSettings, SyncSettings};
use crate::pipeline::Pipeline;
use crate::store::Store;
use crate::telemetry::Metrics;
use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{Builder, ThreadId},
    time::{Duration, Instant},
};
use tracing::{error, error_span, info, warn};

/// How often the supervisor looks up between the news it hears.
const LOOK: Duration = Duration::from_millis(50);

/// How long threads of an aborted run may take beyond the watchdog before they are left behind.
const ABANDON_AFTER: Duration = Duration::from_secs(2);

/// What every pipeline of a host shares.
#[derive(Clone)]
pub struct Shared {
    pub store: Store,
    pub dead_letters: DeadLetters,
    pub metrics: Metrics,
    pub watchdog: Watchdog,
    pub node_id: String,
    /// How long draining may take.
    pub grace: Duration,
    /// The deadline that calls are given.
    pub call_timeout: Duration,
    /// After how long a call counts as hung.
    pub watchdog_limit: Duration,
    pub restart: RestartSettings,
    pub sync: SyncSettings,
    pub host_log: HostLog,
}

/// Starts a pipeline on a thread of its own.
pub fn spawn(pipeline: Pipeline, shared: Shared) -> RunningPipeline {
    let pipeline = Arc::new(pipeline);
    let components = pipeline.steps().map(super::component_status).collect();
    let status = StatusBoard::new(&pipeline.name, pipeline.file.display().to_string(), components);
    let name = pipeline.name.clone();
    let host_log = pipeline.through_log.then(|| shared.host_log.clone());
    let (control, changed) = (Mutex::default(), Condvar::new());
    let running = RunningPipeline(Arc::new(Inner { name, status, host_log, control, changed }));
    let supervisor = Supervisor { pipeline, shared, running: running.clone() };
    let thread = Builder::new()
        .name(format!("pipeline:{}", running.name()))
        .spawn(move || supervisor.supervise())
        .expect("the system can start one more thread");
    running.lock().thread = Some(thread);
    running
}

struct Supervisor {
    pipeline: Arc<Pipeline>,
    shared: Shared,
    running: RunningPipeline,
}

/// How a run came to its end.
enum End {
    Finished,
    Stopped,
    Failed(Failure),
}

impl Supervisor {
    fn supervise(self) {
        let span = error_span!("pipeline", pipeline = self.pipeline.name);
        let _entered = span.enter();
        let status = &self.running.0.status;
        let metrics = PipelineMetrics::new(&self.shared.metrics, &self.pipeline);
        let mut failures = Failures::new(&self.shared.restart);
        let n_alone = if self.pipeline.through_log { self.pipeline.sinks.len() } else { 0 };
        let mut sinks = SinkRestarts::new(n_alone, &self.shared.restart);
        loop {
            match self.run_once(&metrics, &mut failures, &mut sinks) {
                End::Finished => break status.set_state(PipelineState::Finished),
                End::Stopped => break status.set_state(PipelineState::Stopped),
                End::Failed(failure) => {
                    if !self.wait_for_restart(failure, &mut failures) {
                        break;
                    }
                }
            }
        }
        info!(state = ?status.state(), "pipeline over");
        self.running.lock().is_over = true;
        self.running.0.changed.notify_all();
    }

    /// False if the pipeline is not started again.
    fn wait_for_restart(&self, failure: Failure, failures: &mut Failures) -> bool {
        let status = &self.running.0.status;
        // A run that fails while it drains has not done what it was told to: it does not end as stopped.
        let is_stopping = self.running.lock().is_stopping;
        let wait = failures.add(failure.is_permanent || is_stopping);
        let state = if wait.is_some() { PipelineState::Restarting } else { PipelineState::Failed };
        status.set_failed(&failure.component, failure.error.clone(), state);
        let Some(wait) = wait else {
            let is_told = is_stopping && !failure.is_permanent;
            let reason = if is_told { "it was told to stop" } else { failure.why_final() };
            error!(component = failure.component, reason, "pipeline failed, not started again");
            return false;
        };
        warn!(component = failure.component, wait = ?wait, "pipeline failed, starting again");
        let control = self.running.lock();
        let (control, _) = self
            .running
            .0
            .changed
            .wait_timeout_while(control, wait, |control| !control.is_stopping)
            .unwrap_or_else(PoisonError::into_inner);
        if control.is_stopping {
            drop(control);
            status.set_state(PipelineState::Stopped);
            return false;
        }
        true
    }

    fn run_once(&self, metrics: &PipelineMetrics, failures: &mut Failures, sinks: &mut SinkRestarts) -> End {
        metrics.close_breakers();
        let shared = self.shared.clone();
        let status = self.running.0.status.clone();
        status.set_state(PipelineState::Starting);
        (0..self.pipeline.n_steps()).for_each(|index| status.set_component(index, ComponentState::Starting));
        #[expect(clippy::disallowed_methods, reason = "holds two messages per thread")]
        let (end, ended) = mpsc::channel();
        let through_log = self.pipeline.through_log.then_some(shared.host_log);
        let intake = ComponentIntake::new(&self.running);
        let through_log = through_log.map(|log| ThroughLog::new(log, &shared.store, &self.pipeline, intake));
        let surroundings = Surroundings {
            store: shared.store,
            node_id: shared.node_id,
            status,
            metrics: metrics.clone(),
            dead_letters: shared.dead_letters,
            watchdog: shared.watchdog,
            call_timeout: shared.call_timeout,
            watchdog_limit: shared.watchdog_limit,
            sync: shared.sync,
            through_log,
            hung: end.clone(),
        };
        let run = Run::new(self.pipeline.clone(), surroundings);
        let mut threads = Threads::start(&run, end, ended);
        self.running.lock().current = Some((run.clone(), threads.entrances.clone()));
        sinks.begin(&threads);
        self.wait_for_threads(&run, &mut threads, sinks);
        // The input came to its end, and not every sink has it.
        let unwritten = sinks.dead().filter(|_| run.phase() == Phase::Running);
        self.running.lock().current = None;
        // Settles what an aborted run left; after a clean end there is nothing.
        let _ = threads.progress.send(Progress::Close);
        self.join_committer(&run, &threads);
        // Whatever components still run on threads of their own are told that it is over.
        run.enter(Phase::Aborting);
        failures.n_hung += run.n_hung();
        match run.failure().or(unwritten) {
            Some(failure) => End::Failed(failure),
            None if self.running.lock().is_stopping => End::Stopped,
            None => End::Finished,
        }
    }

    /// Returns when every thread has ended or was left behind, and none is going to be started again.
    fn wait_for_threads(&self, run: &Arc<Run>, threads: &mut Threads, sinks: &mut SinkRestarts) {
        let mut left: HashSet<ThreadId> = threads.running.iter().copied().collect();
        let mut deadline: Option<Instant> = None;
        let mut heartbeat = Heartbeat::new(self.shared.sync.heartbeat_interval);
        while !left.is_empty() || sinks.is_waiting() {
            match threads.ended.recv_timeout(LOOK) {
                Ok(thread) => {
                    left.remove(&thread);
                    sinks.ended(run, threads, thread);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            left.extend(sinks.start_due(run, threads));
            if !threads.sources.iter().any(|thread| left.contains(thread)) {
                // No source is left, so nothing new comes: closing every way in lets the sinks finish.
                threads.entrances = None;
                if let Some((_, entrances)) = &mut self.running.lock().current {
                    *entrances = None;
                }
            }
            self.note_lag(run);
            if let Some(through) = run.through_log().filter(|_| run.phase() == Phase::Running) {
                heartbeat.beat(&through.host.log, &self.shared.node_id);
            }
            deadline = self.look(run, threads, deadline);
            if run.phase() == Phase::Aborting && deadline.is_some_and(|deadline| Instant::now() > deadline) {
                warn!(threads = left.len(), "threads that do not end are left behind");
                return;
            }
        }
    }

    /// Shows how far the sinks are behind the log.
    fn note_lag(&self, run: &Run) {
        let Some(through) = run.through_log() else { return };
        let head = through.host.log.head();
        run.metrics.log_head(head);
        for (sink, step) in run.pipeline.sinks.iter().enumerate() {
            let (index, position) = (step.step.index, through.cursors.acked(sink));
            let lag = head.saturating_sub(position);
            run.metrics.sink_at(index, position, lag);
            run.status.set_delivery(index, position, lag);
        }
    }

    /// Goes on to the next phase when it is time, and says until when the present one may last.
    fn look(&self, run: &Run, threads: &Threads, deadline: Option<Instant>) -> Option<Instant> {
        let is_stopping = self.running.lock().is_stopping;
        match run.phase() {
            Phase::Opening | Phase::Running if is_stopping => {
                info!("draining");
                run.enter(Phase::Draining);
                Some(Instant::now() + self.shared.grace)
            }
            Phase::Opening | Phase::Running => None,
            Phase::Draining if deadline.is_some_and(|deadline| Instant::now() > deadline) => {
                run.fail_to_drain();
                Some(Instant::now() + ABANDON_AFTER)
            }
            Phase::Aborting if !run.is_closing() => {
                // Authors of what is in flight hear of the end before the sources are gone.
                let _ = threads.progress.send(Progress::Close);
                // A call that hangs is found by the watchdog, unless the process is going to end anyway.
                let patience = if is_stopping { Duration::ZERO } else { self.shared.watchdog_limit };
                Some(Instant::now() + patience + ABANDON_AFTER)
            }
            _ => deadline,
        }
    }

    /// The committer calls into sources too, so it may hang like any other.
    fn join_committer(&self, run: &Run, threads: &Threads) {
        let until = Instant::now() + self.shared.watchdog_limit + ABANDON_AFTER;
        while !threads.committer.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if !threads.committer.is_finished() {
            run.abandon();
        }
    }
}

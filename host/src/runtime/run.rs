//! One start of a pipeline: what its threads share until it ends.
//!
//! Whoever fails first says so here; everybody else looks and comes to an end.

use super::{
    chain::Instance,
    dead_letter::DeadLetters,
    flight::InFlight,
    metrics::PipelineMetrics,
    status::{ComponentState, PipelineState, SeenError, StatusBoard},
    through_log::{ThroughLog, log_component_host},
    watchdog::{Call, GivenUp, Hung, Watchdog, Watched},
};
use crate::config::SyncSettings;
use crate::pipeline::{Pipeline, Step, TransformStep};
use crate::registry::{ComponentParts, RArc, StopCell};
use crate::store::Store;
use lockstep_plugin_api::{Error, ErrorKind, Position, abi::vtable::ComponentHostBox};
use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
        mpsc::{Sender, SyncSender, TrySendError},
    },
    thread::ThreadId,
    time::{Duration, Instant},
};
use tracing::{error, info, warn};

/// How long to wait before a full queue is tried again.
const FULL_QUEUE_WAIT: Duration = Duration::from_millis(2);

/// What a sink is given from the log has its revision as its id; other ids lie beyond all of these.
const FIRST_ID_BESIDE_REVISIONS: u64 = 1 << 62;

/// Where a run stands. Only ever goes on to a later phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Components are being opened; nothing is polled yet.
    Opening,
    Running,
    /// Nothing more is polled; what is in flight is finished.
    Draining,
    /// Everybody ends at once; what is in flight is given up.
    Aborting,
}

/// A thread of the run has nothing left to do: the run is over, or its own component failed and said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// Why a run failed.
#[derive(Debug, Clone)]
pub struct Failure {
    pub component: String,
    pub error: SeenError,
    /// Whether starting again could help.
    pub is_permanent: bool,
}

/// What the threads of one run share.
pub struct Run {
    pub pipeline: Arc<Pipeline>,
    pub store: Store,
    pub node_id: String,
    pub status: StatusBoard,
    pub metrics: PipelineMetrics,
    pub dead_letters: DeadLetters,
    pub in_flight: InFlight,
    pub watchdog: Watchdog,
    pub call_timeout: Duration,
    pub watchdog_limit: Duration,
    pub sync: SyncSettings,
    through_log: Option<ThroughLog>,
    is_abandoned: AtomicBool,
    n_hung: AtomicU64,
    /// Threads that hang are reported here as ended: they are left behind.
    hung: Sender<ThreadId>,
    next_id: AtomicU64,
    /// The state's phase once more, because every thread looks at it before every batch.
    phase: AtomicU8,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// How many components are not open yet.
    unopened: usize,
    /// Components that are not open and not waited for.
    waived: HashSet<usize>,
    /// How many sources may still be polled.
    n_inputs: usize,
    failure: Option<Failure>,
    /// Whether the committer was told to settle what is left.
    is_closing: bool,
    /// Told to come to an end when the run does.
    stops: Vec<Stop>,
}

/// The stop signal of one component, shared with its plugin.
struct Stop {
    cell: RArc<StopCell>,
    is_source: bool,
}

impl Stop {
    fn set(&self) {
        self.cell.stopping.store(1, Ordering::Release);
    }
}

/// What a run is made with besides its pipeline.
pub struct Surroundings {
    pub store: Store,
    pub node_id: String,
    pub status: StatusBoard,
    pub metrics: PipelineMetrics,
    pub dead_letters: DeadLetters,
    pub watchdog: Watchdog,
    /// The deadline that calls are given.
    pub call_timeout: Duration,
    pub watchdog_limit: Duration,
    pub sync: SyncSettings,
    pub through_log: Option<ThroughLog>,
    pub hung: Sender<ThreadId>,
}

impl Run {
    pub fn new(pipeline: Arc<Pipeline>, with: Surroundings) -> Arc<Self> {
        let limits = &pipeline.delivery.in_flight;
        Arc::new(Self {
            in_flight: InFlight::new(limits.records, limits.bytes),
            store: with.store,
            node_id: with.node_id,
            status: with.status,
            metrics: with.metrics,
            dead_letters: with.dead_letters,
            watchdog: with.watchdog,
            call_timeout: with.call_timeout,
            watchdog_limit: with.watchdog_limit,
            sync: with.sync,
            through_log: with.through_log,
            hung: with.hung,
            is_abandoned: AtomicBool::new(false),
            n_hung: AtomicU64::new(0),
            next_id: AtomicU64::new(if pipeline.through_log { FIRST_ID_BESIDE_REVISIONS } else { 1 }),
            phase: AtomicU8::new(Phase::Opening as u8),
            state: Mutex::new(State {
                phase: Phase::Opening,
                unopened: pipeline.n_steps(),
                waived: HashSet::new(),
                n_inputs: pipeline.sources.len(),
                failure: None,
                is_closing: false,
                stops: Vec::new(),
            }),
            changed: Condvar::new(),
            pipeline,
        })
    }

    /// What a run through the log has beside a direct one.
    pub fn through_log(&self) -> Option<&ThroughLog> {
        self.through_log.as_ref()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Acquire);
        let all = [Phase::Opening, Phase::Running, Phase::Draining, Phase::Aborting];
        all.into_iter().find(|one| *one as u8 == phase).unwrap_or(Phase::Aborting)
    }

    /// Fails once the run is aborting.
    pub fn go_on(&self) -> Result<(), Ended> {
        if self.phase() == Phase::Aborting { Err(Ended) } else { Ok(()) }
    }

    /// Goes on to a later phase and tells everybody.
    pub fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        if phase <= state.phase {
            return;
        }
        state.phase = phase;
        self.phase.store(phase as u8, Ordering::Release);
        // Under the lock, so that the status goes through the phases in their order.
        match phase {
            Phase::Running => self.status.set_state(PipelineState::Running),
            Phase::Draining => self.status.set_state(PipelineState::Draining),
            Phase::Opening | Phase::Aborting => {}
        }
        for stop in &state.stops {
            if phase == Phase::Aborting || (phase == Phase::Draining && stop.is_source) {
                stop.set();
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits, unless the run comes to its end first.
    pub fn pause(&self, wait: Duration) -> Result<(), Ended> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        while state.phase != Phase::Aborting {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(Ended)
    }

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
        let mut state = self.lock();
        if !state.waived.remove(&step.index) {
            state.unopened -= 1;
        }
        self.start_if_open(state);
    }

    /// An endpoint is away that the others need not wait for: that of a source, or of a sink behind the log. It and its
    /// own transforms are not waited for any more: the others start, and it joins them when it is open.
    fn waive(&self, step: &Step) {
        let sources = self.pipeline.sources.iter().map(|source| (&source.step, &source.chain));
        let sinks = self.pipeline.sinks.iter().map(|sink| (&sink.step, &sink.chain));
        let sinks = sinks.filter(|_| self.pipeline.through_log);
        let is_its = |(of, chain): &(&Step, &Vec<TransformStep>)| {
            let in_chain = self.pipeline.through_log && chain.iter().any(|own| own.step.index == step.index);
            of.index == step.index || in_chain
        };
        let Some((step, chain)) = sources.chain(sinks).find(is_its) else { return };
        let own = chain.iter().map(|transform| transform.step.index);
        let mut state = self.lock();
        for index in std::iter::once(step.index).chain(own) {
            if state.waived.insert(index) {
                state.unopened -= 1;
            }
        }
        self.start_if_open(state);
    }

    fn start_if_open(&self, state: std::sync::MutexGuard<'_, State>) {
        let is_open = state.unopened == 0 && state.phase == Phase::Opening;
        drop(state);
        if is_open {
            info!("pipeline running");
            self.enter(Phase::Running);
        }
    }

    /// One more source has come to its end, or will not be polled any more.
    pub fn input_ended(&self) {
        self.lock().n_inputs -= 1;
    }

    /// Whether nothing new will be polled.
    pub fn is_input_over(&self) -> bool {
        self.phase() >= Phase::Draining || self.lock().n_inputs == 0
    }

    /// Gives something to another thread of the run. Waits while its queue is full, but not beyond the run's end: the
    /// other thread may hang with the queue in its hands.
    pub fn hand_over<T>(&self, queue: &SyncSender<T>, mut item: T) -> Result<(), Ended> {
        loop {
            match queue.try_send(item) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => item = back,
                // Its thread is gone only when the run is over.
                Err(TrySendError::Disconnected(_)) => return Err(Ended),
            }
            self.pause(FULL_QUEUE_WAIT)?;
        }
    }

    /// Nobody waits for this run's committer any more: another run may have begun, and its positions are the newer ones.
    pub fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    pub fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// Waits until every component is open. A drain that comes first ends the wait: there is nothing to finish.
    pub fn wait_open(&self) -> Result<(), Ended> {
        let mut state = self.lock();
        while state.phase == Phase::Opening {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.phase == Phase::Aborting { Err(Ended) } else { Ok(()) }
    }

    /// `n` new ids in a row; unused ones stay unused.
    pub fn take_ids(&self, n: u64) -> u64 {
        self.next_id.fetch_add(n, Ordering::Relaxed)
    }

    /// A component failed and the run with it. The first failure is the one that counts.
    pub fn fail(&self, step: &Step, call: &'static str, error: &Error, is_permanent: bool) -> Ended {
        let seen = SeenError::new(call, error);
        self.status.set_component_error(step.index, ComponentState::Failed, seen.clone());
        self.fail_as(&step.name, seen, error.message(), is_permanent || error.kind() == ErrorKind::CONFIG);
        Ended
    }

    /// A record failed at a component that is told to stop then. What the record's error says is shown and not logged:
    /// it may quote the value.
    pub fn stop_at(&self, step: &Step, error: &Error) -> Ended {
        const STOPPED: &str = "a record failed and `on_error.then` is `stop`";
        let seen = SeenError::new("record", error);
        let seen = SeenError { message: format!("{STOPPED}: {}", seen.message), ..seen };
        self.status.set_component_error(step.index, ComponentState::Failed, seen.clone());
        self.fail_as(&step.name, seen, STOPPED, true);
        Ended
    }

    fn fail_as(&self, component: &str, seen: SeenError, logged: &str, is_permanent: bool) {
        let mut state = self.lock();
        let is_first = state.failure.is_none() && state.phase != Phase::Aborting;
        if is_first {
            state.failure =
                Some(Failure { component: component.to_owned(), error: seen.clone(), is_permanent });
        }
        drop(state);
        if is_first {
            error!(component, call = seen.call, kind = seen.kind, error = logged, "task failed");
        }
        self.enter(Phase::Aborting);
    }

    /// Whether the committer was told before; it is from now on.
    pub fn is_closing(&self) -> bool {
        std::mem::replace(&mut self.lock().is_closing, true)
    }

    /// What is in flight could not be finished within the grace period.
    pub fn fail_to_drain(&self) {
        let used = self.in_flight.used();
        let message = format!("the grace period is over with {} records in flight", used.records);
        self.fail_as(&self.pipeline.name, SeenError::new("drain", &Error::fatal(&message)), &message, true);
    }

    /// A thread of the host itself panicked: a defect of the host, which must not look like an orderly end.
    pub fn fail_by_panic(&self, component: &str) {
        let error = Error::fatal("the host's own thread panicked; this is a defect of the host");
        self.fail_as(component, SeenError::new("host", &error), error.message(), false);
    }

    /// How many calls of this run hang, each with a thread that is left behind.
    pub fn n_hung(&self) -> u64 {
        self.n_hung.load(Ordering::Relaxed)
    }

    pub fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// Watches the calls of a component: one that hangs fails the run.
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
                run.fail_as(&name, seen, &logged, false);
                run.n_hung.fetch_add(1, Ordering::Relaxed);
                if let Some(thread) = thread {
                    let _ = run.hung.send(thread);
                }
            },
        )
    }

    /// What a component is given at its start.
    pub fn parts(self: &Arc<Self>, step: &Step, positions: Vec<Position>, is_source: bool) -> ComponentParts {
        let cell = RArc::new(StopCell { stopping: 0.into() });
        let mut state = self.lock();
        let stop = Stop { cell: cell.clone(), is_source };
        if state.phase == Phase::Aborting {
            stop.set();
        }
        state.stops.push(stop);
        drop(state);
        ComponentParts {
            pipeline: self.pipeline.name.as_str().into(),
            component: step.name.as_str().into(),
            node_id: self.node_id.as_str().into(),
            base_dir: step.base_dir.to_string_lossy().as_ref().into(),
            keep_failed: true,
            answers: step.component.answers(),
            watchdog_ms: self.watchdog_limit.as_millis() as u64,
            through_log: self.through_log.is_some(),
            heartbeat_interval_ms: self.sync.heartbeat_interval.as_millis() as u64,
            conflict_resolution_interval_ms: self.sync.conflict_resolution_interval.as_millis() as u64,
            cleanup_interval_ms: self.sync.cleanup_interval.as_millis() as u64,
            positions: positions.into(),
            stop: cell,
            host: self.component_host(step),
        }
    }

    fn component_host(self: &Arc<Self>, step: &Step) -> ComponentHostBox {
        let metrics = self.metrics.component_host(step.index);
        match self.through_log {
            Some(_) => log_component_host(self, step, metrics),
            None => metrics,
        }
    }

    /// Opens a component. An endpoint that is away is waited for; anything else fails the run.
    pub fn open<T>(
        &self,
        step: &Step,
        watched: &Watched,
        instance: Instance,
        mut new: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Ended> {
        let mut breaker = super::breaker::Breaker::default();
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
    pub fn tripped(
        &self,
        step: &Step,
        call: Call,
        error: &Error,
        breaker: &mut super::breaker::Breaker,
    ) -> Duration {
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
    pub fn answered(&self, step: &Step, breaker: &mut super::breaker::Breaker) {
        if let Some(away) = breaker.close() {
            info!(component = step.name, seconds = away.as_secs_f32(), "endpoint back, breaker closed");
            self.metrics.breaker_closed(step.index);
            self.status.set_component(step.index, ComponentState::Running);
        }
    }
}

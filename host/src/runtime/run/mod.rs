//! One start of a pipeline: what its threads share until it ends.
//!
//! Whoever fails first says so here; everybody else looks and comes to an end.

mod failing;
mod opening;

pub use failing::Failure;

use super::{
    dead_letter::DeadLetters,
    flight::InFlight,
    metrics::PipelineMetrics,
    status::{PipelineState, StatusBoard},
    through_log::{Endpoints, ThroughLog, log_component_host},
    watchdog::Watchdog,
};
use crate::config::SyncSettings;
use crate::pipeline::{Pipeline, Step};
use crate::registry::{CatchUpCell, ComponentParts, RArc, StopCell};
use crate::store::Store;
use lockstep_plugin_api::{Position, abi::vtable::ComponentHostBox};
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
    pub endpoints: Endpoints,
    through_log: Option<ThroughLog>,
    is_abandoned: AtomicBool,
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
    /// Components that are not open yet and waited for.
    unopened: HashSet<usize>,
    /// How many sources may still be polled.
    n_inputs: usize,
    failure: Option<Failure>,
    n_hung: u64,
    /// Whether the committer was told to settle what is left.
    is_closing: bool,
    /// Told to come to an end when the run does.
    stops: Vec<Stop>,
}

/// The stop signal of one component, shared with its plugin.
struct Stop {
    cell: RArc<StopCell>,
    index: usize,
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
            endpoints: Endpoints::default(),
            through_log: with.through_log,
            hung: with.hung,
            is_abandoned: AtomicBool::new(false),
            next_id: AtomicU64::new(if pipeline.through_log { FIRST_ID_BESIDE_REVISIONS } else { 1 }),
            phase: AtomicU8::new(Phase::Opening as u8),
            state: Mutex::new(State {
                phase: Phase::Opening,
                unopened: pipeline.steps().map(|step| step.index).collect(),
                n_inputs: pipeline.sources.len(),
                failure: None,
                n_hung: 0,
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

    /// Whether the committer was told before; it is from now on.
    pub fn is_closing(&self) -> bool {
        std::mem::replace(&mut self.lock().is_closing, true)
    }

    /// What a component is given at its start.
    pub fn parts(self: &Arc<Self>, step: &Step, positions: Vec<Position>, is_source: bool) -> ComponentParts {
        let cell = RArc::new(StopCell { stopping: 0.into() });
        let mut state = self.lock();
        let stop = Stop { cell: cell.clone(), index: step.index, is_source };
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
            before_log: self.through_log.is_some() && self.pipeline.is_before_log(step),
            heartbeat_interval_ms: self.sync.heartbeat_interval.as_millis() as u64,
            conflict_resolution_interval_ms: self.sync.conflict_resolution_interval.as_millis() as u64,
            cleanup_interval_ms: self.sync.cleanup_interval.as_millis() as u64,
            positions: positions.into(),
            stop: cell,
            catch_up: RArc::new(CatchUpCell::default()),
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
}

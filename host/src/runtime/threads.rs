//! The threads of one run: one per source, one for the chain where several sources share it, one per sink, one that
//! commits. Bounded channels between them.

use super::{
    committer::{Committer, Progress, Unsettled},
    dead_letter::{Claim, DeadLetter},
    flight::{Flight, Origin},
    route::{Delivery, Route, takes},
    run::{Ended, Run},
    sink_task,
    source_task::{self, ChainInput, SourceSeat, Way},
    through_log,
};
use lockstep_plugin_api::{Batch, Record, abi::Records};
use std::{
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender, SyncSender, TrySendError},
    },
    thread::{Builder, JoinHandle, ThreadId},
};
use tracing::error_span;

/// Batches that may wait for one sink or for the chain. What is in flight is bounded apart from this, in records and
/// bytes; this only lets a fast sink go ahead of a slow one.
const QUEUED_BATCHES: usize = 256;

/// The threads of a run and the ways into it.
pub struct Threads {
    pub progress: Sender<Progress>,
    pub entrances: Option<Entrances>,
    pub running: Vec<ThreadId>,
    pub committer: JoinHandle<()>,
    /// Every thread says here that it has ended; the committer does not.
    pub ended: Receiver<ThreadId>,
    end: Sender<ThreadId>,
    pub sources: Vec<ThreadId>,
    /// By sink.
    pub sinks: Vec<ThreadId>,
    /// Of sinks behind the log, which are started again: where dead letters enter.
    queues: Vec<Option<SinkQueue>>,
}

/// What waits for a sink's thread, and for the next one if it is started again.
pub type SinkQueue = Arc<Mutex<Receiver<Delivery>>>;

/// Why a dead letter could not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such component any more, or it failed and is not started again.
    Gone,
    /// Its queue is full.
    Behind,
    /// The sink's condition does not take the record, or still cannot be decided.
    ByCondition,
}

impl<T> From<TrySendError<T>> for Refused {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Behind,
            TrySendError::Disconnected(_) => Self::Gone,
        }
    }
}

/// Where a dead letter enters the run again.
#[derive(Clone)]
pub struct Entrances {
    progress: Sender<Progress>,
    sources: Vec<SyncSender<ChainInput>>,
    chain: SyncSender<ChainInput>,
    sinks: Vec<SyncSender<Delivery>>,
}

impl Threads {
    /// Starts every thread; each opens its own components.
    pub fn start(run: &Arc<Run>, end: Sender<ThreadId>, ended: Receiver<ThreadId>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "holds two messages per flight, and flights are bounded"
        )]
        let (progress, news) = mpsc::channel();
        let n_sources = run.pipeline.sources.len();
        let unsettled = Arc::new(Unsettled::new(n_sources));
        let committer = start_committer(run, unsettled.clone(), news);
        let mut threads = Self {
            progress,
            entrances: None,
            running: Vec::new(),
            committer,
            ended,
            end,
            sources: Vec::new(),
            sinks: Vec::new(),
            queues: Vec::new(),
        };

        let mut sinks = Vec::new();
        for index in 0..run.pipeline.sinks.len() {
            let (sender, queue) = mpsc::sync_channel(QUEUED_BATCHES);
            sinks.push(sender);
            let queue = Arc::new(Mutex::new(queue));
            threads.queues.push(run.through_log().map(|_| queue.clone()));
            let thread = threads.spawn_sink(run, index, queue);
            threads.sinks.push(thread);
        }
        let (chain, again) = mpsc::sync_channel(QUEUED_BATCHES);
        // A single source runs the chain itself; several share the chain's thread. Through the log there always is one.
        let (mut here, there) = if run.through_log().is_some() {
            threads.start_ingest(run, sinks.clone(), again);
            (None, Some(chain.clone()))
        } else if n_sources == 1 {
            (Some(Way::Here { route: Route::new(sinks.clone()), again }), None)
        } else {
            (None, Some(threads.start_chain(run, Route::new(sinks.clone()), again)))
        };
        let mut sources = Vec::new();
        for (index, source) in run.pipeline.sources.iter().enumerate() {
            let (sender, again) = mpsc::sync_channel(QUEUED_BATCHES);
            sources.push(sender);
            let way = here.take().or_else(|| there.clone().map(Way::There)).expect("one of both was made");
            let (progress, unsettled) = (threads.progress.clone(), unsettled.clone());
            let seat = SourceSeat { index, way, again, progress, unsettled };
            let thread =
                threads.spawn(run, "source", &source.step.name, move |run| source_task::run(run, seat));
            threads.sources.push(thread);
        }
        threads.entrances = Some(Entrances { progress: threads.progress.clone(), sources, chain, sinks });
        threads
    }

    /// The chain's thread takes batches from every source, and dead letters between them.
    fn start_chain(
        &mut self,
        run: &Arc<Run>,
        route: Route,
        again: Receiver<ChainInput>,
    ) -> SyncSender<ChainInput> {
        let (sender, queue) = mpsc::sync_channel(QUEUED_BATCHES);
        self.spawn(run, "chain", "chain", move |run| source_task::run_chain(run, &queue, &again, &route));
        sender
    }

    /// The thread that commits takes batches from every source, operators' changes and dead letters from one queue.
    fn start_ingest(
        &mut self,
        run: &Arc<Run>,
        sinks: Vec<SyncSender<Delivery>>,
        queue: Receiver<ChainInput>,
    ) {
        let progress = self.progress.clone();
        self.spawn(run, "chain", "chain", move |run| {
            let Some(through) = run.through_log() else { return Ok(()) };
            let ended = through_log::ingest(run, through, &queue, progress);
            // Now nothing is committed any more: the sinks come to an end when they have read to the head.
            drop(sinks);
            ended
        });
    }

    fn spawn(
        &mut self,
        run: &Arc<Run>,
        kind: &'static str,
        component: &str,
        body: impl FnOnce(&Arc<Run>) -> Result<(), Ended> + Send + 'static,
    ) -> ThreadId {
        let (run, end, component) = (run.clone(), self.end.clone(), component.to_owned());
        let thread = Builder::new().name(format!("{kind}:{component}")).spawn(move || {
            let span = error_span!("task", pipeline = run.pipeline.name, component);
            // Dropped last, so that the thread has really let go of everything when it says that it ended.
            let _ended = SayEnded { end, run: run.clone(), component: component.clone() };
            let _entered = span.enter();
            let _ = body(&run);
        });
        let thread = thread.expect("the system can start one more thread");
        let thread = thread.thread().id();
        self.running.push(thread);
        thread
    }

    fn spawn_sink(&mut self, run: &Arc<Run>, index: usize, queue: SinkQueue) -> ThreadId {
        let name = &run.pipeline.sinks[index].step.name;
        self.spawn(run, "sink", name, move |run| sink_task::run(run, index, queue))
    }

    /// Starts a sink again whose thread has ended or hangs.
    pub fn restart_sink(&mut self, run: &Arc<Run>, index: usize) -> Option<ThreadId> {
        let queue = self.queues[index].clone()?;
        Some(self.spawn_sink(run, index, queue))
    }

    /// A sink is not started again: what waits for it is given back, and nothing enters there any more.
    pub fn close_sink(&mut self, index: usize) {
        self.queues[index] = None;
    }
}

fn start_committer(run: &Arc<Run>, unsettled: Arc<Unsettled>, news: Receiver<Progress>) -> JoinHandle<()> {
    let run = run.clone();
    let body = move || {
        let _panicking = SayPanicked(run.clone());
        let span = error_span!("task", pipeline = run.pipeline.name, component = "committer");
        let _entered = span.enter();
        Committer::new(&run, &unsettled).run(&news);
    };
    Builder::new().name("committer".to_owned()).spawn(body).expect("the system can start one more thread")
}

/// Says that the committer panicked, which would otherwise look like a pipeline that stands still.
struct SayPanicked(Arc<Run>);

impl Drop for SayPanicked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail_by_panic("committer");
        }
    }
}

/// Says that its thread has ended, however it ends.
struct SayEnded {
    end: Sender<ThreadId>,
    run: Arc<Run>,
    component: String,
}

impl Drop for SayEnded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.run.fail_by_panic(&self.component);
        }
        let _ = self.end.send(std::thread::current().id());
    }
}

impl Entrances {
    /// Where the end of a flight is told.
    pub fn progress(&self) -> Sender<Progress> {
        self.progress.clone()
    }

    /// Puts something into the chain's queue, if there is room.
    pub fn enter_chain(&self, input: ChainInput) -> Result<(), Refused> {
        self.chain.try_send(input).map_err(Refused::from)
    }

    /// Puts a dead letter where it failed. Waits for nothing: a component that is behind takes no dead letters.
    pub fn enter(&self, run: &Run, letter: &DeadLetter, claim: Claim, record: Record) -> Result<(), Refused> {
        let (component, kind) = (letter.component.as_str(), letter.kind.as_str());
        let ids = record.id()..record.id() + 1;
        let origin = Origin::DeadLetter { claim };
        let flight = Flight::new(origin, ids, record.size() as u64, self.progress.clone());
        let flight = Arc::new(flight);
        let pipeline = &run.pipeline;
        let in_chain = |chain: &[crate::pipeline::TransformStep]| {
            chain.iter().position(|transform| kind == "transform" && transform.step.name == component)
        };
        let input =
            |from| ChainInput { flight: flight.clone(), records: Records::from(vec![record.clone()]), from };
        for (source, sender) in pipeline.sources.iter().zip(&self.sources) {
            let is_here = kind == "source" && source.step.name == component;
            if let Some(from) = in_chain(&source.chain).or(is_here.then_some(0)) {
                return sender.try_send(input(from)).map_err(Refused::from);
            }
        }
        if let Some(from) = in_chain(&pipeline.transforms) {
            return self.chain.try_send(input(from)).map_err(Refused::from);
        }
        for (sink, sender) in pipeline.sinks.iter().zip(&self.sinks) {
            let is_here = kind == "sink" && sink.step.name == component;
            // A record that the sink's condition could not decide about has not been through the sink's own chain.
            let at_sink = if letter.is_undecided { 0 } else { sink.chain.len() };
            if let Some(from) = in_chain(&sink.chain).or(is_here.then_some(at_sink)) {
                if is_here && letter.is_undecided && takes(&pipeline.sinks, sink, &record) != Ok(true) {
                    return Err(Refused::ByCondition);
                }
                let batch = Batch::new(vec![record.clone()]);
                let delivery = Delivery { flight: flight.clone(), batch, from };
                return sender.try_send(delivery).map_err(Refused::from);
            }
        }
        Err(Refused::Gone)
    }
}

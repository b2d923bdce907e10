//! The log once more for one sink: pages through the sink's own `when` and a second instance of its chain, so that
//! nothing a chain masks or withholds leaks.
//!
//! Runs on the caller's thread and, for the chain, on one of its own that starts with the first replay: never on the
//! thread that delivers.

use super::{
    super::{
        chain::{Chain, Instance},
        flight::{Flight, Origin},
        route::part_of,
        run::{Ended, Run},
    },
    BATCH_BYTES, ThroughLog,
};
use lockstep_plugin_api::{
    Batch, Error, Record,
    abi::{Records, vtable::ReplayedParts},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::Builder,
    time::Duration,
};
use tracing::{error_span, warn};

/// How long the chain's thread waits before it looks whether its run is over.
const LOOK: Duration = Duration::from_millis(100);

/// The most entries of one page, whatever is asked for.
const MAX_RECORDS: usize = 10_000;

/// The way into the second chain of one sink.
#[derive(Debug, Default)]
pub struct Replays(Mutex<Option<SyncSender<Request>>>);

#[derive(Debug)]
struct Request {
    records: Records,
    answer: SyncSender<Records>,
}

/// A page of the log as a sink is to see it.
pub fn replay(
    run: &Arc<Run>,
    through: &ThroughLog,
    sink: usize,
    after: u64,
    is_current: bool,
    limit: u32,
) -> Result<ReplayedParts, Error> {
    let (log, limit) = (&through.host.log, (limit as usize).clamp(1, MAX_RECORDS));
    let head = log.head();
    let page = match is_current {
        true => log.current(after, limit, BATCH_BYTES),
        false => log.read(after, limit, BATCH_BYTES),
    };
    let page = page.map_err(super::component_host::store_error)?;
    through.answered.wait(run, page.through).map_err(|Ended| over())?;
    let sinks = &run.pipeline.sinks;
    let (part, undecided) = part_of(sinks, sink, &page.batch);
    if !undecided.is_empty() {
        left_out(run, sink, undecided.len());
    }
    let records = match sinks[sink].chain.is_empty() {
        true => copy(&part),
        false => through.replays[sink].apply(run, sink, copy(&part))?,
    };
    Ok(ReplayedParts {
        records,
        through: page.through,
        is_end: page.through >= head,
        compacted: page.gap.map(|gap| gap.compacted).into(),
    })
}

fn copy(batch: &Batch) -> Records {
    batch.iter().cloned().collect()
}

fn over() -> Error {
    Error::rejected("unavailable", "the pipeline is over, or the sink is started again")
}

fn left_out(run: &Run, sink: usize, records: usize) {
    let component = &run.pipeline.sinks[sink].step.name;
    warn!(component, records, "left out of a replay, for they fail on their way to the sink");
}

impl Replays {
    /// The next replay starts a chain of its own.
    pub fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn apply(&self, run: &Arc<Run>, sink: usize, records: Records) -> Result<Records, Error> {
        if records.is_empty() {
            return Ok(records);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        self.entrance(run, sink).send(Request { records, answer }).map_err(|_| over())?;
        answered.recv().map_err(|_| over())
    }

    fn entrance(&self, run: &Arc<Run>, sink: usize) -> SyncSender<Request> {
        let mut entrance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entrance.get_or_insert_with(|| start(run, sink)).clone()
    }
}

fn start(run: &Arc<Run>, sink: usize) -> SyncSender<Request> {
    let (entrance, requests) = mpsc::sync_channel(1);
    let (run, name) = (run.clone(), run.pipeline.sinks[sink].step.name.clone());
    let body = move || {
        let span = error_span!("task", pipeline = run.pipeline.name, component = name);
        let _entered = span.enter();
        let _ = serve(&run, sink, &requests);
    };
    let thread = Builder::new().name(format!("replay:{sink}")).spawn(body);
    thread.expect("the system can start one more thread");
    entrance
}

/// Ends with the run; whoever waits then hears that it is over.
fn serve(run: &Arc<Run>, sink: usize, requests: &Receiver<Request>) -> Result<(), Ended> {
    let mut chain = Chain::open_held(run, &run.pipeline.sinks[sink].chain, Instance::Second)?;
    loop {
        run.go_on()?;
        let Request { records, answer } = match requests.recv_timeout(LOOK) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let records = chain.apply(&flight(&records), records, 0)?;
        let n_failed: usize = chain.take_held().failed.iter().map(|(_, failed)| failed.len()).sum();
        if n_failed > 0 {
            left_out(run, sink, n_failed);
        }
        let _ = answer.send(records);
    }
}

/// Nobody waits for its end.
fn flight(records: &Records) -> Flight {
    #[expect(clippy::disallowed_methods, reason = "nothing is sent on it")]
    let (progress, _) = mpsc::channel();
    let through = records.last().map_or(0, Record::id);
    let first = records.first().map_or(0, Record::id);
    Flight::new(Origin::Log { through }, first..through + 1, 0, progress)
}

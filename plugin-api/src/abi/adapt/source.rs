//! Sources as the host sees them: a `poll` that stamps ids, and a reply handle beside it.

use crate::{
    abi::{
        Bytes,
        adapt::checked_config,
        guard::{self, Contained, answer, guard},
        runtime::{self, Item},
        vtable::{
            Answer, ComponentParts, OpenedSource, OutcomeParts, SourceReplies, SourceReplies_TO, SourceTask,
            SourceTask_TO,
        },
    },
    context::Context,
    error::{Error, Result},
    record::Record,
    source::{AsyncSource, Emitter, Outcome, OutcomeResult, Replies, Source},
};
use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RArc, RVec},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tracing::Instrument;

/// How many records an async source may be ahead of `poll`.
const EMITTED_AHEAD: usize = 1024;

/// Makes a blocking source from its configuration.
pub fn source<T: Source>(config: &str, parts: ComponentParts) -> Result<OpenedSource> {
    let context = Context::new(parts);
    let mut component = T::new(checked_config(config, T::check)?, &context)?;
    let replies = component.replies();
    let contained = Contained::new(component, context.component(), context.fault());
    let task = SourceTask_TO::from_value(Blocking(contained), TD_Opaque);
    Ok(OpenedSource { task, replies: replies_box(replies, None) })
}

struct Blocking<T>(Contained<T>);

impl<T: Source> SourceTask for Blocking<T> {
    fn poll(&mut self, first_id: u64, max_records: u32, max_wait_ms: u32) -> Answer<RVec<Record>> {
        let wait = Duration::from_millis(max_wait_ms.into());
        answer(self.0.enter("poll", |source| {
            let mut records = source.poll(max_records as usize, wait)?;
            stamp(&mut records, first_id);
            Ok(RVec::from(records))
        }))
    }
}

fn stamp(records: &mut [Record], first_id: u64) {
    for (id, record) in (first_id..).zip(records) {
        record.set_id(id);
    }
}

/// Makes an async source from its configuration and starts its task.
pub fn async_source<T: AsyncSource>(config: &str, parts: ComponentParts) -> Result<OpenedSource> {
    let context = Context::new(parts);
    let config = checked_config(config, T::check)?;
    let entered = runtime::handle().enter();
    let mut component = T::new(config, &context)?;
    let replies = component.replies();
    let (items, received) = mpsc::channel(EMITTED_AHEAD);
    let span = tracing::error_span!("source", pipeline = context.pipeline(), component = context.component());
    let run = runtime::handle().spawn(component.run(Emitter { items }).instrument(span));
    drop(entered);
    let pending = Arc::new(PendingReplies::default());
    let running = Running { received, run: Some(run), pending: pending.clone(), buffer: Vec::new() };
    let contained = Contained::new(running, context.component(), context.fault());
    let task = SourceTask_TO::from_value(Async(contained), TD_Opaque);
    Ok(OpenedSource { task, replies: replies_box(replies, Some(pending)) })
}

struct Async(Contained<Running>);

/// The `run` task of an async source and the records it has emitted.
struct Running {
    received: mpsc::Receiver<Item>,
    run: Option<JoinHandle<Result<()>>>,
    pending: Arc<PendingReplies>,
    /// Kept between polls so that `recv_many` allocates once.
    buffer: Vec<Item>,
}

impl SourceTask for Async {
    fn poll(&mut self, first_id: u64, max_records: u32, max_wait_ms: u32) -> Answer<RVec<Record>> {
        let wait = Duration::from_millis(max_wait_ms.into());
        answer(self.0.enter("poll", |running| running.poll(first_id, max_records as usize, wait)))
    }
}

impl Running {
    fn poll(&mut self, first_id: u64, max: usize, wait: Duration) -> Result<RVec<Record>> {
        let Self { received, buffer, .. } = self;
        let n_received =
            runtime::handle().block_on(async { timeout(wait, received.recv_many(buffer, max)).await });
        match n_received {
            Err(_elapsed) => return Ok(RVec::new()),
            Ok(0) => return Err(self.ended()),
            Ok(_) => {}
        }
        let mut records = RVec::with_capacity(self.buffer.len());
        for (id, mut item) in (first_id..).zip(self.buffer.drain(..)) {
            item.record.set_id(id);
            // Registered before the host can know the id, so an outcome always finds its receiver.
            if let Some(reply) = item.reply {
                self.pending.insert(id, reply);
            }
            records.push(item.record);
        }
        Ok(records)
    }

    /// Why the task let go of its emitter: it is over, and everything it emitted has been polled.
    fn ended(&mut self) -> Error {
        let Some(run) = self.run.take() else { return Error::end_of_input() };
        match guard::join("run", runtime::handle().block_on(run)) {
            Ok(Ok(())) => Error::end_of_input(),
            Ok(Err(error)) | Err(error) => error,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            run.abort();
            // Whatever the task owned (sockets, ports) is free again when the source is gone, unless the task does not
            // come back to the runtime in time.
            let _ = runtime::handle().block_on(async { timeout(Duration::from_secs(1), run).await });
        }
    }
}

/// Who waits for the outcome of which id.
#[derive(Default)]
struct PendingReplies(Mutex<HashMap<u64, oneshot::Sender<OutcomeResult>>>);

impl PendingReplies {
    fn insert(&self, id: u64, reply: oneshot::Sender<OutcomeResult>) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(id, reply);
    }

    fn settle(&self, outcomes: &[Outcome]) {
        let mut pending = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for outcome in outcomes {
            if let Some(reply) = pending.remove(&outcome.id) {
                // Nobody waits any more: the author's connection is gone.
                let _ = reply.send(outcome.result.clone());
            }
        }
    }
}

struct ReplyAdapter {
    replies: Box<dyn Replies>,
    pending: Option<Arc<PendingReplies>>,
}

fn replies_box(
    replies: Box<dyn Replies>,
    pending: Option<Arc<PendingReplies>>,
) -> crate::abi::vtable::RepliesBox {
    SourceReplies_TO::from_ptr(RArc::new(ReplyAdapter { replies, pending }), TD_Opaque)
}

impl SourceReplies for ReplyAdapter {
    fn outcomes(&self, outcomes: RVec<OutcomeParts>) -> Answer<()> {
        let outcomes: Vec<Outcome> = outcomes.into_iter().map(Outcome::from).collect();
        answer(guard("outcomes", || {
            if let Some(pending) = &self.pending {
                pending.settle(&outcomes);
            }
            self.replies.outcomes(outcomes);
            Ok(())
        }))
    }

    fn commit(&self, lane: u32, position: Bytes) -> Answer<()> {
        answer(guard("commit", || self.replies.commit(lane, &position)))
    }
}

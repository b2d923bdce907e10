//! An [`AsyncSource`] as the host sees it: its `run` is a task, and `poll` takes what the task emitted.

use crate::{
    abi::{
        adapt::{
            abort, checked_config,
            replies::{PendingReplies, replies_box},
        },
        guard::{self, Contained, answer, guard},
        runtime::{self, Item},
        vtable::{Answer, ComponentParts, OpenedSource, SourceTask, SourceTask_TO},
    },
    context::Context,
    error::{Error, Result},
    record::Record,
    source::{AsyncSource, EMITTED_BYTES, Emitter},
};
use abi_stable::{sabi_trait::prelude::TD_Opaque, std_types::RVec};
use std::{sync::Arc, time::Duration};
use tokio::{
    select,
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinHandle},
    time::timeout,
};
use tracing::Instrument;

/// How many records an async source may be ahead of `poll`.
const EMITTED_AHEAD: usize = 1024;

/// Makes an async source from its configuration and starts its task.
pub fn async_source<T: AsyncSource>(config: &str, parts: ComponentParts) -> Result<OpenedSource> {
    let context = Context::new(parts);
    let name = context.component();
    let config = checked_config(config, T::check)?;
    let entered = runtime::handle().enter();
    let mut component = Contained::new(T::new(config, &context)?, name, context.fault());
    let pending = Arc::<PendingReplies>::default();
    let replies =
        component.enter("replies", |source| Ok(replies_box(source.replies(), pending.clone(), name)))?;
    let (items, received) = mpsc::channel(EMITTED_AHEAD);
    let room = Arc::new(Semaphore::new(EMITTED_BYTES));
    let emitter = Emitter { items, room: room.clone(), hears_outcomes: context.hears_outcomes() };
    let span = tracing::error_span!("source", pipeline = context.pipeline(), component = name);
    let run = guard("run", || Ok(component.into_inner().run(emitter)))?;
    let run = Run::Going(runtime::handle().spawn(run.instrument(span)));
    drop(entered);
    let running = Running { name: name.to_owned(), received, room, run, pending, buffer: Vec::new() };
    let task = Async(Contained::new(running, name, context.fault()));
    Ok(OpenedSource { task: SourceTask_TO::from_value(task, TD_Opaque), replies })
}

struct Async(Contained<Running>);

/// The `run` task of an async source and the records it has emitted.
struct Running {
    name: String,
    received: mpsc::Receiver<Item>,
    /// What the emitters may still hold, in bytes.
    room: Arc<Semaphore>,
    run: Run,
    pending: Arc<PendingReplies>,
    /// Received and not yet polled: what did not fit into the last poll.
    buffer: Vec<Item>,
}

enum Run {
    Going(JoinHandle<Result<()>>),
    /// Told by every poll from the last record on.
    Ended(Error),
}

impl SourceTask for Async {
    fn poll(
        &mut self,
        first_id: u64,
        max_records: u32,
        max_bytes: u64,
        max_wait_ms: u32,
    ) -> Answer<RVec<Record>> {
        let (max, wait) = (max_records as usize, Duration::from_millis(max_wait_ms.into()));
        answer(self.0.enter("poll", |running| running.poll(first_id, max, max_bytes, wait)))
    }
}

impl Running {
    fn poll(&mut self, first_id: u64, max: usize, max_bytes: u64, wait: Duration) -> Result<RVec<Record>> {
        if self.buffer.is_empty() && max > 0 {
            let received = self.receive(max);
            match runtime::handle().block_on(async { timeout(wait, received).await }) {
                Ok(received) => received?,
                Err(_elapsed) => return Ok(RVec::new()),
            }
        }
        Ok(self.hand_over(first_id, self.n_fitting(max, max_bytes)))
    }

    /// Waits until something was emitted or `run` ended. May be cancelled at any time.
    async fn receive(&mut self, max: usize) -> Result<()> {
        if let Run::Going(run) = &mut self.run {
            // Without emitters nothing can come any more, but it is `run` that says how it ended.
            let joined = select! {
                biased;
                1.. = self.received.recv_many(&mut self.buffer, max) => return Ok(()),
                joined = run => joined,
            };
            self.run = Run::Ended(end_of_run(joined));
            self.stop_listening();
        }
        // What was emitted before the end comes before it.
        match (self.received.recv_many(&mut self.buffer, max).await, &self.run) {
            (0, Run::Ended(end)) => Err(end.clone()),
            _ => Ok(()),
        }
    }

    /// Emitters that live on get an error instead of waiting.
    fn stop_listening(&mut self) {
        self.received.close();
        self.room.close();
    }

    /// How many of the received records a poll may give: one that is too large by itself is given alone.
    fn n_fitting(&self, max: usize, max_bytes: u64) -> usize {
        let mut left = max_bytes;
        let fitting = self.buffer.iter().take(max).take_while(|item| {
            let fits = item.n_bytes as u64 <= left;
            left = left.saturating_sub(item.n_bytes as u64);
            fits
        });
        fitting.count().max(1).min(max).min(self.buffer.len())
    }

    fn hand_over(&mut self, first_id: u64, n_records: usize) -> RVec<Record> {
        let mut records = RVec::with_capacity(n_records);
        let mut freed = 0;
        for (id, mut item) in (first_id..).zip(self.buffer.drain(..n_records)) {
            freed += item.room();
            item.record.set_id(id);
            // Registered before the host can know the id, so an outcome always finds its receiver.
            if let Some(reply) = item.reply {
                self.pending.insert(id, reply);
            }
            records.push(item.record);
        }
        self.room.add_permits(freed);
        records
    }
}

/// What `run` ended with, for good: the host must open the source again to have another `run`, so an endpoint that is
/// away is no reason to poll once more.
fn end_of_run(joined: Result<Result<()>, JoinError>) -> Error {
    match guard::join("run", joined).flatten() {
        Ok(()) => Error::end_of_input(),
        Err(error) if error.kind().is_about_endpoint() => Error::fatal(format!("run ended: {error}")),
        Err(error) => error,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_listening();
        if let Run::Going(run) = &mut self.run {
            abort(&self.name, run);
        }
    }
}

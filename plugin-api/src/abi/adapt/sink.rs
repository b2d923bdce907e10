//! Sinks as the host sees them: `put` starts a batch, `acked` tells how far the sink has come.

use crate::{
    abi::{
        adapt::checked_config,
        guard::{self, Contained, answer},
        runtime,
        vtable::{AckedParts, Answer, ComponentParts, FailedId, SinkBox, SinkTask, SinkTask_TO},
    },
    context::Context,
    error::{Error, Result},
    record::Batch,
    sink::{Acked, AsyncSink, Failures, PipelinedSink, Sink},
};
use abi_stable::sabi_trait::prelude::TD_Opaque;
use std::{mem, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tracing::Instrument;

/// Makes a pipelined sink from its configuration.
pub fn pipelined_sink<T: PipelinedSink>(config: &str, parts: ComponentParts) -> Result<SinkBox> {
    let context = Context::new(parts);
    let component = T::new(checked_config(config, T::check)?, &context)?;
    Ok(sink_box(Pipelined(component), &context))
}

/// Makes a sink that writes one batch at a time from its configuration.
pub fn sink<T: Sink>(config: &str, parts: ComponentParts) -> Result<SinkBox> {
    let context = Context::new(parts);
    let sink = T::new(checked_config(config, T::check)?, &context)?;
    Ok(sink_box(OneByOne { sink, acked: Acked::default() }, &context))
}

/// Makes an async sink from its configuration and starts its task.
pub fn async_sink<T: AsyncSink>(config: &str, parts: ComponentParts) -> Result<SinkBox> {
    let context = Context::new(parts);
    let config = checked_config(config, T::check)?;
    let entered = runtime::handle().enter();
    let sink = T::new(config, &context)?;
    drop(entered);
    Ok(sink_box(OnRuntime::start(sink, &context), &context))
}

/// The three calls, whatever kind of sink the author wrote.
trait AnySink: Send + 'static {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()>;
    fn acked(&mut self, wait: Duration) -> Result<Acked>;
    fn flush(&mut self, deadline: Duration) -> Result<()>;
}

fn sink_box<T: AnySink>(sink: T, context: &Context) -> SinkBox {
    SinkTask_TO::from_value(Adapter(Contained::new(sink, context.component(), context.fault())), TD_Opaque)
}

struct Adapter<T>(Contained<T>);

impl<T: AnySink> SinkTask for Adapter<T> {
    fn put(&mut self, seq: u64, batch: Batch) -> Answer<()> {
        answer(self.0.enter("put", |sink| sink.put(seq, batch)))
    }

    fn acked(&mut self, max_wait_ms: u32) -> Answer<AckedParts> {
        let wait = Duration::from_millis(max_wait_ms.into());
        answer(self.0.enter("acked", |sink| sink.acked(wait).map(AckedParts::from)))
    }

    fn flush(&mut self, deadline_ms: u32) -> Answer<()> {
        let deadline = Duration::from_millis(deadline_ms.into());
        answer(self.0.enter("flush", |sink| sink.flush(deadline)))
    }
}

impl From<Acked> for AckedParts {
    fn from(acked: Acked) -> Self {
        let failed = acked.failed.into_iter().map(|(id, error)| FailedId { id, error }).collect();
        Self { through_seq: acked.through_seq, failed }
    }
}

/// A [`PipelinedSink`]: its own calls are the boundary's.
struct Pipelined<T>(T);

impl<T: PipelinedSink> AnySink for Pipelined<T> {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        self.0.put(seq, batch)
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        self.0.acked(wait)
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.0.flush(deadline)
    }
}

impl Acked {
    /// Takes the batch's result in; an error about the component or its endpoint is given back.
    fn finish(&mut self, seq: u64, batch: &Batch, written: Result<()>, failures: Failures) -> Result<()> {
        match written {
            Ok(()) => self.failed.extend(failures.failed),
            Err(error) if error.kind().is_about_records() => {
                self.failed.extend(batch.iter().map(|record| (record.id(), error.clone())));
            }
            Err(error) => return Err(error),
        }
        self.through_seq = seq;
        Ok(())
    }

    /// The news since the last call: how far, and which failed since.
    fn take(&mut self) -> Self {
        Self { through_seq: self.through_seq, failed: mem::take(&mut self.failed) }
    }
}

/// A [`Sink`]: a batch is acked when `put` returns.
struct OneByOne<T> {
    sink: T,
    acked: Acked,
}

impl<T: Sink> AnySink for OneByOne<T> {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        let mut failures = Failures::default();
        let written = self.sink.write(&batch, &mut failures);
        self.acked.finish(seq, &batch, written, failures)
    }

    fn acked(&mut self, _wait: Duration) -> Result<Acked> {
        Ok(self.acked.take())
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.sink.flush(deadline)
    }
}

/// How many batches wait for an async sink before `put` waits too.
const QUEUED_BATCHES: usize = 4;

/// What the task of an async sink is asked to do.
enum Command {
    /// `attempt` grows with every error, so that batches put before the host learned of it are not written out of order.
    Write {
        attempt: u64,
        seq: u64,
        batch: Batch,
    },
    Flush(oneshot::Sender<Result<()>>),
}

/// What became of one batch.
struct Written {
    attempt: u64,
    seq: u64,
    batch: Batch,
    result: Result<()>,
    failures: Failures,
}

/// An [`AsyncSink`] and the task it runs in.
struct OnRuntime {
    commands: mpsc::Sender<Command>,
    written: mpsc::UnboundedReceiver<Written>,
    task: Option<JoinHandle<()>>,
    attempt: u64,
    acked: Acked,
}

impl OnRuntime {
    fn start<T: AsyncSink>(sink: T, context: &Context) -> Self {
        let (commands, received) = mpsc::channel(QUEUED_BATCHES);
        #[expect(
            clippy::disallowed_methods,
            reason = "one answer per command, and the host bounds what is in flight"
        )]
        let (answers, written) = mpsc::unbounded_channel();
        let span =
            tracing::error_span!("sink", pipeline = context.pipeline(), component = context.component());
        let task = runtime::handle().spawn(write_all(sink, received, answers).instrument(span));
        Self { commands, written, task: Some(task), attempt: 0, acked: Acked::default() }
    }

    fn send(&mut self, command: Command) -> Result<()> {
        match runtime::handle().block_on(self.commands.send(command)) {
            Ok(()) => Ok(()),
            Err(_closed) => Err(self.ended()),
        }
    }

    fn take(&mut self, written: Written) -> Result<()> {
        if written.attempt != self.attempt {
            return Ok(());
        }
        let finished = self.acked.finish(written.seq, &written.batch, written.result, written.failures);
        if finished.is_err() {
            self.attempt += 1;
        }
        finished
    }

    /// The task is gone, so it panicked: nothing else ends it while this handle lives.
    fn ended(&mut self) -> Error {
        let Some(task) = self.task.take() else { return Error::fatal("the sink's task has ended") };
        guard::join("write", runtime::handle().block_on(task))
            .err()
            .unwrap_or_else(|| Error::fatal("the sink's task has ended"))
    }
}

async fn write_all<T: AsyncSink>(
    mut sink: T,
    mut commands: mpsc::Receiver<Command>,
    answers: mpsc::UnboundedSender<Written>,
) {
    let mut broken_attempt = None;
    while let Some(command) = commands.recv().await {
        match command {
            Command::Write { attempt, .. } if broken_attempt == Some(attempt) => {}
            Command::Write { attempt, seq, batch } => {
                let mut failures = Failures::default();
                let result = sink.write(&batch, &mut failures).await;
                if result.as_ref().is_err_and(|error| !error.kind().is_about_records()) {
                    broken_attempt = Some(attempt);
                }
                let _ = answers.send(Written { attempt, seq, batch, result, failures });
            }
            Command::Flush(done) => {
                let _ = done.send(sink.flush().await);
            }
        }
    }
}

impl AnySink for OnRuntime {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        self.send(Command::Write { attempt: self.attempt, seq, batch })
    }

    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        let written = &mut self.written;
        match runtime::handle().block_on(async { timeout(wait, written.recv()).await }) {
            Ok(Some(first)) => self.take(first)?,
            Ok(None) => return Err(self.ended()),
            Err(_elapsed) => {}
        }
        while let Ok(more) = self.written.try_recv() {
            self.take(more)?;
        }
        Ok(self.acked.take())
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        let (done, flushed) = oneshot::channel();
        self.send(Command::Flush(done))?;
        match runtime::handle().block_on(async { timeout(deadline, flushed).await }) {
            Ok(Ok(result)) => result,
            Ok(Err(_closed)) => Err(self.ended()),
            Err(_elapsed) => Err(Error::fatal("the flush did not end in time")),
        }
    }
}

impl Drop for OnRuntime {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = runtime::handle().block_on(async { timeout(Duration::from_secs(1), task).await });
        }
    }
}

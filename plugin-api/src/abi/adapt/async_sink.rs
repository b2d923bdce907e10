//! An [`AsyncSink`] as the host sees it: a task that writes, asked and heard over channels. No call waits for a write.

use crate::{
    abi::{
        adapt::{
            abort, checked_config,
            sink::{AnySink, sink_box},
        },
        guard, runtime,
        vtable::{ComponentParts, SinkBox},
    },
    context::Context,
    error::{Error, Result},
    record::Batch,
    sink::{Acked, AsyncSink, Failures},
};
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::JoinHandle,
    time::timeout,
};
use tracing::Instrument;

/// How many batches wait for the task. A host has at most 64 in flight, and after an error those that were put before
/// it was told may still be here.
const QUEUED_COMMANDS: usize = 128;

/// Makes an async sink from its configuration and starts its task.
pub fn async_sink<T: AsyncSink>(config: &str, parts: ComponentParts) -> Result<SinkBox> {
    let context = Context::new(parts);
    let config = checked_config(config, T::check)?;
    let entered = runtime::handle().enter();
    let sink = T::new(config, &context)?;
    drop(entered);
    Ok(sink_box(OnRuntime::start(sink, &context), &context))
}

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
    name: String,
    commands: mpsc::Sender<Command>,
    written: mpsc::UnboundedReceiver<Written>,
    task: Option<JoinHandle<()>>,
    attempt: u64,
    acked: Acked,
    /// Told once, by the next call after what was written before it has been told. Nothing is put meanwhile.
    error: Option<Error>,
    under_way: Arc<UnderWay>,
    watchdog: Duration,
}

/// Which call the task is in, and since when.
#[derive(Default)]
struct UnderWay(Mutex<Option<(&'static str, Instant)>>);

impl UnderWay {
    async fn during<T>(&self, call: &'static str, future: impl Future<Output = T>) -> T {
        *self.lock() = Some((call, Instant::now()));
        let result = future.await;
        *self.lock() = None;
        result
    }

    /// The host's watchdog does not see the task, so a call that never comes back is found here.
    fn check(&self, watchdog: Duration) -> Result<()> {
        match *self.lock() {
            Some((call, began)) if began.elapsed() >= watchdog => {
                Err(Error::fatal(format!("`{call}` did not come back within {watchdog:?}")))
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(&'static str, Instant)>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl OnRuntime {
    fn start<T: AsyncSink>(sink: T, context: &Context) -> Self {
        let (commands, received) = mpsc::channel(QUEUED_COMMANDS);
        #[expect(
            clippy::disallowed_methods,
            reason = "one answer per command, and the host bounds what is in flight"
        )]
        let (answers, written) = mpsc::unbounded_channel();
        let under_way = Arc::<UnderWay>::default();
        let span =
            tracing::error_span!("sink", pipeline = context.pipeline(), component = context.component());
        let writing = write_all(sink, received, answers, under_way.clone()).instrument(span);
        Self {
            name: context.component().to_owned(),
            commands,
            written,
            task: Some(runtime::handle().spawn(writing)),
            attempt: 0,
            acked: Acked::default(),
            error: None,
            under_way,
            watchdog: context.watchdog(),
        }
    }

    fn send(&mut self, command: Command) -> Result<()> {
        match self.commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Error::fatal("more batches than a host may have in flight")),
            Err(TrySendError::Closed(_)) => Err(self.ended()),
        }
    }

    /// Takes in what the task has written since, waiting for the first.
    fn receive(&mut self, wait: Duration) -> Result<()> {
        let written = &mut self.written;
        match runtime::handle().block_on(async { timeout(wait, written.recv()).await }) {
            Ok(Some(first)) => self.take(first),
            Ok(None) => return Err(self.ended()),
            Err(_elapsed) => {}
        }
        while let Ok(more) = self.written.try_recv() {
            self.take(more);
        }
        Ok(())
    }

    fn take(&mut self, written: Written) {
        if written.attempt != self.attempt {
            return;
        }
        if let Err(error) = self.acked.finish(written.seq, &written.batch, written.result, written.failures) {
            self.attempt += 1;
            self.error = Some(error);
        }
    }

    /// What has to be told before anything else is done.
    fn check(&mut self) -> Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.under_way.check(self.watchdog),
        }
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
    under_way: Arc<UnderWay>,
) {
    let mut broken_attempt = None;
    while let Some(command) = commands.recv().await {
        match command {
            Command::Write { attempt, .. } if broken_attempt == Some(attempt) => {}
            Command::Write { attempt, seq, batch } => {
                let mut failures = Failures::default();
                let result = under_way.during("write", sink.write(&batch, &mut failures)).await;
                if result.as_ref().is_err_and(|error| !error.kind().is_about_records()) {
                    broken_attempt = Some(attempt);
                }
                let _ = answers.send(Written { attempt, seq, batch, result, failures });
            }
            Command::Flush(done) => {
                let _ = done.send(under_way.during("flush", sink.flush()).await);
            }
        }
    }
}

impl AnySink for OnRuntime {
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()> {
        self.check()?;
        self.send(Command::Write { attempt: self.attempt, seq, batch })
    }

    /// What was written is told before an error that came after it: the host puts again what it does not know of.
    fn acked(&mut self, wait: Duration) -> Result<Acked> {
        let told = self.acked.through_seq;
        if self.error.is_none() {
            self.receive(wait)?;
        }
        if self.acked.through_seq == told {
            self.check()?;
        }
        Ok(self.acked.take())
    }

    fn flush(&mut self, deadline: Duration) -> Result<()> {
        self.check()?;
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
        if let Some(task) = &mut self.task {
            abort(&self.name, task);
        }
    }
}

//! Sinks: where records go.

use crate::{
    advice::Advice,
    context::Context,
    error::{Error, Result},
    record::{Batch, Record},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A sink that writes one batch at a time. When `write` returns, the batch is written.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
///
/// #[config]
/// struct PrintConfig {}
/// struct Print;
///
/// impl Sink for Print {
///     type Config = PrintConfig;
///     fn new(_: PrintConfig, _: &Context) -> Result<Self> { Ok(Self) }
///     fn write(&mut self, batch: &[Record], _: &mut Failures) -> Result<()> {
///         for record in batch { println!("{} bytes", record.value().unwrap_or_default().len()) }
///         Ok(())
///     }
/// }
/// ```
pub trait Sink: Sized + Send + 'static {
    /// What `config:` of this sink may say.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks what the configuration's type alone cannot say. Opens nothing and reads no file: `lockstep validate` calls
    /// it too, anywhere.
    ///
    /// # Errors
    /// [`Error::config`], with the field named by [`Error::at`].
    fn check(config: &Self::Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// Says what an operator should know about a configuration that passed `check`. It may read files that the
    /// configuration names, and says so if the component cannot be made with what they hold; it connects to nothing.
    fn advise(config: &Self::Config, advice: &mut Advice) {
        let _ = (config, advice);
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// `Config` keeps the pipeline from starting, anything else is tried again with backoff.
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Writes the records so that they survive whatever this sink promises they survive; single ones that cannot be
    /// written go into `failures`.
    ///
    /// # Errors
    /// `NotConnected` and `Retry`: the whole batch comes again. `Rejected` and any error from `?`: every record of the
    /// batch failed with it. `Fatal` starts the pipeline again.
    fn write(&mut self, batch: &[Record], failures: &mut Failures) -> Result<()>;

    /// Makes durable what `write` left for later. Called when the pipeline drains.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self, deadline: Duration) -> Result<()> {
        let _ = deadline;
        Ok(())
    }
}

/// The records of a batch that could not be written.
#[derive(Debug, Default)]
pub struct Failures {
    pub(crate) failed: Vec<(u64, Error)>,
}

impl Failures {
    /// This record could not be written; the others of the batch were. Records that a transform made of one share its id,
    /// and all of them in this batch count as failed with it.
    pub fn push(&mut self, record: &Record, error: Error) {
        self.failed.push((record.id(), error));
    }
}

/// A sink whose writes are futures on the plugin's own tokio runtime.
///
/// Batches are written one after the other, while the next ones already wait.
pub trait AsyncSink: Sized + Send + 'static {
    /// What `config:` of this sink may say.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks what the configuration's type alone cannot say. Opens nothing and reads no file: `lockstep validate` calls
    /// it too, anywhere.
    ///
    /// # Errors
    /// [`Error::config`], with the field named by [`Error::at`].
    fn check(config: &Self::Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// Says what an operator should know about a configuration that passed `check`. It may read files that the
    /// configuration names, and says so if the component cannot be made with what they hold; it connects to nothing.
    fn advise(config: &Self::Config, advice: &mut Advice) {
        let _ = (config, advice);
    }

    /// Opens the sink. Runs inside the plugin's runtime, so sockets and timers can be made.
    ///
    /// # Errors
    /// As [`Sink::new`].
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// As [`Sink::write`]. A write that takes longer than the host's watchdog (30 s) ends the component, so give what it
    /// waits for a timeout of its own.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn write(&mut self, batch: &[Record], failures: &mut Failures)
    -> impl Future<Output = Result<()>> + Send;

    /// As [`Sink::flush`].
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// A sink that takes many batches before it knows what became of the first, as brokers with delivery reports do.
pub trait PipelinedSink: Sized + Send + 'static {
    /// What `config:` of this sink may say.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks what the configuration's type alone cannot say. Opens nothing and reads no file: `lockstep validate` calls
    /// it too, anywhere.
    ///
    /// # Errors
    /// [`Error::config`], with the field named by [`Error::at`].
    fn check(config: &Self::Config) -> Result<()> {
        let _ = config;
        Ok(())
    }

    /// Says what an operator should know about a configuration that passed `check`. It may read files that the
    /// configuration names, and says so if the component cannot be made with what they hold; it connects to nothing.
    fn advise(config: &Self::Config, advice: &mut Advice) {
        let _ = (config, advice);
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// As [`Sink::new`].
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Starts writing a batch. `seq` grows by one from batch to batch; after an error the host gives every batch that
    /// was not acked again, in order and under its old number.
    ///
    /// # Errors
    /// As [`Sink::write`], but never about records: those go into [`Acked::failed`].
    fn put(&mut self, seq: u64, batch: Batch) -> Result<()>;

    /// How far the sink has come, waiting at most `wait` for news.
    ///
    /// # Errors
    /// As [`PipelinedSink::put`].
    fn acked(&mut self, wait: Duration) -> Result<Acked>;

    /// Finishes what is in flight. Called when the pipeline drains.
    ///
    /// # Errors
    /// As [`PipelinedSink::put`].
    fn flush(&mut self, deadline: Duration) -> Result<()>;
}

/// How far a sink has come.
#[derive(Debug, Default)]
pub struct Acked {
    /// Every batch up to this one is finished; 0 if none is.
    pub through_seq: u64,
    /// Records of finished batches that could not be written, each told once.
    pub failed: Vec<(u64, Error)>,
}

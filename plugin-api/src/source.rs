//! Sources: where records come from.

use crate::{
    abi::{runtime::Item, vtable::OutcomeParts},
    advice::Advice,
    change::Json,
    context::Context,
    error::{Error, Result},
    record::Record,
};
use abi_stable::std_types::{RNone, RSome};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// A source that is asked for records by one thread.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
/// use std::time::Duration;
///
/// #[config]
/// struct CountConfig {
///     /// Where to stop.
///     up_to: u64,
/// }
/// struct Count { next: u64, up_to: u64 }
///
/// impl Source for Count {
///     type Config = CountConfig;
///     fn new(config: CountConfig, context: &Context) -> Result<Self> {
///         let next = context.position(0).map_or(0, |bytes| u64::from_be_bytes(bytes[..].try_into().expect("8 bytes")));
///         Ok(Self { next, up_to: config.up_to })
///     }
///     fn poll(&mut self, max: usize, _wait: Duration) -> Result<Vec<Record>> {
///         if self.next == self.up_to { return Err(Error::end_of_input()) }
///         let end = self.up_to.min(self.next + max as u64);
///         Ok((self.next..end).map(|n| {
///             self.next = n + 1;
///             Record::new(n.to_string()).with_position(Position::new(0, self.next.to_be_bytes().to_vec()))
///         }).collect())
///     }
/// }
/// ```
pub trait Source: Sized + Send + 'static {
    /// What `config:` of this source may say.
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

    /// Opens the source at the positions the context has.
    ///
    /// # Errors
    /// `Config` keeps the pipeline from starting, `NotConnected` is tried again with backoff, anything else too.
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Gives at most `max` records, waiting at most `wait` for the first one. None is an answer. A piece of input that
    /// cannot be read is given too, as a record with an error ([`Record::with_error`]).
    ///
    /// The host bounds what is in flight in bytes too, but cannot know how large the next records are: keep one answer
    /// to a few MiB where records are large.
    ///
    /// # Errors
    /// `EndOfInput` drains the pipeline, `NotConnected` and `Retry` open the breaker, anything else starts the pipeline
    /// again from the committed positions.
    fn poll(&mut self, max: usize, wait: Duration) -> Result<Vec<Record>>;

    /// Called after each poll: record `i` of the `n_records` has the id `first_id + i` in [`Replies::outcomes`].
    fn polled(&mut self, first_id: u64, n_records: usize) {
        let _ = (first_id, n_records);
    }

    /// Where the host says what became of this source's records. Asked once, right after `new`.
    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(NoReplies)
    }
}

/// What a source hears about its records; called from other threads, also while `poll` waits.
pub trait Replies: Send + Sync + 'static {
    /// Tells what became of records, by the ids they had when `poll` returned them.
    fn outcomes(&self, outcomes: Vec<Outcome>) {
        drop(outcomes);
    }

    /// Everything in `lane` up to `position` is written and stored as such: the source may forget it.
    ///
    /// # Errors
    /// Reported and counted; the host's own store already has the position.
    fn commit(&self, lane: u32, position: &[u8]) -> Result<()> {
        let _ = (lane, position);
        Ok(())
    }
}

/// For sources that need to hear nothing.
#[derive(Debug)]
pub struct NoReplies;
impl Replies for NoReplies {}

/// What became of one record.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The record's id.
    pub id: u64,
    /// What became of it.
    pub result: OutcomeResult,
}

/// What became of a record.
#[derive(Debug, Clone)]
pub enum OutcomeResult {
    /// Committed to the log under this revision.
    Applied {
        /// The entry's number in the log.
        revision: u64,
        /// What a transform told the author, such as how a conflict was resolved: a JSON object.
        details: Option<Json>,
    },
    /// Every sink has written it, or a `skip` or a dropped record ended its way.
    Written,
    /// It can never succeed; nobody has it.
    Rejected(Error),
    /// It was not written and may be tried again.
    Failed(Error),
}

const APPLIED: u32 = 1;
const WRITTEN: u32 = 2;
const REJECTED: u32 = 3;

impl From<OutcomeParts> for Outcome {
    fn from(parts: OutcomeParts) -> Self {
        let error = || match &parts.error {
            RSome(error) => error.clone(),
            RNone => Error::fatal("the host gave no reason"),
        };
        let result = match parts.kind {
            APPLIED => OutcomeResult::Applied { revision: parts.revision, details: parts.details.into() },
            WRITTEN => OutcomeResult::Written,
            REJECTED => OutcomeResult::Rejected(error()),
            _ => OutcomeResult::Failed(error()),
        };
        Self { id: parts.id, result }
    }
}

impl From<Outcome> for OutcomeParts {
    fn from(outcome: Outcome) -> Self {
        let parts = Self { id: outcome.id, kind: WRITTEN, revision: 0, error: RNone, details: RNone };
        match outcome.result {
            OutcomeResult::Applied { revision, details } => {
                Self { kind: APPLIED, revision, details: details.into(), ..parts }
            }
            OutcomeResult::Written => parts,
            OutcomeResult::Rejected(error) => Self { kind: REJECTED, error: RSome(error), ..parts },
            OutcomeResult::Failed(error) => Self { kind: REJECTED + 1, error: RSome(error), ..parts },
        }
    }
}

/// A source that runs as a task on the plugin's own tokio runtime and emits records when they come.
pub trait AsyncSource: Sized + Send + 'static {
    /// What `config:` of this source may say.
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

    /// Prepares the source. Runs inside the plugin's runtime, so sockets and timers can be made.
    ///
    /// # Errors
    /// As [`Source::new`].
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Emits until there is no more, or until the emitter says the host has stopped listening.
    ///
    /// `Ok` means the end of input. When `run` returns it is over for good: what was emitted before is still written,
    /// what a task of the source emits later is not.
    ///
    /// # Errors
    /// An error ends the component, and the host starts the pipeline again from the committed positions. Reconnect
    /// inside `run`: there is no `run` to call again, so `NotConnected` and `Retry` become `Fatal` here.
    fn run(self, emitter: Emitter) -> impl Future<Output = Result<()>> + Send;

    /// Where the host says what became of this source's records. Asked once, before `run`.
    fn replies(&mut self) -> Box<dyn Replies> {
        Box::new(NoReplies)
    }
}

/// How many bytes an emitter and its clones hold; a larger record passes alone.
pub(crate) const EMITTED_BYTES: usize = 16 << 20;

/// Takes records from an [`AsyncSource`]. Cheap to clone; it holds at most 1,024 records and 16 MiB, or one record that
/// is larger, and then lets the caller wait.
#[derive(Debug, Clone)]
pub struct Emitter {
    pub(crate) items: mpsc::Sender<Item>,
    /// In bytes; closed with the channel.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) hears_outcomes: bool,
}

impl Emitter {
    /// Hands over one record, waiting while the pipeline is behind.
    ///
    /// # Errors
    /// `Fatal` if the host has stopped polling: end `run`.
    pub async fn emit(&self, record: Record) -> Result<()> {
        self.send(record, None).await
    }

    /// Hands over one record and gives a way to wait for what became of it. Needs `(answers)` in
    /// [`export_plugin!`](crate::export_plugin).
    ///
    /// # Errors
    /// As [`Emitter::emit`], and `Fatal` without `(answers)`: nobody would hear the outcome.
    pub async fn request(&self, record: Record) -> Result<PendingOutcome> {
        if !self.hears_outcomes {
            return Err(Error::fatal("export the source with `(answers)` to hear outcomes"));
        }
        let (reply, pending) = oneshot::channel();
        self.send(record, Some(reply)).await?;
        Ok(PendingOutcome(pending))
    }

    async fn send(&self, record: Record, reply: Option<oneshot::Sender<OutcomeResult>>) -> Result<()> {
        let stopped = || Error::fatal("the host has stopped listening");
        let n_bytes = record.size();
        let item = Item { record, reply, n_bytes };
        let room = self.room.acquire_many(item.room() as u32).await.map_err(|_| stopped())?;
        let place = self.items.reserve().await.map_err(|_| stopped())?;
        // `poll` gives the room back. Until here the caller may give up, and nothing is held.
        room.forget();
        place.send(item);
        Ok(())
    }
}

/// What [`Emitter::request`] gives: the outcome, later.
#[derive(Debug)]
pub struct PendingOutcome(oneshot::Receiver<OutcomeResult>);

impl PendingOutcome {
    /// Waits for the outcome. A record whose pipeline ended before it was written is `Failed`.
    pub async fn wait(self) -> OutcomeResult {
        self.0.await.unwrap_or_else(|_| OutcomeResult::Failed(Error::fatal("the pipeline ended first")))
    }
}

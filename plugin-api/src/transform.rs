//! Transforms: what happens to a record on its way.

use crate::{
    abi::vtable::Told, advice::Advice, change::Json, context::Context, error::Result, operations::Operations,
    record::Record,
};
#[cfg(doc)]
use crate::{error::Error, source::OutcomeResult};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// Changes, drops or splits records, one after the other.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
///
/// #[config]
/// struct UppercaseConfig {}
/// struct Uppercase;
///
/// impl Transform for Uppercase {
///     type Config = UppercaseConfig;
///     fn new(_: UppercaseConfig, _: &Context) -> Result<Self> { Ok(Self) }
///     fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
///         let text = record.value().unwrap_or_default().to_ascii_uppercase();
///         record.set_value(Some(text.into()));
///         out.push(record);
///         Ok(())
///     }
/// }
/// ```
pub trait Transform: Sized + Send + 'static {
    /// What `config:` of this transform may say.
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

    /// Prepares the transform.
    ///
    /// # Errors
    /// `Config` keeps the pipeline from starting; anything else is tried again with backoff.
    fn new(config: Self::Config, context: &Context) -> Result<Self>;

    /// Sees a whole batch before `apply` is called for each of its records in turn: the place to ask an endpoint once for
    /// all of them. The records are there to be read; what becomes of them is for `apply` to say.
    ///
    /// What is applied again, a record or a whole batch, is seen again.
    ///
    /// # Errors
    /// `Retry` and `NotConnected` concern the endpoint: the batch is applied again later. Any other error starts the
    /// pipeline again.
    fn prepare(&mut self, records: &mut [Record]) -> Result<()> {
        let _ = records;
        Ok(())
    }

    /// Pushes what becomes of the record: itself, several, or nothing, which drops it.
    ///
    /// # Errors
    /// `Rejected` and any error from `?` concern this record only; what it pushed before is taken back. `Retry` and
    /// `NotConnected` concern the endpoint: this record and those after it are applied again later. `Fatal` starts the
    /// pipeline again.
    fn apply(&mut self, record: Record, out: &mut Output) -> Result<()>;

    /// What this component offers to be called by name, from the command line, over REST and by other components. Asked
    /// once, right after `new`.
    fn operations(&mut self) -> Operations {
        Operations::new()
    }
}

/// Stands for the revision of the record's entry in what is told to its author: a transform does not know it yet.
pub const OWN_REVISION: &str = "\0revision";

/// What an author is told, when the revision of the entry is known.
#[doc(hidden)]
pub fn with_own_revision(told: Json, revision: u64) -> Json {
    const WRITTEN: &str = r#""\u0000revision""#;
    if !told.as_str().contains(WRITTEN) {
        return told;
    }
    Json::parse(&told.as_str().replace(WRITTEN, &revision.to_string())).unwrap_or(told)
}

/// Where a transform puts what becomes of a record.
#[derive(Debug)]
pub struct Output {
    pub(crate) records: Vec<Record>,
    pub(crate) told: Vec<Told>,
    pub(crate) id: u64,
}

impl Output {
    /// Passes a record on; it is counted as a child of the one that `apply` was given.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
        // Set where it lies now: set before, the move that follows would wait for it.
        if let Some(pushed) = self.records.last_mut() {
            pushed.set_id(self.id);
        }
    }

    /// Tells the author of the record something beside its outcome, once it is committed: a JSON object, whose fields
    /// are added to the answer ([`OutcomeResult::Applied`]). What is said last counts. [`OWN_REVISION`] in the place of a
    /// value becomes the revision that the record's entry gets.
    ///
    /// # Errors
    /// If `details` cannot be written as JSON.
    pub fn tell(&mut self, details: &impl Serialize) -> Result<()> {
        let details = Json::write(details)?;
        self.told.retain(|told| told.id != self.id);
        self.told.push(Told { id: self.id, details });
        Ok(())
    }
}

//! What a component says about its configuration before it is made: what it promises, what it needs, what may surprise its
//! operator, and what keeps it from starting.
//!
//! Everything here is known from the configuration and the files it names, so that `lockstep validate` can pass it on
//! without a connection, a port or a secret.

use crate::{
    abi::vtable::{AdviceParts, RefusalParts},
    error::Error,
    keys::Keys,
    paths,
};
use std::path::{Path, PathBuf};

/// What an operator should know about one component's configuration.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
///
/// #[config]
/// struct RadioConfig {
///     /// Whether what was missed can be asked for again.
///     recorded: bool,
/// }
/// struct Radio;
///
/// impl Source for Radio {
///     type Config = RadioConfig;
///     fn advise(config: &RadioConfig, advice: &mut Advice) {
///         if config.recorded { advice.at_least_once() } else { advice.at_most_once() }
///     }
///     fn new(_: RadioConfig, _: &Context) -> Result<Self> { Ok(Self) }
///     fn poll(&mut self, _: usize, _: std::time::Duration) -> Result<Vec<Record>> { Ok(Vec::new()) }
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Advice {
    /// Where relative paths of the configuration start.
    base_dir: PathBuf,
    promise: Option<Promise>,
    warnings: Vec<Error>,
    refusals: Vec<(Option<Way>, Error)>,
    seals: Keys,
    opens: Keys,
    may_open: Keys,
    makes_values: Keys,
    reads_values: Keys,
    reads_values_why: String,
}

/// How often a record arrives when hosts and endpoints may fail in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// A crash repeats records and loses none.
    AtLeastOnce,
    /// A crash loses what is in flight.
    AtMostOnce,
}

/// The two ways of a pipeline, which are told apart by whether its last transform commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the sources to every sink.
    Direct,
    /// Into the log of the host, and from there to the sinks.
    ThroughLog,
}

impl Advice {
    /// Nothing is said yet, about a configuration whose relative paths start at this folder.
    pub fn at(base_dir: impl Into<PathBuf>) -> Self {
        Self { base_dir: base_dir.into(), ..Self::default() }
    }

    /// A path of the configuration, as [`Context::resolve`](crate::context::Context::resolve) gives it when the component
    /// is made.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        paths::from_folder(&self.base_dir, path.as_ref())
    }

    /// A source with this configuration reads again after a crash what was not committed; a sink with it is told what is
    /// written. Of sinks this is assumed.
    pub fn at_least_once(&mut self) {
        self.promise = Some(Promise::AtLeastOnce);
    }

    /// A source with this configuration cannot read again what was in flight in a crash; a sink with it is not told
    /// whether what it writes arrives.
    pub fn at_most_once(&mut self) {
        self.promise = Some(Promise::AtMostOnce);
    }

    /// Tells the operator something about a field, such as `tls.cafile`; the configuration is used nevertheless.
    pub fn warn(&mut self, field: &str, message: &str) {
        self.warnings.push(Error::config(message).at(field));
    }

    /// The component could not be made with this configuration: what a file holds that it names, for example. The error
    /// names the field ([`Error::at`]). What may be there later or elsewhere, such as a secret, is a warning.
    pub fn refuse(&mut self, error: Error) {
        self.refusals.push((None, error));
    }

    /// As [`Advice::refuse`], in a pipeline of one way alone.
    pub fn refuse_in(&mut self, way: Way, error: Error) {
        self.refusals.push((Some(way), error));
    }

    /// A component with this configuration seals the values of these keys: nothing behind it can look into them, and what
    /// fails at it or before it is no more written down by the host.
    pub fn seals(&mut self, keys: Keys) {
        self.seals = keys;
    }

    /// A component with this configuration opens sealed values of these keys, or their records fail at it. What was opened is
    /// no more written down by the host than what is to be sealed.
    pub fn opens(&mut self, keys: Keys) {
        self.opens = keys;
    }

    /// As [`Advice::opens`], of a component that lets pass sealed what it cannot open: nobody behind it can count on it.
    pub fn may_open(&mut self, keys: Keys) {
        self.may_open = keys;
    }

    /// A component with this configuration makes of what several authors wrote values of these keys that none of them wrote.
    /// A component before it that reads values of them never sees these, which is told to the operator.
    pub fn makes_values(&mut self, keys: Keys) {
        self.makes_values = keys;
    }

    /// A component with this configuration looks into the values of these keys; `why` ends the sentence "it reads the
    /// values of `app.x` …", such as `to merge them`. It is refused behind one that seals some of them.
    pub fn reads_values(&mut self, keys: Keys, why: &str) {
        self.reads_values = keys;
        self.reads_values_why = why.to_owned();
    }

    /// The keys whose values it seals.
    pub fn sealed_keys(&self) -> &Keys {
        &self.seals
    }

    /// The keys whose sealed values it opens.
    pub fn opened_keys(&self) -> &Keys {
        &self.opens
    }

    /// The keys whose sealed values it opens where it can.
    pub fn may_open_keys(&self) -> &Keys {
        &self.may_open
    }

    /// The keys of which it makes values that no author wrote.
    pub fn made_keys(&self) -> &Keys {
        &self.makes_values
    }

    /// The keys whose values it looks into, and what for.
    pub fn read_keys(&self) -> (&Keys, &str) {
        (&self.reads_values, &self.reads_values_why)
    }

    /// What the configuration promises; none if it is what the component's metadata says.
    pub fn promise(&self) -> Option<Promise> {
        self.promise
    }

    /// Each with its message and, as [`Error::detail`], its field.
    pub fn warnings(&self) -> &[Error] {
        &self.warnings
    }

    /// Why the component could not be made in a pipeline of this way; each as a warning is.
    pub fn refusals(&self, way: Way) -> impl Iterator<Item = &Error> {
        let is_about = move |of: &Option<Way>| of.is_none_or(|of| of == way);
        self.refusals.iter().filter(move |(of, _)| is_about(of)).map(|(_, error)| error)
    }
}

const AT_LEAST_ONCE: u32 = 1;
const AT_MOST_ONCE: u32 = 2;

impl From<Advice> for AdviceParts {
    fn from(advice: Advice) -> Self {
        let delivery = match advice.promise {
            None => 0,
            Some(Promise::AtLeastOnce) => AT_LEAST_ONCE,
            Some(Promise::AtMostOnce) => AT_MOST_ONCE,
        };
        Self {
            delivery,
            warnings: advice.warnings.into(),
            refusals: advice.refusals.into_iter().map(RefusalParts::from).collect(),
            seals: advice.seals.into(),
            opens: advice.opens.into(),
            may_open: advice.may_open.into(),
            makes_values: advice.makes_values.into(),
            reads_values: advice.reads_values.into(),
            reads_values_why: advice.reads_values_why.into(),
        }
    }
}

impl From<AdviceParts> for Advice {
    fn from(parts: AdviceParts) -> Self {
        let promise = match parts.delivery {
            AT_LEAST_ONCE => Some(Promise::AtLeastOnce),
            AT_MOST_ONCE => Some(Promise::AtMostOnce),
            _ => None,
        };
        Self {
            base_dir: PathBuf::new(),
            promise,
            warnings: parts.warnings.into(),
            refusals: parts.refusals.into_iter().map(<(Option<Way>, Error)>::from).collect(),
            seals: parts.seals.into(),
            opens: parts.opens.into(),
            may_open: parts.may_open.into(),
            makes_values: parts.makes_values.into(),
            reads_values: parts.reads_values.into(),
            reads_values_why: parts.reads_values_why.into(),
        }
    }
}

const DIRECT: u32 = 1;
const THROUGH_LOG: u32 = 2;

impl From<(Option<Way>, Error)> for RefusalParts {
    fn from((way, error): (Option<Way>, Error)) -> Self {
        let way = match way {
            None => 0,
            Some(Way::Direct) => DIRECT,
            Some(Way::ThroughLog) => THROUGH_LOG,
        };
        Self { way, error }
    }
}

impl From<RefusalParts> for (Option<Way>, Error) {
    fn from(parts: RefusalParts) -> Self {
        let way = match parts.way {
            DIRECT => Some(Way::Direct),
            THROUGH_LOG => Some(Way::ThroughLog),
            _ => None,
        };
        (way, parts.error)
    }
}

//! Operations: calls by name that a component offers to operators and to other components.

use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, pin::Pin};

/// The operations of one component.
///
/// ```
/// use lockstep_plugin_api::prelude::*;
/// use lockstep_plugin_api::{Operations, schemars::JsonSchema, serde::Deserialize};
///
/// #[derive(Deserialize, JsonSchema)]
/// #[serde(crate = "lockstep_plugin_api::serde")]
/// #[schemars(crate = "lockstep_plugin_api::schemars")]
/// struct Greet {
///     /// Whom to greet.
///     name: String,
/// }
///
/// let operations = Operations::new().add("greeter.greet", "Greets somebody.", |_caller, greet: Greet| async move {
///     Ok(format!("hello {}", greet.name))
/// });
/// ```
#[derive(Default)]
pub struct Operations {
    pub(crate) list: Vec<Operation>,
    pub(crate) is_of_plugin: bool,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whether it is an operator, over the command line or REST; otherwise another component.
    pub is_operator: bool,
    /// The component's name in its pipeline, or `admin`.
    pub name: String,
}

pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// JSON Schema.
    pub(crate) arguments: String,
    pub(crate) only_reads: bool,
    pub(crate) handler: Box<dyn Fn(Caller, String) -> Call + Send + Sync>,
}

/// An operation on its way: gives its answer as JSON.
pub(crate) type Call = Pin<Box<dyn Future<Output = Result<String>> + Send>>;

impl Operations {
    /// No operations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that every component of the plugin offers the same, about all of them: any open one may answer, and one before
    /// the log does rather than one behind it. Without this, a second component with a name keeps its pipeline from running.
    #[must_use]
    pub fn of_plugin(mut self) -> Self {
        self.is_of_plugin = true;
        self
    }

    /// Adds an operation. `name` is unique in the host, as `lock.acquire`; the fields of `A` and their docs become the
    /// description that callers see. It runs on the plugin's own runtime, beside everything else; a panic is its
    /// caller's error.
    ///
    /// Arguments that do not fit `A` are answered `Rejected("bad_message")` before `handler` is called.
    #[must_use]
    pub fn add<A, T, F>(
        mut self,
        name: &'static str,
        description: &'static str,
        handler: impl Fn(Caller, A) -> F + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        T: Serialize,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let arguments = schemars::schema_for!(A);
        let arguments = serde_json::to_string(&arguments).expect("a schema is JSON");
        let handler = move |caller: Caller, arguments: String| -> Call {
            match read(&arguments) {
                Err(error) => Box::pin(std::future::ready(Err(error))),
                Ok(arguments) => {
                    let answer = handler(caller, arguments);
                    Box::pin(async move { serde_json::to_string(&answer.await?).map_err(Error::failed) })
                }
            }
        };
        let (only_reads, handler) = (false, Box::new(handler));
        self.list.push(Operation { name, description, arguments, only_reads, handler });
        self
    }

    /// Says of the operation that was added last that it only reads: whatever its arguments are, everything is afterwards as
    /// it was before, here and elsewhere. An operator's call of it leaves no entry in the audit, so it may be called as often
    /// as one likes.
    #[must_use]
    pub fn only_reads(mut self) -> Self {
        if let Some(last) = self.list.last_mut() {
            last.only_reads = true;
        }
        self
    }
}

/// Says which field is wrong, to the caller alone.
fn read<A: DeserializeOwned>(arguments: &str) -> Result<A> {
    crate::abi::adapt::read_config(arguments).map_err(|error| {
        let place =
            if error.detail().is_empty() { String::new() } else { format!(" at `{}`", error.detail()) };
        Error::rejected("bad_message", format!("the arguments do not fit{place}: {}", error.message()))
    })
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|operation| operation.name)).finish()
    }
}

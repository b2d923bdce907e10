//! A change that a component makes by itself, outside of any batch, and what became of it.

use crate::{
    abi::adapt::completion,
    change::Json,
    context::{Context, read_answer},
    error::{Error, Result},
    record::Record,
    source::OutcomeResult,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

impl Context {
    /// Sends a change through the whole pipeline, as if an operator had made it, and waits for what became of it. This is
    /// how an operation changes a key: with every check that stands before the log, and with an answer only when the change
    /// is on disk. Not inside `apply`, which it would wait for.
    ///
    /// # Errors
    /// Why it was refused; `Unsupported` in a direct pipeline and inside `apply`.
    pub fn submit(&self, change: Record) -> impl Future<Output = Result<Submitted>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let deliver = move |result| drop(answer.send(result));
        self.parts.host.submit(change, completion(deliver));
        async move {
            let gone = |_| Error::rejected("unavailable", "the pipeline ended before it answered");
            read_answer(answered.await.map_err(gone).flatten())
        }
    }
}

/// What became of a change that a component made ([`Context::submit`]).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submitted {
    /// The revision of its entry; none if a transform dropped it.
    pub revision: Option<u64>,
    /// What transforms tell its author ([`Output::tell`](crate::transform::Output::tell)).
    pub details: Option<Json>,
}

impl Submitted {
    /// What an outcome says to whoever submitted the change.
    ///
    /// # Errors
    /// Why it was refused.
    #[doc(hidden)]
    pub fn of(outcome: &OutcomeResult) -> Result<Self> {
        match outcome {
            OutcomeResult::Applied { revision, details } => {
                Ok(Self { revision: Some(*revision), details: details.clone() })
            }
            OutcomeResult::Written => Ok(Self { revision: None, details: None }),
            OutcomeResult::Rejected(error) | OutcomeResult::Failed(error) => Err(error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_transforms_tell_is_heard_to_the_letter() {
        let written = r#"{"n":[1e400,1.10,9007199254740993],"z":0,"a":1}"#;
        let details = Json::parse(written).ok();
        let told = Submitted::of(&OutcomeResult::Applied { revision: 7, details }).expect("applied");
        let heard: Submitted =
            read_answer(serde_json::to_string(&told).map_err(Error::failed)).expect("an answer");
        assert_eq!((heard.revision, heard.details.as_ref().map(Json::as_str)), (Some(7), Some(written)));
    }
}

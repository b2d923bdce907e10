//! The log behind an address: where it stands, its history, and the operations that stand on it.
//!
//! A server has it as long as it is held by a component of the pipeline that goes through the log.

use crate::endpoint::Role;
use lockstep_plugin_api::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The components of this address whose pipeline goes through the log.
#[derive(Default)]
pub(crate) struct LogAccess(Mutex<Contexts>);

#[derive(Default)]
struct Contexts {
    source: Option<Context>,
    sink: Option<Context>,
}

impl LogAccess {
    /// A component came, or went.
    pub(crate) fn set(&self, role: Role, context: Option<Context>) {
        let mut contexts = self.contexts();
        match role {
            Role::Source => contexts.source = context,
            Role::Sink => contexts.sink = context,
        }
    }

    /// Where the log stands; `None` if there is none.
    pub(crate) fn position(&self) -> Option<LogPosition> {
        let contexts = self.contexts();
        let context = contexts.sink.as_ref().or(contexts.source.as_ref())?;
        context.log().ok()
    }

    /// Through whom history is read: only a sink has any, as it sees it.
    pub(crate) fn history(&self) -> Option<Context> {
        self.contexts().sink.clone()
    }

    /// Through whom changes go into the log, and operations are called.
    pub(crate) fn source(&self) -> Option<Context> {
        self.contexts().source.clone()
    }

    fn contexts(&self) -> MutexGuard<'_, Contexts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

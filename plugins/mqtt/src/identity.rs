//! Client ids, and which of them are this pipeline's own.
//!
//! Invariant: a component has the same id after every restart, so that the broker finds its session and ends what is left
//! of its last connection before anything new is taken from it.

use lockstep_plugin_api::{prelude::*, wire::derived_event_id};
use std::sync::{Mutex, PoisonError};

/// The side of the broker a client is on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Publisher,
    Subscriber,
    /// A subscriber's connection that reads what is retained.
    Snapshot,
}

/// The client id of a component that was given none: shaped as the guide's, and unlike any other component's.
pub(crate) fn client_id(side: Side, context: &Context) -> String {
    let (side, name) = match side {
        Side::Publisher => ("pub", "pub"),
        Side::Subscriber => ("sub", "sub"),
        Side::Snapshot => ("sub", "snapshot"),
    };
    let parts = [name, context.node_id(), context.pipeline(), context.component()];
    let id = derived_event_id(&parts.map(str::as_bytes));
    let tail = &id.as_str()[id.len() - 8..];
    format!("apg_config_{side}_{tail}")
}

/// Publishers by pipeline. There are as many as sinks in the configuration.
static PUBLISHERS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// From now on, what this client publishes is the pipeline's own.
pub(crate) fn register_publisher(pipeline: &str, client_id: &str) {
    let mut publishers = PUBLISHERS.lock().unwrap_or_else(PoisonError::into_inner);
    let publisher = (pipeline.to_owned(), client_id.to_owned());
    if !publishers.contains(&publisher) {
        publishers.push(publisher);
    }
}

/// Whether a sink of this pipeline publishes under this id.
pub(crate) fn is_own_publisher(pipeline: &str, client_id: &str) -> bool {
    let publishers = PUBLISHERS.lock().unwrap_or_else(PoisonError::into_inner);
    publishers.iter().any(|(of, id)| of == pipeline && id == client_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_its_own_pipelines_only() {
        register_publisher("identity-test", "p1");
        register_publisher("identity-test", "p1");
        assert!(is_own_publisher("identity-test", "p1"));
        assert!(!is_own_publisher("identity-test", "p2") && !is_own_publisher("other", "p1"));
    }
}

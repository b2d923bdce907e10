//! What the resolver offers to be called by name: `resolver.*` look at nothing but their arguments, `conflicts.*` are about
//! what waits for a decision.

mod conflicts;
pub mod guide;
mod sent;
mod transforming;
mod merging;

use crate::config::Strategies;
use lockstep_plugin_api::prelude::*;
use lockstep_plugin_api::schemars::{Schema, SchemaGenerator, json_schema};
use sent::Sent;
use serde::{Deserialize, Deserializer};
use std::sync::Arc;

/// Every operation.
pub fn operations(context: &Context, strategies: &Arc<Strategies>) -> Operations {
    let operations = computations(context.clone());
    // Without a log nothing waits.
    if context.through_log() { conflicts::add(operations, context, strategies) } else { operations }
}

fn computations(context: Context) -> Operations {
    Operations::new()
        .add(
            "resolver.resolve_conflict",
            "Resolves the given changes by a strategy and answers with the result; changes no key.",
            move |_caller, arguments: guide::ResolveConflict| {
                let context = context.clone();
                async move { guide::answer(&context, arguments) }
            },
        )
        .add(
            "resolver.ot",
            "Applies, transforms, composes or inverts the given operations on a text or on JSON.",
            |_caller, sent: Sent<transforming::Request>| async move { Ok(sent.answer(|asked| asked.run())) },
        )
        .only_reads()
        .add(
            "resolver.merge",
            "Merges the given changes of one value.",
            |_caller, sent: Sent<merging::Request>| async move { Ok(sent.answer(merging::Request::run)) },
        )
        .only_reads()
}

/// A field that is there, whatever it holds: `null` is a value, and no value is another thing.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Any JSON.
fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!(true)
}

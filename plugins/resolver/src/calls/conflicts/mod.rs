//! The operations on conflicts that a person decides: `conflicts.list`, `show`, `assign`, `preview` and `resolve`.
//!
//! Reading waits for the disk, so it is done on a thread that may wait. Deciding is a change like any other: it goes through
//! the whole pipeline, and is taken in only while exactly the conflict stands that was decided about.

mod list;
mod look;
mod assign;
mod resolve;

use crate::config::Strategies;
use lockstep_plugin_api::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

/// Adds them.
pub fn add(operations: Operations, context: &Context, strategies: &Arc<Strategies>) -> Operations {
    let (listing, showing, assigning) = (context.clone(), context.clone(), context.clone());
    let (previewing, resolving) = (context.clone(), context.clone());
    let (strategies, strategies_of_decisions) = (strategies.clone(), strategies.clone());
    operations
        .add(
            "conflicts.list",
            "Lists the conflicts that wait for a decision, or those that are over.",
            move |_caller, asked: list::List| on_disk(&listing, move |context| asked.answer(context)),
        )
        .only_reads()
        .add(
            "conflicts.show",
            "Shows one conflict: who wants what, since when, and what became of it.",
            move |_caller, asked: look::Show| on_disk(&showing, move |context| asked.answer(context)),
        )
        .only_reads()
        .add(
            "conflicts.assign",
            "Says who is to decide a conflict; answers its record.",
            move |caller, asked: assign::Assign| {
                on_disk(&assigning, move |context| asked.answer(context, &caller))
            },
        )
        .add(
            "conflicts.preview",
            "Shows what each way to decide a conflict makes of the key; changes nothing.",
            move |_caller, asked: look::Preview| {
                let strategies = strategies.clone();
                on_disk(&previewing, move |context| asked.answer(context, &strategies))
            },
        )
        .only_reads()
        .add(
            "conflicts.resolve",
            "Decides a conflict: by one of the changes, by a strategy, or by another value. Answers what was committed.",
            move |caller, asked: resolve::Resolve| {
                let (context, strategies) = (resolving.clone(), strategies_of_decisions.clone());
                async move {
                    let reading = context.clone();
                    let decided =
                        on_disk(&reading, move |context| asked.decide(context, &strategies, &caller)).await?;
                    decided.commit(&context).await
                }
            },
        )
}

/// Does something that waits for the disk.
fn on_disk<T, F>(context: &Context, work: F) -> impl Future<Output = Result<T>> + Send + use<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Context) -> Result<T> + Send + 'static,
{
    let context = context.clone();
    async move {
        let done = tokio::task::spawn_blocking(move || work(&context)).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

fn unknown(id: Uuid) -> Error {
    Error::rejected("not_found", format!("there is no conflict {id}: `conflicts.list` has them"))
}

/// Who does something: what is said, or who calls.
fn author(user_id: Option<String>, caller: &Caller) -> Result<String> {
    let user = user_id.unwrap_or_else(|| match caller.is_operator {
        true => "anonymous".to_owned(),
        false => caller.name.clone(),
    });
    match user.len() {
        1..=MAX_NAME => Ok(user),
        _ => Err(Error::rejected("bad_message", format!("`user_id` must have 1 to {MAX_NAME} bytes"))),
    }
}

/// The longest name of a user or a session.
const MAX_NAME: usize = 256;

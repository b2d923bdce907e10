//! `lockstep dlq drop`.

use super::super::output::print_json;
use super::super::{DONE, FAILED};
use super::{Common, Queue, QueueError, Selection};
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub(super) struct DropLetters {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    pub(super) common: Common,
}

impl DropLetters {
    pub(super) fn drop(&self, queue: &Queue) -> Result<u8, QueueError> {
        let (mut dropped, mut refused) = (Vec::new(), Vec::new());
        for number in self.selection.numbers(queue)? {
            match queue.drop(number) {
                Ok(()) => dropped.push(number),
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => refused.push((number, error.to_string())),
            }
        }
        if self.common.json {
            let refused: Vec<_> =
                refused.iter().map(|(number, error)| json!({ "id": number, "error": error })).collect();
            print_json(&json!({ "dropped": dropped, "refused": refused }));
        } else {
            dropped.iter().for_each(|number| eprintln!("{number}: dropped"));
            refused.iter().for_each(|(number, error)| eprintln!("{number}: not dropped: {error}"));
        }
        Ok(if refused.is_empty() { DONE } else { FAILED })
    }
}

//! `lockstep dlq list`.

use super::super::flags::count;
use super::super::output::{print, print_json, without_control};
use super::super::table::Table;
use super::{Common, Queue, QueueError};
use crate::admin::Page;
use clap::Args;
use serde_json::Value;

/// As much of an error as a line has room for; `show` has all of it.
const MAX_ERROR: usize = 80;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of this pipeline
    #[arg(long, value_name = "PIPELINE")]
    pipeline: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = count)]
    limit: usize,
    /// Only those after this number, to go on from an earlier list
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    pub(super) common: Common,
}

impl List {
    pub(super) fn list(&self, queue: &Queue) -> Result<u8, QueueError> {
        let (dead_letters, next) = queue.list(self.pipeline.as_deref(), self.after, self.limit)?;
        if self.common.json {
            return Ok(print_json(&Page { dead_letters, next }));
        }
        if dead_letters.is_empty() {
            eprintln!("no dead letters");
        } else {
            print(&table(&dead_letters).to_string());
        }
        if let Some(next) = next {
            eprintln!("there may be more: --after {next}");
        }
        Ok(super::super::DONE)
    }
}

fn table(letters: &[Value]) -> Table {
    let mut table =
        Table::new(&["NUMBER", "PIPELINE", "COMPONENT", "KEY", "ATTEMPTS", "LAST FAILED", "ERROR"]);
    for letter in letters {
        let component = format!("{} {}", plain(&letter["kind"]), plain(&letter["component"]));
        let error: String = plain(&letter["error"]["message"]).chars().take(MAX_ERROR).collect();
        table.row([
            plain(&letter["id"]),
            plain(&letter["pipeline"]),
            component,
            plain(&letter["key"]),
            plain(&letter["attempts"]),
            plain(&letter["last_failed_at"]),
            error,
        ]);
    }
    table
}

/// A value in a cell: what would break the line, or steer the terminal, is escaped.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => without_control(text),
        other => other.to_string(),
    }
}

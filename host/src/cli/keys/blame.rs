//! `lockstep blame`: which change gave a key each part of its value.

use super::super::live::CommandError;
use super::super::output::{print, print_json, without_control};
use super::super::table::Table;
use super::shown::readable;
use super::{Common, query};
use crate::admin::{Client, escaped};
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

const AFTER_HELP: &str = "\
Each part of the value is named by its path, a JSON pointer (RFC 6901), with the change that made it what it is: a number, \
a text, true, false, null, an empty list or object; of a text with several lines, each line. Items and lines keep who they \
are by when others are put before them. What is older than the history that the host keeps is `older`.

Exit codes:
  0  printed
  1  the key has no value, or the host could not answer
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep blame app.features
  lockstep blame app.features --tenant acme --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Blame {
    /// The key, for example app.database.host
    key: String,
    #[command(flatten)]
    common: Common,
}

/// What the host answers.
#[derive(Deserialize)]
struct Answer {
    reaches_back_to: Option<u64>,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    path: String,
    #[serde(default)]
    line: Option<usize>,
    value: Box<RawValue>,
    revision: Option<u64>,
    user_id: Option<String>,
    timestamp: Option<String>,
}

impl Blame {
    pub(in crate::cli) fn run(self) -> u8 {
        self.common.live.with_host(|client| self.tell(client))
    }

    fn tell(&self, client: &Client) -> Result<u8, CommandError> {
        let path = format!("/v1/keys/{}/blame", escaped(&self.key));
        let path = query(&path, &[("tenant", self.common.tenant.clone())]);
        if self.common.json {
            return Ok(print_json(&client.get_as::<Box<RawValue>>(&path)?));
        }
        let answer: Answer = client.get_as(&path)?;
        let mut table = Table::new(&["REVISION", "WHEN", "WHO", "PATH", "VALUE"]);
        answer.parts.iter().for_each(|part| table.row(part.row()));
        let exit = print(&table.to_string());
        if let Some(oldest) = answer.reaches_back_to
            && answer.parts.iter().any(|part| part.revision.is_none())
        {
            eprintln!("the history of the key reaches back to revision {oldest}");
        }
        Ok(exit)
    }
}

impl Part {
    fn row(&self) -> [String; 5] {
        let revision = self.revision.map_or_else(|| "older".to_owned(), |revision| revision.to_string());
        let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), without_control);
        let path = match self.line {
            Some(line) => format!("{} line {line}", self.path),
            None => self.path.clone(),
        };
        let path = match path.trim_start() {
            "" => "(the value)".to_owned(),
            path => without_control(path),
        };
        [revision, or_dash(&self.timestamp), or_dash(&self.user_id), path, readable(self.value.get())]
    }
}

//! `lockstep audit`: what the components of a running host have written into its audit.

use super::DONE;
use super::live::{CommandError, Live};
use super::output::{print, print_json, without_control};
use crate::admin::Client;
use clap::Args;
use serde_json::Value;

const AFTER_HELP: &str = "\
Entries are JSON objects, the oldest first, one a line: conflicts that were resolved, locks that were taken by force.

Exit codes:
  0  printed, or there are none
  1  the host could not answer
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep audit
  lockstep audit --after 17 --limit 50 --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Audit {
    /// Only those after this number, to go on from an earlier list
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Print `{entries: [{id, entry}], next}`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

impl Audit {
    pub(super) fn run(self) -> u8 {
        self.live.with_host(|client| self.show(client))
    }

    fn show(&self, client: &Client) -> Result<u8, CommandError> {
        let page = client.get(&format!("/v1/audit?after={}&limit={}", self.after, self.limit))?;
        if self.json {
            return Ok(print_json(&page));
        }
        let entries = page["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
        if entries.is_empty() {
            eprintln!("no entries");
            return Ok(DONE);
        }
        let exit = print(&entries.iter().map(line).collect::<String>());
        if let Some(next) = page["next"].as_u64() {
            eprintln!("there may be more: --after {next}");
        }
        Ok(exit)
    }
}

fn line(entry: &Value) -> String {
    without_control(&format!("{}  {}\n", entry["id"], entry["entry"]))
}

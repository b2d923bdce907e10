//! `lockstep audit`: what the components of a running host have written into its audit.

use super::DONE;
use super::keys::query;
use super::live::{CommandError, Live};
use super::output::{print, print_json, without_control};
use crate::admin::Client;
use clap::Args;
use serde_json::Value;

const AFTER_HELP: &str = "\
Entries are JSON objects, the newest first, one a line: conflicts that were resolved, locks that were taken by force.

Exit codes:
  0  printed, or there are none
  1  the host could not answer
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep audit
  lockstep audit --before 17 --limit 50 --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Audit {
    /// Only those before this number, to go on from an earlier list
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
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
        let number = |number: u64| number.to_string();
        let parts = [("before", self.before.map(number)), ("limit", Some(self.limit.to_string()))];
        let page = client.get(&query("/v1/audit", &parts))?;
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
            eprintln!("there may be more: --before {next}");
        }
        Ok(exit)
    }
}

fn line(entry: &Value) -> String {
    without_control(&format!("{}  {}\n", entry["id"], entry["entry"]))
}

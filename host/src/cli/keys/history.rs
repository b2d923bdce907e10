//! `lockstep history`: what a key had, the newest first.

use super::super::DONE;
use super::super::flags::count;
use super::super::live::CommandError;
use super::super::output::{print, print_json, without_control};
use super::super::table::Table;
use super::{Common, ShownChange, query};
use crate::admin::{Client, escaped};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const AFTER_HELP: &str = "\
WHEN is what the author says, and COMMITTED when the host committed it, by its own clock: `--at`, `--from`, `--to` and \
`rollback --to` mean that with a time, and with --json it is `committed_at`. SOURCE is the host that first took a change in. A conflict is a change that stands beside others, which its author had \
not seen: what is shown was made of all of them by the strategy, and `lockstep get --at REVISION --json` shows each. Long \
values are cut; with --json, they are whole.

The host keeps history for `sync_settings.max_event_age_hours`, and no more of it than `state.history` allows; the newest \
change of a key is kept for ever.

Exit codes:
  0  printed
  1  the host has no such key, or could not answer
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep history app.database.host
  lockstep history app.database.host --limit 5 --before 42 --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct History {
    /// The key, for example app.database.host
    key: String,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = count)]
    limit: usize,
    /// Only those before this revision, to go on from an earlier list
    #[arg(long, value_name = "REVISION")]
    before: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// What the host answers.
#[derive(Debug, Deserialize, Serialize)]
struct Page {
    changes: Vec<Box<RawValue>>,
    /// Where to go on; none at the end.
    next: Option<u64>,
    /// Up to here, only the newest change of each key is kept.
    compacted: u64,
    /// Whether the key had changes before the last one here, which are no longer kept.
    is_cut: bool,
}

impl History {
    pub(in crate::cli) fn run(self) -> u8 {
        self.common.live.with_host(|client| self.list(client))
    }

    fn list(&self, client: &Client) -> Result<u8, CommandError> {
        let path = format!("/v1/keys/{}/history", escaped(&self.key));
        let parts = [
            ("tenant", self.common.tenant.clone()),
            ("before", self.before.map(|before| before.to_string())),
            ("limit", Some(self.limit.to_string())),
        ];
        let page: Page = client.get_as(&query(&path, &parts))?;
        if self.common.json {
            return Ok(print_json(&page));
        }
        if page.changes.is_empty() {
            eprintln!("no changes");
            return Ok(DONE);
        }
        let exit = print(&table(&page.changes).to_string());
        match page.next {
            Some(next) => eprintln!("there may be more: --before {next}"),
            None if page.is_cut => eprintln!("what the key was before that is no longer kept"),
            None => {}
        }
        Ok(exit)
    }
}

fn table(changes: &[Box<RawValue>]) -> Table {
    let mut table = Table::new(&["REVISION", "WHEN", "COMMITTED", "WHO", "SOURCE", "STRATEGY", "WHAT"]);
    let changes = changes.iter().filter_map(|change| serde_json::from_str(change.get()).ok());
    for change in changes {
        let change: ShownChange = change;
        let (revision, when) = (change.revision.to_string(), without_control(change.when()));
        let (committed, who) = (without_control(change.committed()), change.who());
        table.row([revision, when, committed, who, change.source(), change.how(), change.what_in_short()]);
    }
    table
}

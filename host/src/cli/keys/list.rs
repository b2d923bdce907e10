//! `lockstep keys`: which keys there are.

use super::super::flags::count;
use super::super::live::CommandError;
use super::super::output::{print, print_json};
use super::super::table::Table;
use super::super::{DONE, output::without_control};
use super::{Common, query};
use crate::admin::Client;
use clap::Args;
use serde_json::{Value, json};

/// As many as one answer has.
const PAGE: usize = 1000;

const AFTER_HELP: &str = "\
Keys that were deleted are not listed.

Exit codes:
  0  printed, or there are none
  1  the host could not answer
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep keys
  lockstep keys app.database.
  lockstep keys --tenant acme --limit 10 --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Keys {
    /// What the keys start with
    #[arg(default_value = "")]
    prefix: String,
    /// At most so many
    #[arg(long, value_name = "COUNT", value_parser = count)]
    limit: Option<usize>,
    /// Only keys after this one, to go on from an earlier list
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Keys {
    pub(in crate::cli) fn run(self) -> u8 {
        self.common.live.with_host(|client| self.list(client))
    }

    fn list(&self, client: &Client) -> Result<u8, CommandError> {
        let (keys, next) = self.all(client)?;
        if self.common.json {
            return Ok(print_json(&json!({ "keys": keys, "next": next })));
        }
        if keys.is_empty() {
            eprintln!("no keys");
            return Ok(DONE);
        }
        let mut table = Table::new(&["KEY", "REVISION"]);
        for key in &keys {
            let name = without_control(key["config_key"].as_str().unwrap_or_default());
            table.row([name, key["revision"].to_string()]);
        }
        let exit = print(&table.to_string());
        if let Some(next) = next {
            eprintln!("there may be more: --after {next}");
        }
        Ok(exit)
    }

    /// Page by page, up to the limit.
    fn all(&self, client: &Client) -> Result<(Vec<Value>, Option<String>), CommandError> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let (mut keys, mut after) = (Vec::new(), self.after.clone());
        loop {
            let mut page = client.get(&self.path(after, PAGE.min(limit - keys.len())))?;
            let next = page["next"].as_str().map(str::to_owned);
            if let Value::Array(some) = page["keys"].take() {
                keys.extend(some);
            }
            if next.is_none() || keys.len() >= limit {
                return Ok((keys, next));
            }
            after = next;
        }
    }

    fn path(&self, after: Option<String>, limit: usize) -> String {
        let prefix = Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty());
        let limit = Some(limit.to_string());
        query(
            "/v1/keys",
            &[("tenant", self.common.tenant.clone()), ("prefix", prefix), ("after", after), ("limit", limit)],
        )
    }
}

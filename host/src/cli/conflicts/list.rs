//! `lockstep conflicts list`: page after page, as the host gives them.

use super::super::DONE;
use super::super::flags::{Tenants, count};
use super::super::live::CommandError;
use super::super::output::{print, print_json};
use super::{CONFLICTS, Common, shown};
use crate::admin::Client;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How many are asked for at once.
const PAGE: usize = 200;

pub(super) const HELP: &str = "\
CHANGES is how many stand against each other, SINCE when the key first had a conflict that nobody has decided yet. With \
--json, `next` is where to go on: give it as --after, with the same flags.

Exit codes:
  0  printed, or there are none
  1  no component of the host keeps conflicts, or the host could not answer
  2  there is no host to ask, an argument cannot be meant, or the settings are refused

Examples:
  lockstep conflicts list --all-tenants
  lockstep conflicts list --pattern 'app.*' --assigned-to ann
  lockstep conflicts list --status resolved --limit 100 --json
  lockstep conflicts list --limit 100 --after 7000612e78 --json
";

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    tenants: Tenants,
    /// Only keys that match this glob
    #[arg(long, value_name = "GLOB")]
    pattern: Option<String>,
    /// Where they stand
    #[arg(long, value_enum, default_value_t = Status::Pending)]
    status: Status,
    /// Only those that this one is to decide
    #[arg(long, value_name = "WHO")]
    assigned_to: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = count)]
    limit: usize,
    /// Only those after this place, to go on from an earlier list of the same: its `next`
    #[arg(long, value_name = "NEXT")]
    after: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    /// Waiting for a decision
    Pending,
    /// Decided
    Resolved,
    /// Gone on under another id, because another change came
    Superseded,
    /// Decided or superseded
    Over,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Resolved => "resolved",
            Self::Superseded => "superseded",
            Self::Over => "over",
        }
    }
}

/// Some of them, and where to go on.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    conflicts: Vec<Box<RawValue>>,
    next: Option<String>,
}

impl List {
    pub(super) fn list(&self, client: &Client) -> Result<u8, CommandError> {
        let tenant = self.tenants.named()?;
        let mut all = Page { conflicts: Vec::new(), next: self.after.clone() };
        while all.conflicts.len() < self.limit {
            let limit = self.limit - all.conflicts.len();
            let page = self.page(client, tenant.as_deref(), limit, all.next.as_deref())?;
            all.conflicts.extend(page.conflicts);
            all.next = page.next;
            if all.next.is_none() {
                break;
            }
        }
        if self.common.json {
            return Ok(print_json(&all));
        }
        if all.conflicts.is_empty() {
            eprintln!("no conflict is {}", self.status.name());
            return Ok(DONE);
        }
        let exit = print(&shown::table(&all.conflicts));
        if let Some(next) = all.next {
            eprintln!("there may be more: --after {next}");
        }
        Ok(exit)
    }

    fn page(
        &self,
        client: &Client,
        tenant: Option<&str>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page, CommandError> {
        CONFLICTS
            .ask(client, "list")?
            .with("tenant_id", tenant)
            .with("all_tenants", self.tenants.all_tenants.then_some(true))
            .with("pattern", self.pattern.clone())
            .with("status", Some(self.status.name()))
            .with("assigned_to", self.assigned_to.clone())
            .with("limit", Some(limit.min(PAGE)))
            .with("after", after)
            .call()
    }
}

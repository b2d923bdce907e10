//! `lockstep conflicts list`: page after page, as the host gives them.

use super::super::DONE;
use super::super::live::CommandError;
use super::super::output::{print, print_json};
use super::{CONFLICTS, Common, shown};
use crate::admin::Client;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How many are asked for at once.
const PAGE: usize = 200;

#[derive(Debug, Args)]
pub(super) struct List {
    /// Whose configuration; without it, the configuration without a tenant
    #[arg(long, value_name = "TENANT", env = "LOCKSTEP_TENANT", hide_env_values = true)]
    tenant: Option<String>,
    /// The conflicts of every tenant
    #[arg(long, conflicts_with = "tenant")]
    all_tenants: bool,
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
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,
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
        let mut all = Page::default();
        while all.conflicts.len() < self.limit {
            let page = self.page(client, self.limit - all.conflicts.len(), all.next.as_deref())?;
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
        if all.next.is_some() {
            eprintln!("there may be more: --limit");
        }
        Ok(exit)
    }

    fn page(&self, client: &Client, limit: usize, after: Option<&str>) -> Result<Page, CommandError> {
        CONFLICTS
            .ask(client, "list")?
            .with("tenant_id", self.tenant.clone())
            .with("all_tenants", self.all_tenants.then_some(true))
            .with("pattern", self.pattern.clone())
            .with("status", Some(self.status.name()))
            .with("assigned_to", self.assigned_to.clone())
            .with("limit", Some(limit.min(PAGE)))
            .with("after", after)
            .call_as()
    }
}

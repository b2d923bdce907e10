//! `lockstep diff`: how a key differs between two revisions.

use super::super::DONE;
use super::super::live::CommandError;
use super::super::output::{print, print_json, without_control};
use super::differences::{ShownDifference, table};
use super::{Common, query};
use crate::admin::{Client, Moment, escaped};
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

const AFTER_HELP: &str = "\
Without --from and --to, it is what the newest change of the key has changed; with --to alone, what the newest change up \
to then has; with --from alone, what has changed since. A revision is the log's: the key is compared as it was after that \
revision, whichever key it was about.

Paths are JSON pointers (RFC 6901). Texts are compared line by line, or word by word; sealed values as a whole. With --json, \
it is a JSON patch (RFC 6902), which makes the later value of the earlier one; a key that gets its first value is an `add` \
at the path \"\", and one that is deleted a `remove` there.

Exit codes:
  0  printed, or there is no difference
  1  the host has no such key, or no longer keeps what it was then
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep diff app.features
  lockstep diff app.features --from 40
  lockstep diff app.features --from 40 --to 42
  lockstep diff app.features --from 2026-01-31T12:00:00Z --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Diff {
    /// The key, for example app.database.host
    key: String,
    /// The earlier one: a revision (42, EPOCH:42) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "REVISION|TIME")]
    from: Option<Moment>,
    /// The later one
    #[arg(long, value_name = "REVISION|TIME")]
    to: Option<Moment>,
    #[command(flatten)]
    common: Common,
}

/// What the host answers.
#[derive(Deserialize)]
struct Answer {
    from: Version,
    to: Version,
    changes: Vec<ShownDifference>,
    patch: Box<RawValue>,
}

#[derive(Deserialize)]
struct Version {
    revision: Option<u64>,
    exists: bool,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
}

impl Diff {
    pub(in crate::cli) fn run(self) -> u8 {
        self.common.live.with_host(|client| self.compare(client))
    }

    fn compare(&self, client: &Client) -> Result<u8, CommandError> {
        let text = |moment: &Option<Moment>| moment.as_ref().map(ToString::to_string);
        let parts =
            [("tenant", self.common.tenant.clone()), ("from", text(&self.from)), ("to", text(&self.to))];
        let path = format!("/v1/keys/{}/diff", escaped(&self.key));
        let answer: Answer = client.get_as(&query(&path, &parts))?;
        if self.common.json {
            return Ok(print_json(&answer.patch));
        }
        let (from, to) = (answer.from.line(), answer.to.line());
        if answer.changes.is_empty() {
            eprintln!("no difference between {from} and {to}");
            return Ok(DONE);
        }
        Ok(print(&format!("--- {from}\n+++ {to}\n{}", table(&answer.changes))))
    }
}

impl Version {
    /// `revision 42  2026-01-31T12:00:00.195216Z  ann`
    fn line(&self) -> String {
        let Some(revision) = self.revision else {
            return "what the change replaced; its own revision is no longer kept".to_owned();
        };
        if revision == 0 {
            return "before the key was there".to_owned();
        }
        let when = self.timestamp.as_deref().unwrap_or("-");
        let who = self.user_id.as_deref().map_or_else(|| "-".to_owned(), without_control);
        let deleted = if self.exists { "" } else { "  deleted" };
        format!("revision {revision}  {when}  {who}{deleted}")
    }
}

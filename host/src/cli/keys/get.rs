//! `lockstep get`: what a key has now, or had.

use super::super::live::CommandError;
use super::super::output::{print, print_json};
use super::{Common, ShownChange, query};
use crate::admin::{Client, ClientError, Moment, escaped};
use clap::Args;
use serde_json::Value;

const AFTER_HELP: &str = "\
The value is printed as JSON, so that it can be given to `lockstep set` again; --raw prints text as it is. With --json, \
the whole change is printed: the value with its revision, who made it, when, what it replaced, and the changes that \
stand against each other, if several do.

With --at, it is what the key had after a revision of the log, whichever key that was about, or at a time by the clock of \
the host when it committed.

Exit codes:
  0  printed
  1  the key has no value, had none, or what it had is no longer kept
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep get app.database.host
  lockstep get app.database.host --raw
  lockstep get app.database.host --at 42
  lockstep get app.database.host --at 2026-01-31T12:00:00Z
  lockstep get app.database.host --tenant acme --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct Get {
    /// The key, for example app.database.host
    key: String,
    /// Print text without quotes and escapes
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// What it was then: a revision (42, EPOCH:42) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<Moment>,
    #[command(flatten)]
    common: Common,
}

impl Get {
    pub(in crate::cli) fn run(self) -> u8 {
        self.common.live.with_host(|client| self.get(client))
    }

    fn get(&self, client: &Client) -> Result<u8, CommandError> {
        let path = format!("/v1/keys/{}", escaped(&self.key));
        let at = self.at.as_ref().map(ToString::to_string);
        let path = query(&path, &[("tenant", self.common.tenant.clone()), ("at", at)]);
        let hint = |error: ClientError| match error {
            ClientError::Refused { status: status @ 404, code, message, details } => {
                let message = format!("{message}; `lockstep keys` lists what there is");
                CommandError::from(ClientError::Refused { status, code, message, details })
            }
            error => error.into(),
        };
        if self.common.json {
            return Ok(print_json(&client.get_as::<Box<serde_json::value::RawValue>>(&path).map_err(hint)?));
        }
        let change: ShownChange = client.get_as(&path).map_err(hint)?;
        if change.n_standing() > 1 {
            let (how, authors) = (change.how(), change.authors());
            eprintln!("{how}, by {authors}: `lockstep get --json` shows each of them");
        }
        let text = match serde_json::from_str(change.value()) {
            Ok(Value::String(text)) if self.raw => text,
            _ => change.value().to_owned(),
        };
        Ok(print(&format!("{text}\n")))
    }
}

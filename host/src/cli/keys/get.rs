//! `lockstep get`: what a key has now.

use super::super::live::CommandError;
use super::super::output::{print, print_json};
use super::{Common, ShownChange, query};
use crate::admin::{Client, ClientError, escaped};
use clap::Args;
use serde_json::Value;

const AFTER_HELP: &str = "\
The value is printed as JSON, so that it can be given to `lockstep set` again; --raw prints text as it is. With --json, \
the whole change is printed: the value with its revision, who made it, when, and what it replaced.

Exit codes:
  0  printed
  1  the key has no value
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep get app.database.host
  lockstep get app.database.host --raw
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
    #[command(flatten)]
    common: Common,
}

impl Get {
    pub(in crate::cli) fn run(self) -> u8 {
        self.common.live.with_host(|client| self.get(client))
    }

    fn get(&self, client: &Client) -> Result<u8, CommandError> {
        let path = format!("/v1/keys/{}", escaped(&self.key));
        let path = query(&path, &[("tenant", self.common.tenant.clone())]);
        let hint = |error: ClientError| match error {
            ClientError::Refused { status: 404, message, .. } => {
                CommandError::Failed(format!("{message}; `lockstep keys` lists what there is"))
            }
            error => error.into(),
        };
        if self.common.json {
            return Ok(print_json(&client.get_as::<Box<serde_json::value::RawValue>>(&path).map_err(hint)?));
        }
        let change: ShownChange = client.get_as(&path).map_err(hint)?;
        let text = match serde_json::from_str(change.value()) {
            Ok(Value::String(text)) if self.raw => text,
            _ => change.value().to_owned(),
        };
        Ok(print(&format!("{text}\n")))
    }
}

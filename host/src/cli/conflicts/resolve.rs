//! `lockstep conflicts resolve`: a decision, made as a change of the key.

use super::super::acting;
use super::super::held::{Held, Under};
use super::super::keys::given_json;
use super::super::live::CommandError;
use super::super::operations::call;
use super::super::output::{print, print_json};
use super::shown::{fields, number, text};
use super::{CONFLICTS, Common};
use crate::admin::Client;
use clap::{ArgGroup, Args};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
A decision is a change of the key, made by whoever decides: it goes through every transform, and is refused if exactly \
that conflict does not stand any more. `conflicts preview` shows what each way to decide makes of the key.

Under `lockstep locks run`, it is made by the holder of the lock.

Exit codes:
  0  committed; the revision is on stdout
  1  refused by the host, and stderr says why: decided already, superseded, locked, not valid, no such conflict
  2  there is no host to ask, an argument cannot be meant, or the settings are refused

Examples:
  lockstep conflicts resolve 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --use 2
  lockstep conflicts resolve 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --strategy merge_strategies
  lockstep conflicts resolve 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --value 5432 --reason agreed
  lockstep conflicts resolve 5f1c5a3e-0d4e-5a7b-9a51-1f4f0c1f2a11 --delete
";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("decision").required(true).multiple(false))]
pub(super) struct Resolve {
    /// The conflict's id
    #[arg(value_name = "ID")]
    conflict: String,
    /// By this change: its number in `conflicts show`, or its event id
    #[arg(long = "use", value_name = "SIBLING", group = "decision")]
    sibling: Option<String>,
    /// By what a strategy makes of the changes
    #[arg(long, value_name = "NAME", group = "decision")]
    strategy: Option<String>,
    /// By this value: 5432, true, '"text"', '{"a": 1}'
    #[arg(long, value_name = "JSON", group = "decision", allow_hyphen_values = true)]
    value: Option<String>,
    /// By removing the key
    #[arg(long, group = "decision")]
    delete: bool,
    /// Who decides [default: LOCKSTEP_USER, or USER]
    #[arg(long, value_name = "USER", env = acting::VARIABLE, hide_env = true)]
    user: Option<String>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    held: Held,
    #[command(flatten)]
    common: Common,
}

/// The operation's arguments. A value stays as it was written.
#[derive(Serialize)]
struct Arguments<'a> {
    conflict_id: &'a str,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    sibling: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_value: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    delete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(flatten)]
    under: Under<'a>,
}

impl Resolve {
    pub(super) fn run(self) -> u8 {
        let value = self.value.as_deref().map(|text| given_json("--value", text)).transpose();
        match value {
            Ok(value) => self.common.live.with_host(|client| self.send(client, value.as_deref())),
            Err(error) => error.tell(),
        }
    }

    fn send(&self, client: &Client, value: Option<&RawValue>) -> Result<u8, CommandError> {
        // Found by name like the others; the value goes beside them, byte for byte.
        let operation = CONFLICTS.ask(client, "resolve")?.name().to_owned();
        let sibling = self.sibling.as_deref();
        let arguments = Arguments {
            conflict_id: &self.conflict,
            sibling: sibling
                .map(|given| given.parse::<u64>().map_or_else(|_| json!(given), |number| json!(number))),
            strategy: self.strategy.as_deref(),
            new_value: value,
            delete: self.delete,
            user_id: acting::user(self.user.as_deref()),
            reason: self.reason.as_deref(),
            under: self.held.of_change(None),
        };
        let arguments = serde_json::to_string(&arguments).expect("every field is a scalar or JSON");
        let answer: Box<RawValue> = call(client, &operation, &arguments)?;
        if self.common.json {
            return Ok(print_json(&answer));
        }
        let answer = fields(&answer);
        eprintln!("`{}` is decided", text(&answer, "config_key"));
        Ok(print(&format!("revision {}\n", number(&answer, "resolved_revision"))))
    }
}

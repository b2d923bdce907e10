//! `lockstep operations` and `lockstep call`: what the components of a running host offer to be called by name.

use super::DONE;
use super::live::{CommandError, Live};
use super::output::{print, print_json, without_control};
use super::problem;
use super::table::Table;
use crate::admin::{Client, escaped};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::time::Duration;

/// An operation may take so long; the host ends it then.
const LIMIT: Duration = Duration::from_secs(120);

const LIST_HELP: &str = "\
Exit codes:
  0  printed, or there are none
  1  the host could not answer
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep operations
  lockstep operations --json
";

const CALL_HELP: &str = "\
The arguments are a JSON object; `lockstep operations --json` has their schemas. What goes wrong is on stdout as JSON, too: \
{\"error\": {\"code\", \"message\", \"details\"}}.

Exit codes:
  0  done; the answer is on stdout, as JSON
  1  the operation was refused or failed
  2  there is no host to ask, the arguments are not JSON, or the settings are refused

Examples:
  lockstep call lock.list
  lockstep call lock.info '{\"config_key\":\"app.database.host\"}'
";

#[derive(Debug, Args)]
#[command(after_help = LIST_HELP)]
pub(super) struct Operations {
    /// Print `[{name, description, arguments, only_reads, pipeline, component}]`, where `arguments` is a JSON Schema
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

#[derive(Debug, Args)]
#[command(after_help = CALL_HELP)]
pub(super) struct Call {
    /// The operation's name, as `lockstep operations` shows it
    name: String,
    /// The arguments
    #[arg(value_name = "JSON", default_value = "{}")]
    arguments: String,
    #[command(flatten)]
    live: Live,
}

/// What a host offers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Offered {
    pub name: String,
    pub description: String,
    /// A JSON Schema.
    pub arguments: Value,
}

impl Operations {
    pub(super) fn run(self) -> u8 {
        self.live.with_host(|client| {
            if self.json {
                return Ok(print_json(&client.get("/v1/operations")?));
            }
            let offered = offered(client)?;
            if offered.is_empty() {
                eprintln!("no component of this host offers an operation");
                return Ok(DONE);
            }
            let mut table = Table::new(&["NAME", "ARGUMENTS", "DESCRIPTION"]);
            for operation in &offered {
                table.row([operation.name.clone(), operation.usage(), operation.description.clone()]);
            }
            Ok(print(&without_control(&table.to_string())))
        })
    }
}

impl Call {
    pub(super) fn run(self) -> u8 {
        // Its answers are for programs, and so is what it has in their place.
        problem::tell_a_program();
        // What the arguments are is for the component to say: they pass as they are written.
        if serde_json::from_str::<HashMap<String, &RawValue>>(&self.arguments).is_err() {
            let error =
                "the arguments are not a JSON object; quote them for the shell: '{\"config_key\":\"app.x\"}'";
            return CommandError::BadArgument(error.to_owned()).tell();
        }
        self.live
            .with_host(|client| Ok(print_json(&call::<Box<RawValue>>(client, &self.name, &self.arguments)?)))
    }
}

/// Every operation of the host, by name.
pub(super) fn offered(client: &Client) -> Result<Vec<Offered>, CommandError> {
    Ok(client.get_as("/v1/operations")?)
}

/// Calls an operation and waits for its answer; with `RawValue`s in it, values stay as the host wrote them.
pub(super) fn call<T: DeserializeOwned>(
    client: &Client,
    name: &str,
    arguments: &str,
) -> Result<T, CommandError> {
    let path = format!("/v1/operations/{}", escaped(name));
    Ok(client.clone().patient(LIMIT).post_as(&path, arguments)?)
}

impl Offered {
    /// Whether it takes an argument of this name.
    pub fn takes(&self, argument: &str) -> bool {
        self.arguments["properties"].get(argument).is_some()
    }

    /// The arguments by name, those that may be left out in brackets.
    fn usage(&self) -> String {
        let required = self.arguments["required"].as_array();
        let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
        let names = self.arguments["properties"].as_object().into_iter().flat_map(|all| all.keys());
        let shown = names.map(|name| if is_required(name) { name.clone() } else { format!("[{name}]") });
        shown.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_operation_shows_what_it_takes() {
        let arguments = json!({
            "type": "object", "properties": { "config_key": {}, "ttl_ms": {} }, "required": ["config_key"],
        });
        let offered = Offered { name: "lock.acquire".into(), description: "Takes.".into(), arguments };
        assert_eq!(offered.usage(), "config_key [ttl_ms]");
        assert!(offered.takes("ttl_ms") && !offered.takes("wait_ms"));
    }
}

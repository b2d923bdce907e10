//! `lockstep state`: how the store of a running host lies on the disk, and a new data key for it.

use super::live::{CommandError, Live};
use super::output::{print, print_json};
use super::table::Table;
use super::{DONE, FAILED};
use crate::admin::Client;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::time::Duration;

/// How often a command that waits looks.
const LOOK: Duration = Duration::from_millis(200);

const AFTER_HELP: &str = "\
With keys in `state.encryption`, every value in the store is sealed on the disk: the log, its history, state, positions, \
dead letters and the audit. Values are sealed with a data key; data keys lie in `store.keys` of the data folder, sealed \
under the key of the settings that is `current`.

`rotate-key` makes a new data key. From then on values are sealed with it, and those that are there already are sealed anew \
in the background while the host works; then the older data keys are forgotten. The host may be ended at any time and goes \
on at its next start.

To put another key of the settings in the place of the current one, add it to `state.encryption.keys`, name it in \
`current`, and start the host again: that rotates the data key too. After that start the old one can be taken away.

Exit codes:
  0  printed, or a new data key is in use; with --wait, everything is sealed with it
  1  the host could not do it, or its store is not sealed
  2  there is no host to ask, or the settings are refused

Examples:
  lockstep state status
  lockstep state rotate-key --wait
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct State {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Show whether the store is sealed, with what, and how far a rotation has come.
    #[command(after_help = AFTER_HELP)]
    Status(Status),
    /// Seal with a new data key from now on, and what is there already in the background.
    #[command(after_help = AFTER_HELP)]
    RotateKey(RotateKey),
}

/// Which host, and how to answer.
#[derive(Debug, Args)]
struct Common {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct RotateKey {
    /// End only when every value is sealed with the new key and the older keys are forgotten
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    common: Common,
}

impl State {
    pub(super) fn run(self) -> u8 {
        match self.command {
            StateCommand::Status(command) => command.common.live.with_host(|host| command.show(host)),
            StateCommand::RotateKey(command) => command.common.live.with_host(|host| command.rotate(host)),
        }
    }
}

impl Status {
    fn show(&self, host: &Client) -> Result<u8, CommandError> {
        let state = host.get("/v1/state")?;
        if self.common.json {
            return Ok(print_json(&state));
        }
        let mut table = Table::new(&["STORE", ""]);
        rows(&state).into_iter().for_each(|row| table.row(row));
        Ok(print(&table.to_string()))
    }
}

fn rows(state: &Value) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut rows = vec![row("takes commits", text(&state["health"])), row("sealed", text(&state["sealed"]))];
    let Some(sealing) = state["sealing"].as_object() else { return rows };
    rows.push(row("under the key", text(&sealing["key"])));
    rows.push(row("data key", text(&sealing["data_key"])));
    rows.push(row("older data keys", text(&sealing["older_data_keys"])));
    if let Some(progress) = sealing.get("resealing").and_then(progress) {
        rows.push(row("sealing anew", progress));
    }
    rows
}

/// `None` if nothing is under way.
fn progress(resealing: &Value) -> Option<String> {
    let number = |name: &str| resealing[name].as_u64();
    let (looked_at, of_about) = (number("looked_at")?, number("of_about")?);
    let percent = looked_at * 100 / of_about.max(1);
    let problem = resealing["problem"].as_str().map(|problem| format!("; stopped: {problem}"));
    Some(format!("{percent} % of about {of_about} values{}", problem.unwrap_or_default()))
}

impl RotateKey {
    fn rotate(&self, host: &Client) -> Result<u8, CommandError> {
        let answer = host.post("/v1/state/rotate-key")?;
        if !self.common.json {
            eprintln!("values are sealed with data key {} from now on", answer["data_key"]);
        }
        if self.wait && !self.wait_for_the_end(host)? {
            return Ok(FAILED);
        }
        Ok(if self.common.json { print_json(&answer) } else { DONE })
    }

    /// False if it does not go on.
    fn wait_for_the_end(&self, host: &Client) -> Result<bool, CommandError> {
        loop {
            let state = host.get("/v1/state")?;
            let resealing = &state["sealing"]["resealing"];
            if resealing.is_null() {
                return Ok(true);
            }
            if let Some(problem) = resealing["problem"].as_str() {
                eprintln!("not everything can be sealed with it yet: {problem}");
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_status_tells_of_keys_only_where_there_are_any() {
        let plain = json!({ "health": "ok", "sealed": false, "sealing": null });
        assert_eq!(rows(&plain), [["takes commits", "ok"], ["sealed", "false"]]);
        let resealing = json!({ "looked_at": 30, "of_about": 120, "resealed": 7, "problem": null });
        let sealing = json!({ "key": "k1", "data_key": 3, "older_data_keys": 1, "resealing": resealing });
        let rows = rows(&json!({ "health": "ok", "sealed": true, "sealing": sealing }));
        assert_eq!(rows[2], ["under the key", "k1"]);
        assert_eq!(rows[5], ["sealing anew", "25 % of about 120 values"]);
    }
}

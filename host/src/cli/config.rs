//! `lockstep config show`: every setting, its value and where that comes from.

use super::flags::PluginPlaces;
use super::output::{print, print_json, refuse, tell};
use super::table::Table;
use crate::config::ShownSetting;
use clap::{Args, Subcommand};
use serde_json::Value;

const AFTER_HELP: &str = "\
A value comes from the default, a line of `lockstep.yaml`, a variable (`LOCKSTEP_ADMIN__LISTEN` is `admin.listen`) or a \
flag; the last one wins.

Exit codes:
  0  shown
  2  the settings are refused

Examples:
  lockstep config show
  LOCKSTEP_WATCHDOG=1m lockstep config show --json
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting, its value and where that comes from.
    #[command(after_help = AFTER_HELP)]
    Show(Show),
}

#[derive(Debug, Args)]
struct Show {
    /// Print `[{path, value, origin}]`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: PluginPlaces,
}

impl Config {
    pub(super) fn run(self) -> u8 {
        let ConfigCommand::Show(show) = self.command;
        let config = match show.plugins.load() {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        tell(&config.warnings);
        if show.json { print_json(&config.shown) } else { print(&table(&config.shown).to_string()) }
    }
}

fn table(shown: &[ShownSetting]) -> Table {
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
    for setting in shown {
        let value = match &setting.value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        table.row([setting.path.clone(), value, setting.origin.to_string()]);
    }
    table
}

//! `lockstep plugins`: what is installed, and what is not used and why; calls of what a plugin computes.

mod alone;
mod call;

use super::flags::PluginPlaces;
use super::output::{print, print_json, refuse};
use super::table::Table;
use super::{DONE, REFUSED};
use crate::admin;
use crate::host::open_registry;
use crate::registry::Registry;
use clap::{Args, Subcommand};

const AFTER_HELP: &str = "\
Plugins are found in the folders of `plugin_path`; their metadata is read from the files, and nothing of them is run. \
A pipeline names a component (`plugin: kafka`), in a version if there are several (`plugin: kafka@1.2`), or a file. \
Files and folders that are not used are named on stderr, with the reason and what to do.

Exit codes:
  0  at least one plugin can be used
  2  none can

Examples:
  lockstep plugins
  lockstep plugins --plugin-path ./target/release --json
  lockstep plugins call resolver ot --jsonl < cases.jsonl
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(super) struct Plugins {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print `{plugins: [{package, version, description, plugin_api, file, components}], refused: [{reason}]}`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: PluginPlaces,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Call an operation of a component outside of any host.
    Call(call::Call),
}

impl Plugins {
    pub(super) fn run(self) -> u8 {
        if let Some(Action::Call(call)) = self.action {
            return call.run();
        }
        let config = match self.plugins.load() {
            Ok(config) => config,
            Err(problems) => return refuse(&problems),
        };
        let registry = open_registry(&config.settings);
        if self.json {
            print_json(&admin::plugins(&registry));
        } else {
            print(&table(&registry).to_string());
            registry.problems().for_each(|problem| eprintln!("refused: {problem}"));
        }
        if registry.installed().is_empty() {
            let folders = config.settings.plugin_path.iter().map(|folder| folder.display().to_string());
            let folders = folders.collect::<Vec<_>>().join(", ");
            eprintln!("error: no plugin can be used; looked in {folders} (setting `plugin_path`)");
            return REFUSED;
        }
        DONE
    }
}

/// A line for each component.
fn table(registry: &Registry) -> Table {
    let mut table = Table::new(&["KIND", "NAME", "VERSION", "API", "FILE", "DESCRIPTION"]);
    for plugin in registry.installed() {
        let metadata = &plugin.metadata;
        for component in &metadata.components {
            table.row([
                component.kind.as_str(),
                &component.name,
                &metadata.version,
                &metadata.plugin_api,
                &plugin.file.display().to_string(),
                &metadata.description,
            ]);
        }
    }
    table
}

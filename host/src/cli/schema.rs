//! `lockstep schema`: what an editor needs to complete and check pipeline files.

use super::flags::PluginPlaces;
use super::output::{complain, print, refuse};
use super::{DONE, FAILED};
use crate::config::{self, ComponentKind, PluginRef};
use crate::host::open_registry;
use crate::registry::Registry;
use clap::Args;
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
For editors with the YAML language server, put this on the first line of a pipeline file:
  # yaml-language-server: $schema=../lockstep.schema.json

Exit codes:
  0  written
  1  written without the schema of a plugin that could not be loaded, or not written
  2  the settings are refused

Examples:
  lockstep schema --output lockstep.schema.json
  lockstep schema --settings                      for lockstep.yaml
  lockstep schema --reference                     the format as Markdown, field by field
";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Schema {
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The host's settings instead of pipeline files
    #[arg(long)]
    settings: bool,
    /// A reference in Markdown instead of a schema
    #[arg(long)]
    reference: bool,
    #[command(flatten)]
    plugins: PluginPlaces,
}

impl Schema {
    pub(super) fn run(self) -> u8 {
        let mut n_missing = 0;
        let text = match (self.reference, self.settings) {
            (true, true) => config::settings_reference(),
            (true, false) => config::format_reference(),
            (false, true) => json_text(&config::settings_schema()),
            (false, false) => {
                let config = match self.plugins.load() {
                    Ok(config) => config,
                    Err(problems) => return refuse(&problems),
                };
                let (schema, missing) = of_plugins(&open_registry(&config.settings));
                n_missing = missing;
                json_text(&schema)
            }
        };
        match self.write(&text) {
            DONE if n_missing == 0 => DONE,
            _ => FAILED,
        }
    }

    fn write(&self, text: &str) -> u8 {
        let Some(file) = &self.output else { return print(text) };
        match std::fs::write(file, text) {
            Ok(()) => {
                eprintln!("written to {}", file.display());
                DONE
            }
            Err(error) => {
                eprintln!("error: {} cannot be written", file.display());
                complain(&error);
                FAILED
            }
        }
    }
}

fn json_text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// The schema, and how many components are not in it because their plugin could not be asked.
fn of_plugins(registry: &Registry) -> (Value, usize) {
    let mut found = Vec::new();
    let mut n_missing = 0;
    for (kind, name, version) in components(registry) {
        let named = PluginRef::Named { name: name.clone(), version: Some(version.clone()) };
        let schema = registry.component(kind, &named).map_err(|error| error.to_string());
        match schema.and_then(|component| component.schema().map_err(|error| error.message().to_owned())) {
            Ok(schema) => found.push((kind, name, version, schema)),
            Err(error) => {
                n_missing += 1;
                eprintln!("error: {kind} `{name}` {version} is left out: {error}");
            }
        }
    }
    let mut n_versions: HashMap<(ComponentKind, String), usize> = HashMap::new();
    for (kind, name, ..) in &found {
        *n_versions.entry((*kind, name.clone())).or_default() += 1;
    }
    // Of several versions, each is asked for with its version, as pipelines have to.
    let named = found.into_iter().map(|(kind, name, version, schema)| {
        let is_alone = n_versions[&(kind, name.clone())] == 1;
        (kind, if is_alone { name } else { format!("{name}@{version}") }, schema)
    });
    let named: Vec<_> = named.collect();
    let list: Vec<_> =
        named.iter().map(|(kind, name, schema)| (*kind, name.as_str(), schema.clone())).collect();
    (config::editor_schema(&list), n_missing)
}

fn components(registry: &Registry) -> Vec<(ComponentKind, String, String)> {
    let kinds = [ComponentKind::Source, ComponentKind::Transform, ComponentKind::Sink];
    let mut found = Vec::new();
    for plugin in registry.installed() {
        for component in &plugin.metadata.components {
            let kind = kinds.into_iter().find(|kind| kind.as_str() == component.kind);
            found.extend(kind.map(|kind| (kind, component.name.clone(), plugin.metadata.version.clone())));
        }
    }
    found
}

//! Flags that several commands take, each of them a setting: a flag overrides the environment and `lockstep.yaml`.

use crate::config::{self, Checked, Config, Diagnostics, Flag, LoadOptions, SettingsFile};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the host's settings and state are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct Place {
    /// File with the host's settings; without it, `lockstep.yaml` in the current folder is read if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the host keeps its state [default: ./lockstep-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// The same, and where plugins are.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct PluginPlaces {
    #[command(flatten)]
    place: Place,
    /// A folder with plugins; may be given more than once [default: the executable's folder]
    #[arg(long, value_name = "DIR")]
    plugin_path: Vec<PathBuf>,
}

/// The same, and what concerns a host that runs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct HostFlags {
    #[command(flatten)]
    plugins: PluginPlaces,
    /// Address of the admin server, or `off` [default: 127.0.0.1:8780]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Log JSON lines instead of text
    #[arg(long, help_heading = "Options")]
    json: bool,
}

fn flag(name: &str, path: &str, value: Value) -> Flag {
    Flag { name: name.into(), path: path.into(), value }
}

fn text(path: impl AsRef<Path>) -> Value {
    Value::from(path.as_ref().to_string_lossy().into_owned())
}

impl Place {
    fn options(&self, pipelines: &[PathBuf], mut more: Vec<Flag>) -> LoadOptions {
        more.extend(self.data_dir.as_ref().map(|dir| flag("--data-dir", "data_dir", text(dir))));
        let settings = match &self.config {
            Some(file) => SettingsFile::Named(file.clone()),
            None => SettingsFile::IfPresent("lockstep.yaml".into()),
        };
        LoadOptions { settings, pipelines: pipelines.to_vec(), flags: more, ..LoadOptions::default() }
    }

    /// The settings alone.
    pub fn load(&self) -> Result<Config, Diagnostics> {
        config::load(&self.options(&[], Vec::new()))
    }
}

impl PluginPlaces {
    fn flags(&self) -> Vec<Flag> {
        let folders: Vec<_> = self.plugin_path.iter().map(text).collect();
        Vec::from_iter((!folders.is_empty()).then(|| flag("--plugin-path", "plugin_path", folders.into())))
    }

    /// The settings alone.
    pub fn load(&self) -> Result<Config, Diagnostics> {
        config::load(&self.place.options(&[], self.flags()))
    }

    /// Settings and pipelines, with everything that is wrong with them.
    pub fn check(&self, pipelines: &[PathBuf]) -> Checked {
        config::check(&self.place.options(pipelines, self.flags()))
    }
}

impl HostFlags {
    /// Settings and pipelines.
    pub fn load(&self, pipelines: &[PathBuf]) -> Result<Config, Diagnostics> {
        let mut flags = self.plugins.flags();
        let listen = self.admin_listen.as_deref();
        flags.extend(listen.map(|listen| flag("--admin-listen", "admin.listen", listen.into())));
        flags.extend(self.json.then(|| flag("--json", "log.format", "json".into())));
        config::load(&self.plugins.place.options(pipelines, flags))
    }
}

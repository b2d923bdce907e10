//! Flags that several commands take: settings, which override the environment and `lockstep.yaml`, and what lists are of.

use super::live::CommandError;
use crate::config::{self, Checked, Config, Diagnostics, Flag, LoadOptions, SettingsFile};
use clap::Args;
use lockstep_plugin_api::names::tenant_problem;
use serde_json::Value;
use std::num::NonZeroUsize;
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
    #[arg(long = "json", help_heading = "Options")]
    log_json: bool,
}

/// Whose configuration a list is of.
#[derive(Debug, Args)]
pub(super) struct Tenants {
    /// Whose configuration; without it, the configuration without a tenant [env: LOCKSTEP_TENANT]
    #[arg(long, value_name = "TENANT", value_parser = tenant)]
    tenant: Option<String>,
    /// What every tenant has
    #[arg(long, conflicts_with = "tenant")]
    pub(super) all_tenants: bool,
}

impl Tenants {
    /// The one that is named; by the flag or, where no flag says whose, by the variable.
    ///
    /// # Errors
    /// If the variable holds no name of a tenant.
    pub fn named(&self) -> Result<Option<String>, CommandError> {
        self.named_or(std::env::var(TENANT_VARIABLE).ok())
    }

    fn named_or(&self, default: Option<String>) -> Result<Option<String>, CommandError> {
        match (&self.tenant, default) {
            (None, Some(name)) if !self.all_tenants => tenant(&name)
                .map(Some)
                .map_err(|problem| CommandError::BadArgument(format!("{TENANT_VARIABLE}: {problem}"))),
            (named, _) => Ok(named.clone()),
        }
    }
}

/// Whose configuration commands are about that do not say it.
const TENANT_VARIABLE: &str = "LOCKSTEP_TENANT";

/// The name of a tenant, as an argument.
pub(super) fn tenant(text: &str) -> Result<String, String> {
    match tenant_problem(text) {
        Some(problem) => Err(format!("a tenant {problem}")),
        None => Ok(text.to_owned()),
    }
}

/// How many of something are wanted, as an argument: none is nothing to ask for.
pub(super) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse::<NonZeroUsize>().map_err(|_| "a count is a number from 1 on")?;
    Ok(count.get())
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
        flags.extend(self.log_json.then(|| flag("--json", "log.format", "json".into())));
        config::load(&self.plugins.place.options(pipelines, flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_says_whose_configuration_only_where_no_flag_does() {
        let of =
            |tenant: Option<&str>, all_tenants| Tenants { tenant: tenant.map(str::to_owned), all_tenants };
        let named = |flags: Tenants, variable: &str| flags.named_or(Some(variable.to_owned())).ok();
        assert_eq!(named(of(None, false), "acme"), Some(Some("acme".to_owned())));
        assert_eq!(named(of(Some("other"), false), "acme"), Some(Some("other".to_owned())));
        assert_eq!(named(of(None, true), "acme"), Some(None));
        assert_eq!(named(of(None, false), "bad/tenant"), None);
        assert_eq!(named(of(None, true), "bad/tenant"), Some(None));
    }

    #[test]
    fn a_count_is_at_least_one() {
        assert_eq!((count("1"), count("1000")), (Ok(1), Ok(1000)));
        for text in ["0", "-1", "", "many"] {
            assert!(count(text).is_err(), "{text}");
        }
    }
}

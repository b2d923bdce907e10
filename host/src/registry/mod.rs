//! Plugin folders -> components that can be opened.
//!
//! Discovery reads files and runs nothing; a library is loaded when a pipeline first asks for one of its components.

mod discover;
mod inspect;
mod permissions;
mod names;
mod cache;
mod load;
mod component;
mod error;

#[cfg(test)]
mod tests;

pub use component::{Applied, Component, FailedRecord, Operation, Replays, Replies, Sink, Source, Transform};
pub use discover::InstalledPlugin;
pub use error::{Choice, LoadError, PluginFile};
pub use lockstep_plugin_api::abi::{
    Records,
    types::RArc,
    vtable::{CatchUpCell, ComponentParts, StopCell},
};

use crate::config::{ComponentKind, PluginRef};
use discover::Found;
use load::Plugin;
use lockstep_plugin_api::abi::vtable::LogHostBox;
use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Where plugins are, where they are copied to, and where their log lines go.
pub struct RegistryOptions {
    /// Folders to search. Empty: the executable's folder, then `../lib/lockstep` from there.
    pub plugin_path: Vec<PathBuf>,
    /// Where plugins are copied before they are loaded.
    pub cache_dir: PathBuf,
    /// Given to every plugin before anything else of it runs.
    pub log_host: LogHostBox,
}

/// The plugins of this host as they were found. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    found: Found,
    cache_dir: PathBuf,
    log_host: LogHostBox,
    /// By the operator's file, which is read once per registry.
    plugins: Mutex<HashMap<PathBuf, Arc<Plugin>>>,
}

impl Registry {
    /// Looks at the folders; loads nothing. What cannot be used is in [`Registry::problems`].
    pub fn open(options: RegistryOptions) -> Self {
        let RegistryOptions { plugin_path, cache_dir, log_host } = options;
        let folders = if plugin_path.is_empty() { discover::default_folders() } else { plugin_path };
        let found = discover::discover(&folders);
        Self(Arc::new(Inner { found, cache_dir, log_host, plugins: Mutex::default() }))
    }

    /// Every plugin that pipelines may name, in the order of the folders.
    pub fn installed(&self) -> &[InstalledPlugin] {
        &self.0.found.installed
    }

    /// Files and folders that are not used, and why.
    pub fn problems(&self) -> impl Iterator<Item = &LoadError> {
        self.0.found.refused.iter().map(|refused| &refused.error)
    }

    /// The component a pipeline names; its plugin is loaded if it is not yet.
    ///
    /// # Errors
    /// Why there is no such component, or why its plugin cannot be loaded.
    pub fn component(&self, kind: ComponentKind, plugin: &PluginRef) -> Result<Component, LoadError> {
        match plugin {
            PluginRef::Named { name, version } => self.named(kind, name, version.as_deref()),
            PluginRef::Path(file) => self.only_component_of(kind, file),
        }
    }

    /// Tells loaded plugins that the host's log filter changed.
    pub fn refresh_log_filter(&self) {
        load::refresh_log_filters();
    }

    fn named(&self, kind: ComponentKind, name: &str, version: Option<&str>) -> Result<Component, LoadError> {
        let chosen = names::choose(&self.0.found.installed, kind, name, version)
            .map_err(|error| self.0.found.reason_for(name, error))?;
        let plugin = self.plugin(&chosen.file)?;
        component_of(kind, &plugin, Some(name))
    }

    fn only_component_of(&self, kind: ComponentKind, file: &Path) -> Result<Component, LoadError> {
        component_of(kind, &self.plugin(file)?, None)
    }

    fn plugin(&self, file: &Path) -> Result<Arc<Plugin>, LoadError> {
        let mut plugins = self.0.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = plugins.get(file) {
            return Ok(Arc::clone(plugin));
        }
        let at = PluginFile::new(file);
        permissions::check_file(&at)?;
        let plugin = Arc::new(load::load(&at, &self.0.cache_dir, &self.0.log_host)?);
        plugins.insert(file.to_owned(), Arc::clone(&plugin));
        Ok(plugin)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("found", &self.0.found).finish_non_exhaustive()
    }
}

/// The component of this kind, and of this name where one is wanted; without a name it must be the only one.
fn component_of(
    kind: ComponentKind,
    plugin: &Arc<Plugin>,
    name: Option<&str>,
) -> Result<Component, LoadError> {
    let components = &plugin.metadata.components;
    let wanted = components
        .iter()
        .filter(|component| component.kind == kind.as_str())
        .filter(|component| name.is_none_or(|name| component.name == name));
    let wanted: Vec<_> = wanted.collect();
    match &wanted[..] {
        [component] => Ok(Component::new(kind, Arc::clone(plugin), (*component).clone())),
        [] => {
            let found = components.iter().map(|found| format!("{} {}", found.kind, found.name)).collect();
            Err(LoadError::NoSuchKind { plugin: plugin.at.clone(), kind, found })
        }
        several => {
            let found = several.iter().map(|component| component.name.clone()).collect();
            Err(LoadError::ManyOfKind { plugin: plugin.at.clone(), kind, found })
        }
    }
}

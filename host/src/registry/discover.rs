//! Folders -> plugins that are installed and files that are refused. Nothing is run.

use super::{
    error::{LoadError, PluginFile},
    inspect::inspect,
    permissions,
};
use lockstep_plugin_api::abi::handshake::Metadata;
use object::ReadCache;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A plugin that a pipeline may name.
#[derive(Debug, Clone)]
pub struct InstalledPlugin {
    pub file: PathBuf,
    pub metadata: Metadata,
}

/// A file or folder that is not used, and what it would have offered as far as that can be told.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) names: Vec<String>,
    pub(super) error: LoadError,
}

/// Everything the folders hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) installed: Vec<InstalledPlugin>,
    pub(super) refused: Vec<Refused>,
    /// Canonical paths, so that a file reached through two folders is one plugin.
    seen: BTreeSet<PathBuf>,
}

/// Where plugins are when the operator does not say: beside the executable, and in `../lib/lockstep` from there.
pub(super) fn default_folders() -> Vec<PathBuf> {
    let executable = std::env::current_exe().and_then(|file| file.canonicalize());
    let Some(folder) = executable.ok().and_then(|file| file.parent().map(Path::to_owned)) else {
        return Vec::new();
    };
    let library = folder.parent().unwrap_or(&folder).join("lib/lockstep");
    [folder, library].into_iter().filter(|folder| folder.is_dir()).collect()
}

/// Looks at every `*.so` of these folders, in their order and by name within each.
pub(super) fn discover(folders: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for folder in folders {
        if let Err(cause) = found.add_folder(folder) {
            let error = LoadError::FolderUnreadable { folder: folder.clone(), cause: Arc::new(cause) };
            found.refused.push(Refused { names: Vec::new(), error });
        }
    }
    found
}

impl Found {
    /// Why a name is not installed: what is wrong with the plugin that would have it, else `unknown`.
    pub(super) fn reason_for(&self, name: &str, unknown: LoadError) -> LoadError {
        if !matches!(unknown, LoadError::Unknown { .. }) {
            return unknown;
        }
        let refused = self.refused.iter().find(|refused| refused.names.iter().any(|found| found == name));
        refused.map_or(unknown, |refused| refused.error.clone())
    }

    fn add_folder(&mut self, folder: &Path) -> io::Result<()> {
        let files = libraries(folder)?;
        match permissions::check_folder(folder) {
            Ok(()) => files.into_iter().for_each(|file| self.add_file(file)),
            Err(error) => self.refuse_folder(error, &files),
        }
        Ok(())
    }

    fn add_file(&mut self, file: PathBuf) {
        if !self.seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())) {
            return;
        }
        let plugin = PluginFile::new(&file);
        match inspect_file(&plugin) {
            Ok(metadata) => match permissions::check_file(&plugin) {
                Ok(()) => self.installed.push(InstalledPlugin { file, metadata }),
                Err(error) => self.refused.push(Refused { names: names_of(&metadata), error }),
            },
            // Other libraries may lie in a folder of plugins, beside the executable for example.
            Err(LoadError::NotAPlugin { .. }) if !is_named_as_plugin(&file) => {}
            Err(error) => self.refused.push(Refused { names: vec![plugin.name], error }),
        }
    }

    /// The folder's plugins are read all the same, so that a pipeline that names one is told about the folder.
    fn refuse_folder(&mut self, error: LoadError, files: &[PathBuf]) {
        let names = files.iter().filter_map(|file| inspect_file(&PluginFile::new(file)).ok());
        let names = names.flat_map(|metadata| names_of(&metadata)).collect();
        self.refused.push(Refused { names, error });
    }
}

/// The metadata of a plugin's file, without running it.
pub(super) fn inspect_file(plugin: &PluginFile) -> Result<Metadata, LoadError> {
    // The cache reads the few ranges that are asked for; a library with debug symbols has tens of megabytes.
    let file = fs::File::open(&plugin.file).map_err(|cause| LoadError::reading(plugin, cause))?;
    inspect(&ReadCache::new(file), plugin)
}

fn libraries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "so") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn names_of(metadata: &Metadata) -> Vec<String> {
    metadata.components.iter().map(|component| component.name.clone()).collect()
}

fn is_named_as_plugin(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("liblockstep"))
}

//! Why a plugin cannot be used: each reason with the file, what was found, what was expected and what to do.

use crate::config::ComponentKind;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A plugin as messages name it: what it calls itself once its metadata is known, else what its file is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFile {
    pub name: String,
    pub file: PathBuf,
}

impl PluginFile {
    /// A plugin of which only the file is known: `liblockstep_plugin_kafka.so` is `kafka`.
    pub(super) fn new(file: &Path) -> Self {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem.strip_prefix("lib").unwrap_or(&stem);
        let name = name.strip_prefix("lockstep_plugin_").unwrap_or(name);
        Self { name: name.to_owned(), file: file.to_owned() }
    }

    /// The same file under the name and version of its metadata.
    pub(super) fn known_as(&self, package: &str, version: &str) -> Self {
        Self { name: format!("{package} {version}"), file: self.file.clone() }
    }
}

impl fmt::Display for PluginFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}` ({})", self.name, self.file.display())
    }
}

/// One of several plugins that have the wanted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub version: String,
    pub file: PathBuf,
}

/// Why a plugin, or the one a pipeline names, cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    #[error(
        "{plugin} is not a shared library: found {found}, expected a 64-bit ELF file; copy the built `.so` again"
    )]
    NotALibrary { plugin: PluginFile, found: String },

    #[error(
        "{plugin} is truncated: found {found} bytes, expected at least {expected} by its own headers; copy it again"
    )]
    Truncated { plugin: PluginFile, found: u64, expected: u64 },

    #[error(
        "{plugin} is built for another processor: found {found}, expected {expected}; build it for \
         `{expected}-unknown-linux-gnu`"
    )]
    OtherProcessor { plugin: PluginFile, found: String, expected: &'static str },

    #[error(
        "{plugin} is not a Lockstep plugin: found no section `.lockstep.meta`, expected the one that \
         `export_plugin!` writes"
    )]
    NotAPlugin { plugin: PluginFile },

    #[error(
        "{plugin} has metadata that this host cannot read: {reason}; build it again with `export_plugin!` of \
         lockstep-plugin-api {expected}"
    )]
    BadMetadata { plugin: PluginFile, reason: String, expected: &'static str },

    #[error(
        "{plugin} speaks another plugin-api: found {found}, expected {expected}; build it against \
         lockstep-plugin-api {expected}"
    )]
    OtherApi { plugin: PluginFile, found: String, expected: &'static str },

    #[error(
        "{plugin} has no entry point: found no symbol `{symbol}`, expected the one that `export_plugin!` writes; do \
         not strip dynamic symbols"
    )]
    NoEntryPoint { plugin: PluginFile, symbol: &'static str },

    #[error(
        "{plugin} lays out the types of the boundary differently: {reason}; build it against this host's \
         lockstep-plugin-api {expected}"
    )]
    OtherLayout { plugin: PluginFile, reason: String, expected: &'static str },

    #[error(
        "{plugin} needs the shared library `{library}`, which was not found; install it where the system looks for \
         libraries (a path beside the plugin is not searched), or link it statically"
    )]
    MissingLibrary { plugin: PluginFile, library: String },

    #[error("{plugin} could not be linked: {reason}; build it on a system not newer than this one")]
    WillNotLink { plugin: PluginFile, reason: String },

    #[error("{plugin} failed while it was initialised: {reason}")]
    InitFailed { plugin: PluginFile, reason: String },

    #[error(
        "{what} {} may be written by others: found mode {mode:04o}, expected no write permission for {who}; loading \
         a plugin runs its code, so run `chmod {fix} {}`",
        path.display(), path.display()
    )]
    WritableByOthers { path: PathBuf, what: &'static str, mode: u32, who: &'static str, fix: &'static str },

    #[error(
        "{plugin} cannot be loaded from {}: found a file system mounted `noexec`, expected one that allows execution; \
         set `plugin_cache_dir` to a folder on one that does",
        folder.display()
    )]
    NoexecCache { plugin: PluginFile, folder: PathBuf },

    #[error(
        "{plugin} could not be copied to {}, where plugins are loaded from; make the folder writable or set \
         `plugin_cache_dir` to another one",
        folder.display()
    )]
    CacheUnusable {
        plugin: PluginFile,
        folder: PathBuf,
        #[source]
        cause: Arc<io::Error>,
    },

    #[error("no {kind} named `{name}` is installed{}", suggestion(nearest.as_deref(), installed))]
    Unknown { kind: ComponentKind, name: String, nearest: Option<String>, installed: Vec<String> },

    #[error("`{name}` is not a {kind}: found {}, expected a {kind}", list_kinds(found))]
    OtherKind { kind: ComponentKind, name: String, found: Vec<ComponentKind> },

    #[error(
        "{kind} `{name}` is installed more than once: {}; {}",
        list_choices(choices),
        how_to_choose(name, choices)
    )]
    Ambiguous { kind: ComponentKind, name: String, choices: Vec<Choice> },

    #[error(
        "{kind} `{name}` is not installed in version {version}: found {}, expected {version}",
        list_choices(installed)
    )]
    VersionNotInstalled { kind: ComponentKind, name: String, version: String, installed: Vec<Choice> },

    #[error("{plugin} has no {kind}: found {}, expected a {kind}", list(found))]
    NoSuchKind { plugin: PluginFile, kind: ComponentKind, found: Vec<String> },

    #[error(
        "{plugin} has more than one {kind}: found {}, expected one; put its folder into `plugin_path` and name the \
         one you mean",
        list(found)
    )]
    ManyOfKind { plugin: PluginFile, kind: ComponentKind, found: Vec<String> },

    #[error("{plugin} is not there: found no file, expected a plugin; check the path or install it again")]
    Vanished { plugin: PluginFile },

    #[error("{plugin} could not be read")]
    Unreadable {
        plugin: PluginFile,
        #[source]
        cause: Arc<io::Error>,
    },

    #[error("plugin folder {} could not be read; correct `plugin_path`", folder.display())]
    FolderUnreadable {
        folder: PathBuf,
        #[source]
        cause: Arc<io::Error>,
    },
}

impl LoadError {
    /// What went wrong with reading a plugin's file.
    pub(super) fn reading(plugin: &PluginFile, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Vanished { plugin: plugin.clone() },
            _ => Self::Unreadable { plugin: plugin.clone(), cause: Arc::new(cause) },
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn list_kinds(kinds: &[ComponentKind]) -> String {
    kinds.iter().map(|kind| format!("a {kind}")).collect::<Vec<_>>().join(" and ")
}

fn list_choices(choices: &[Choice]) -> String {
    let one = |choice: &Choice| format!("{} ({})", choice.version, choice.file.display());
    choices.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn suggestion(nearest: Option<&str>, installed: &[String]) -> String {
    match (nearest, installed) {
        (Some(nearest), _) => format!("; did you mean `{nearest}`? Installed: {}", list(installed)),
        (None, []) => {
            "; none is: check `plugin_path`, and `lockstep plugins` for what was refused".to_owned()
        }
        (None, installed) => format!("; installed: {}", list(installed)),
    }
}

/// A version chooses between two versions; between two files of one version only a path does.
fn how_to_choose(name: &str, choices: &[Choice]) -> String {
    let [first, .., last] = choices else { return String::new() };
    if choices.iter().any(|choice| choice.version != first.version) {
        format!("write `{name}@{}` or `{name}@{}`", first.version, last.version)
    } else {
        format!("write the path of the one you mean, `{}`, or remove the other", first.file.display())
    }
}

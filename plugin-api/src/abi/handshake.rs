//! Whether a library and a host speak the same boundary: metadata without running code, then layouts, then names.

use crate::abi::vtable::PluginModuleRef;
use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{
        AbiInstability, AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
    },
    library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL},
};
use serde::{Deserialize, Serialize};

/// The ELF section that holds a plugin's [`Metadata`] as JSON, so that it can be read without running the file.
pub const METADATA_SECTION: &str = ".lockstep.meta";

/// The symbol that leads to a plugin's root module, with its closing NUL.
pub const ROOT_SYMBOL: &str = ROOT_MODULE_LOADER_NAME_WITH_NUL;

/// The version of this crate, which is the version of the boundary.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The crate's name.
    pub package: String,
    /// The crate's version: what `name@version` in a pipeline means.
    pub version: String,
    /// The crate's description.
    pub description: String,
    /// The [`API_VERSION`] it was built with.
    pub plugin_api: String,
    /// What it provides.
    pub components: Vec<ComponentMetadata>,
}

/// One component of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentMetadata {
    /// `source`, `transform` or `sink`.
    pub kind: String,
    /// The name pipelines use.
    pub name: String,
    /// Whether it commits to the log; a pipeline that ends with such a transform goes through the log.
    #[serde(default)]
    pub commits: bool,
    /// Whether it is given notices beside changes.
    #[serde(default)]
    pub notices: bool,
    /// Whether it is a source whose authors hear what became of their records; a rejection is then told, not stored.
    #[serde(default)]
    pub answers: bool,
    /// Whether it is a source that reads its input again from the last committed position, after a crash for example.
    #[serde(default)]
    pub replays: bool,
    /// Whether it is such a source with some configurations and not with others.
    #[serde(default)]
    pub may_replay: bool,
}

/// Why a library that is a plugin cannot be used by this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What differs, in one line: where, what the host expects, what the plugin has.
    pub reason: String,
}

/// Checks the layouts of every type that crosses the boundary and gives the plugin's root module.
///
/// The check is made in both directions: a plugin may be newer than the host by a suffix, or older by one. An older
/// plugin's missing fields read as absent and its missing methods run their default bodies, because the accessors
/// consult the fields the library really has. Each check starts from fresh globals; abi_stable's own process-wide ones
/// make the answer depend on which plugins were loaded before.
///
/// # Errors
/// A sentence per difference, at most two, if neither direction fits.
///
/// # Safety
/// `header` must come from a library that stays loaded until the process ends, and be what the library exports under
/// [`ROOT_SYMBOL`].
pub unsafe fn open(header: AbiHeaderRef) -> Result<PluginModuleRef, Mismatch> {
    let header: &'static LibHeader = header.upgrade().map_err(|error| Mismatch {
        reason: format!("built with another abi_stable: {}", one_line(&error.to_string())),
    })?;
    let theirs = header
        .layout()
        .ok_or_else(|| Mismatch { reason: "exported without the layout of its types".to_owned() })?;
    let ours = <PluginModuleRef as StableAbi>::LAYOUT;
    if let Err(newer) = check_layout_compatibility_with_globals(ours, theirs, &CheckingGlobals::new()) {
        check_layout_compatibility_with_globals(theirs, ours, &CheckingGlobals::new())
            .map_err(|_| Mismatch { reason: explain(&newer) })?;
    }
    // SAFETY: the layouts were checked above, in one direction or the other.
    unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() }
        .map_err(|error| Mismatch { reason: one_line(&error.to_string()) })
}

/// abi_stable's report is tens of kilobytes with the cause at its end; this is the cause.
fn explain(errors: &AbiInstabilityErrors) -> String {
    let mut reasons = Vec::new();
    for error in &errors.errors {
        let mut place: Vec<String> =
            error.stack_trace.iter().map(|frame| field_name(&frame.expected.to_string())).collect();
        place.retain(|name| !name.is_empty());
        let place = place[place.len().saturating_sub(2)..].join(" > ");
        reasons.extend(error.errs.iter().map(|instability| format!("{place}: {}", difference(instability))));
    }
    reasons.dedup();
    let n_more = reasons.len().saturating_sub(2);
    reasons.truncate(2);
    if n_more > 0 {
        reasons.push(format!("and {n_more} more"));
    }
    reasons.join("; ")
}

/// The name and the type out of abi_stable's lines `field_name:…` and `type:…`.
fn field_name(frame: &str) -> String {
    let find = |prefix: &str| {
        frame.lines().find_map(|line| line.trim().strip_prefix(prefix)).unwrap_or_default().trim()
    };
    match (find("field_name:"), find("type:")) {
        ("", of_type) => of_type.to_owned(),
        (name, of_type) => format!("{name}: {of_type}"),
    }
}

fn difference(instability: &AbiInstability) -> String {
    use AbiInstability as Is;
    match instability {
        Is::Name(names) => format!("expected type `{}`, found `{}`", names.expected, names.found),
        Is::PackageVersion(versions) => {
            format!("expected a type of version {}, found version {}", versions.expected, versions.found)
        }
        Is::Size(sizes) => format!("expected {} bytes, found {}", sizes.expected, sizes.found),
        Is::FieldCountMismatch(counts) => {
            format!("expected {} fields, found {}", counts.expected, counts.found)
        }
        Is::UnexpectedField(fields) => {
            format!("expected field `{}`, found `{}`", fields.expected.name(), fields.found.name())
        }
        other => one_line(&format!("{other:?}")).chars().take(160).collect(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

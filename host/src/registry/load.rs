//! A copied file -> a plugin's entry points. The only `unsafe` of this room.
//!
//! A library that is open stays open until the process ends: its threads, its destructors of thread-local data and the
//! records it made have no other end. The same content is loaded once.

use super::{
    cache,
    error::{LoadError, PluginFile},
    inspect::inspect,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use lockstep_plugin_api::abi::{
    handshake::{self, API_VERSION, Metadata, ROOT_SYMBOL},
    types::AbiHeaderRef,
    vtable::{LogHostBox, PluginModuleRef},
};
use std::{
    collections::HashMap,
    error::Error,
    ffi::CString,
    fs, mem,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A loaded library and what it says about itself.
#[derive(Clone)]
pub(super) struct Plugin {
    pub(super) at: PluginFile,
    pub(super) metadata: Metadata,
    pub(super) module: PluginModuleRef,
}

type Loaded = HashMap<blake3::Hash, PluginModuleRef>;
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

fn loaded() -> MutexGuard<'static, Option<Loaded>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads a plugin's file through a copy in `cache_dir`.
///
/// What is inspected is what is copied: the file is read once, so changing it meanwhile changes nothing.
pub(super) fn load(at: &PluginFile, cache_dir: &Path, logs: &LogHostBox) -> Result<Plugin, LoadError> {
    let content = fs::read(&at.file).map_err(|cause| LoadError::reading(at, cause))?;
    let metadata = inspect(&content[..], at)?;
    let at = at.known_as(&metadata.package, &metadata.version);
    let hash = blake3::hash(&content);
    let mut loaded = loaded();
    let loaded = loaded.get_or_insert_default();
    if let Some(module) = loaded.get(&hash) {
        return Ok(Plugin { at, metadata, module: *module });
    }
    let copy = cache::keep(cache_dir, &at, &content, &hash)?;
    let module = open(&at, &copy)?;
    module.init()(logs.clone())
        .into_result()
        .map_err(|error| LoadError::InitFailed { plugin: at.clone(), reason: error.message().to_owned() })?;
    loaded.insert(hash, module);
    Ok(Plugin { at, metadata, module })
}

/// Makes every loaded plugin ask anew which of its log lines somebody reads.
pub(super) fn refresh_log_filters() {
    let modules: Vec<PluginModuleRef> = loaded().iter().flat_map(|loaded| loaded.values()).copied().collect();
    modules.into_iter().for_each(|module| module.refresh_log_filter()());
}

fn open(at: &PluginFile, copy: &Path) -> Result<PluginModuleRef, LoadError> {
    if is_noexec(copy) {
        return Err(noexec(at, copy));
    }
    let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
    // SAFETY: the file is a whole ELF file for this processor with a plugin's metadata, and lies where nobody else
    // writes. Its constructors run here; that a plugin's code is trusted is what installing it means.
    let library = unsafe { Library::open(Some(copy), flags) }
        .map_err(|error| link_error(at, copy, &innermost(&error)))?;
    // SAFETY: the symbol, if there, is the `LibHeader` that `export_plugin!` defines; a reference to one is what its
    // address is. `handshake::open` checks the header's own magic before it reads further.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_SYMBOL) }.map(|symbol| *symbol);
    mem::forget(library);
    let symbol = ROOT_SYMBOL.trim_end_matches('\0');
    let header = header.map_err(|_| LoadError::NoEntryPoint { plugin: at.clone(), symbol })?;
    // SAFETY: the library is never closed, and the header is what it exports under `ROOT_SYMBOL`.
    unsafe { handshake::open(header) }.map_err(|mismatch| LoadError::OtherLayout {
        plugin: at.clone(),
        reason: mismatch.reason,
        expected: API_VERSION,
    })
}

/// The dynamic linker's own sentence, which `libloading` keeps as the cause.
fn innermost(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// What the dynamic linker's sentence means.
fn link_error(at: &PluginFile, copy: &Path, message: &str) -> LoadError {
    let plugin = at.clone();
    let own_name = copy.to_string_lossy();
    if message.contains("failed to map segment") {
        return noexec(at, copy);
    }
    match message.split_once(": cannot open shared object file") {
        Some((library, _)) if library != own_name => {
            LoadError::MissingLibrary { plugin, library: library.to_owned() }
        }
        _ => {
            let reason =
                message.strip_prefix(&*own_name).unwrap_or(message).trim_start_matches(": ").to_owned();
            LoadError::WillNotLink { plugin, reason }
        }
    }
}

fn noexec(at: &PluginFile, copy: &Path) -> LoadError {
    let folder = copy.parent().unwrap_or(copy).to_owned();
    LoadError::NoexecCache { plugin: at.clone(), folder }
}

/// Whether the file lies on a file system from which nothing may be executed; no if that cannot be told.
fn is_noexec(file: &Path) -> bool {
    let Ok(path) = CString::new(file.as_os_str().as_bytes()) else { return false };
    let mut facts = mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a NUL and `facts` has room for what is written.
    let answer = unsafe { libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) };
    // SAFETY: 0 means that the call filled all of it in.
    answer == 0 && unsafe { facts.assume_init() }.f_flag & libc::ST_NOEXEC != 0
}

/// The group this process acts as.
pub(super) fn own_group() -> u32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::getegid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &str) {
        let at = PluginFile::new(Path::new("/plugins/liblockstep_plugin_kafka.so"));
        let error = link_error(&at, Path::new("/cache/00ff.so"), message).to_string();
        assert!(error.starts_with("plugin `kafka` (/plugins/liblockstep_plugin_kafka.so) "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("00ff"), "the copy's name helps nobody: {error}");
    }

    #[test]
    fn the_linkers_sentences_become_answers() {
        check(
            "librdkafka.so.1: cannot open shared object file: No such file or directory",
            "needs the shared library `librdkafka.so.1`",
        );
        check("/cache/00ff.so: failed to map segment from shared object", "set `plugin_cache_dir`");
        check(
            "/cache/00ff.so: undefined symbol: rd_kafka_new",
            "could not be linked: undefined symbol: rd_kafka_new",
        );
    }
}

//! Who may change a plugin: loading one runs its code, so nobody but the operator's own users may.

use super::{
    error::{LoadError, PluginFile},
    load,
};
use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Refuses a plugin's file, or the folder it really lies in, if others may change it.
pub(super) fn check_file(plugin: &PluginFile) -> Result<(), LoadError> {
    let unreadable = |cause| LoadError::reading(plugin, cause);
    let file = plugin.file.canonicalize().map_err(unreadable)?;
    check(&file, "plugin", &fs::metadata(&file).map_err(unreadable)?)?;
    check_folder(file.parent().unwrap_or(Path::new("/")))
}

/// Refuses a folder of plugins if others may change it.
pub(super) fn check_folder(folder: &Path) -> Result<(), LoadError> {
    let metadata = fs::metadata(folder)
        .map_err(|cause| LoadError::FolderUnreadable { folder: folder.to_owned(), cause: Arc::new(cause) })?;
    check(folder, "plugin folder", &metadata)
}

fn check(path: &Path, what: &'static str, metadata: &fs::Metadata) -> Result<(), LoadError> {
    let Some((who, fix)) = refusal(metadata.mode(), metadata.gid(), load::own_group()) else { return Ok(()) };
    let mode = metadata.mode() & 0o7777;
    Err(LoadError::WritableByOthers { path: path.to_owned(), what, mode, who, fix })
}

/// Whose write permission is too much, and the `chmod` that takes it away. A sticky folder does not help: it keeps
/// others from removing files, not from adding some.
fn refusal(mode: u32, group: u32, own_group: u32) -> Option<(&'static str, &'static str)> {
    if mode & OTHERS_WRITE != 0 {
        return Some(("others", "o-w"));
    }
    (mode & GROUP_WRITE != 0 && group != own_group).then_some(("a group that is not the host's", "g-w"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hosts_own_group_may_write() {
        assert_eq!(refusal(0o755, 7, 1), None);
        assert_eq!(refusal(0o775, 1, 1), None);
        assert_eq!(refusal(0o775, 7, 1).map(|(_, fix)| fix), Some("g-w"));
        assert_eq!(refusal(0o1777, 1, 1).map(|(_, fix)| fix), Some("o-w"));
    }
}

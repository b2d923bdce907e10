//! The host's own copies of plugins, named by their content.
//!
//! The operator's file is never mapped: overwriting it in place would end the process, and opening the same path after
//! an upgrade would give the old library again. A copy under its hash is never written twice.

use super::{
    error::{LoadError, PluginFile},
    permissions,
};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Puts a plugin's content into the folder, unless it is there, and gives the path to load it from.
pub(super) fn keep(
    folder: &Path,
    plugin: &PluginFile,
    content: &[u8],
    hash: &blake3::Hash,
) -> Result<PathBuf, LoadError> {
    let unusable = |cause| LoadError::CacheUnusable {
        plugin: plugin.clone(),
        folder: folder.to_owned(),
        cause: Arc::new(cause),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    permissions::check_folder(folder)?;
    // `dlopen` searches the system's folders for a path without a slash.
    let folder = folder.canonicalize().map_err(unusable)?;
    let copy = folder.join(format!("{}.so", hash.to_hex()));
    if !holds(&copy, content.len(), hash) {
        write(&folder, &copy, content).map_err(unusable)?;
    }
    Ok(copy)
}

/// A copy that was cut off by a crash has another hash and is written anew.
fn holds(copy: &Path, n_bytes: usize, hash: &blake3::Hash) -> bool {
    let has_size = fs::metadata(copy).is_ok_and(|metadata| metadata.len() == n_bytes as u64);
    has_size && hash_of(copy).is_ok_and(|found| found == *hash)
}

/// Piece by piece: a plugin can be large, and its content is in memory once already.
fn hash_of(file: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(file)?)?;
    Ok(hasher.finalize())
}

/// Whole or not at all; whoever has the old file open keeps it. The first name is random, because hosts in several
/// containers may share the folder and have the same process id.
fn write(folder: &Path, copy: &Path, content: &[u8]) -> io::Result<()> {
    let new = folder.join(format!(".{:016x}.new", fastrand::u64(..)));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let renamed = written.and_then(|mut file| file.write_all(content)).and_then(|()| fs::rename(&new, copy));
    if renamed.is_err() {
        let _ = fs::remove_file(&new);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_damaged_copy_is_replaced_and_a_good_one_is_left_alone() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("plugins");
        let (plugin, content) = (PluginFile::new(Path::new("/plugins/libx.so")), b"content");
        let hash = blake3::hash(content);
        let copy = keep(&folder, &plugin, content, &hash).expect("kept");
        assert_eq!(fs::metadata(&folder).expect("folder").permissions().mode() & 0o777, 0o700);

        fs::write(&copy, b"conte\0t").expect("damaged");
        assert_eq!(keep(&folder, &plugin, content, &hash).expect("kept"), copy);
        assert_eq!(fs::read(&copy).expect("copy"), content);

        let before = fs::metadata(&copy).expect("copy").modified().expect("a time");
        keep(&folder, &plugin, content, &hash).expect("kept");
        assert_eq!(fs::metadata(&copy).expect("copy").modified().expect("a time"), before);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let home = tempfile::tempdir().expect("a folder");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).expect("changed");
        let plugin = PluginFile::new(Path::new("/plugins/libx.so"));
        let kept = keep(home.path(), &plugin, b"content", &blake3::hash(b"content"));
        assert!(matches!(kept, Err(LoadError::WritableByOthers { .. })), "{kept:?}");
    }
}

//! A folder of the engine whose making was interrupted: the engine takes it neither for one of its own nor for a new one,
//! and refuses it for ever.
//!
//! Invariant: only what has never held anything is taken away.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// What the engine makes, in this order; each is there before the next.
const MARKER: &str = "version";
const MADE: [&str; 4] = ["lock", "keyspaces", "0.jnl", MARKER];

/// A journal that was written begins with something.
const JOURNAL: &str = "0.jnl";
const JOURNAL_HEAD_BYTES: u64 = 4096;

/// Takes the folder away if the engine has not come to the end of making it.
pub(super) fn take_away(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() || is_made(folder)? {
        return Ok(());
    }
    tracing::info!(folder = %folder.display(), "the making of the store was interrupted, it is made anew");
    fs::remove_dir_all(folder)
}

/// The marker is written last; whatever is in doubt is the engine's to judge.
fn is_made(folder: &Path) -> io::Result<bool> {
    let is_marked = fs::metadata(folder.join(MARKER)).is_ok_and(|marker| marker.len() > 0);
    let has_more = names(folder)?.iter().any(|name| !MADE.contains(&name.as_str()));
    let has_keyspaces = !names(&folder.join("keyspaces"))?.is_empty();
    Ok(is_marked || has_more || has_keyspaces || is_written(&folder.join(JOURNAL))?)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(items) => items.map(|item| Ok(item?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn is_written(journal: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    match File::open(journal) {
        Ok(file) => file.take(JOURNAL_HEAD_BYTES).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(head.iter().any(|byte| *byte != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a folder with these files, a name and its content each, is taken away.
    fn check(files: &[(&str, &[u8])], expected: bool) {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("store");
        fs::create_dir(&folder).expect("made");
        for (name, content) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, content).expect("written");
        }
        take_away(&folder).expect("looked at");
        assert_eq!(!folder.exists(), expected, "{files:?}");
    }

    #[test]
    fn only_a_folder_that_has_never_held_anything_is_taken_away() {
        check(&[], true);
        check(&[("lock", b""), ("0.jnl", &[0; 100])], true);
        check(&[("lock", b""), ("0.jnl", &[0; 100]), ("version", b"")], true);
        check(&[("lock", b""), ("0.jnl", &[0; 100]), ("version", b"FJL\x03")], false);
        check(&[("lock", b""), ("0.jnl", b"\x01 something")], false);
        check(&[("lock", b""), ("0.jnl", b""), ("keyspaces/0/current", b"")], false);
        check(&[("lock", b""), ("1.jnl", b"")], false);
    }
}

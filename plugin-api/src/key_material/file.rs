//! A file that holds a key: read only if nobody but its owner could have written it.
//!
//! Whoever can write a key's file chooses the key, so such a file is refused, as a plugin is. One that everybody may read
//! is told: in a container a mounted secret often is so, and harmless there.

use rustix::process::getegid;
use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};
use zeroize::Zeroizing;

const GROUP_WRITE: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;

/// What a file with a key holds.
#[derive(Debug)]
pub struct FoundFile {
    /// Not more than was asked for.
    pub bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

/// Why a file with a key is not read; shown as what follows its name and a colon.
#[derive(Debug)]
pub enum FileProblem {
    /// It is not there, or the system does not let it be read.
    Unreadable(io::Error),
    /// It is a folder, a pipe or a device.
    NoFile,
    /// It has more bytes than it may have.
    TooLarge(usize),
    /// Others may write it.
    Writable {
        /// Its permissions.
        mode: u32,
        /// Who may.
        who: &'static str,
        /// What to tell `chmod`.
        fix: &'static str,
    },
}

/// Reads a file with a key, of at most `most_bytes`.
///
/// # Errors
/// Why it is not read, without what it holds.
pub fn read_file(path: &Path, most_bytes: usize) -> Result<FoundFile, FileProblem> {
    // What is no file is not opened: a pipe would wait for somebody.
    if !fs::metadata(path).map_err(FileProblem::Unreadable)?.is_file() {
        return Err(FileProblem::NoFile);
    }
    let file = File::open(path).map_err(FileProblem::Unreadable)?;
    let metadata = file.metadata().map_err(FileProblem::Unreadable)?;
    let mode = metadata.mode() & 0o7777;
    if let Some((who, fix)) = writer(mode, metadata.gid(), getegid().as_raw()) {
        return Err(FileProblem::Writable { mode, who, fix });
    }
    // One byte more than it may have, into memory that is not moved meanwhile.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most_bytes + 64));
    file.take(most_bytes as u64 + 1).read_to_end(&mut bytes).map_err(FileProblem::Unreadable)?;
    if bytes.len() > most_bytes {
        return Err(FileProblem::TooLarge(most_bytes));
    }
    Ok(FoundFile { bytes, mode })
}

impl FoundFile {
    /// What its operator should know, as what follows its name and a colon: everybody on the machine may read it.
    pub fn warning(&self) -> Option<String> {
        let is_exposed = self.mode & OTHERS_READ != 0;
        is_exposed.then(|| {
            format!("everybody on this machine may read it (mode {:04o}): `chmod o-r` it", self.mode)
        })
    }
}

impl FileProblem {
    /// Whether it may be well elsewhere or later: a secret is not everywhere where a configuration is checked, nor for
    /// everybody who checks it.
    pub fn is_absence(&self) -> bool {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
        matches!(self, Self::Unreadable(error) if absent.contains(&error.kind()))
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::NoFile => f.write_str("it is no file"),
            Self::TooLarge(most_bytes) => write!(f, "it has more than {most_bytes} bytes"),
            Self::Writable { mode, who, fix } => {
                write!(f, "{who} may write it (mode {mode:04o}), and so choose the key: `chmod {fix}` it")
            }
        }
    }
}

/// Who else may write it, and the `chmod` that takes that away. The process's own group may, as with plugins.
fn writer(mode: u32, group: u32, own_group: u32) -> Option<(&'static str, &'static str)> {
    if mode & OTHERS_WRITE != 0 {
        return Some(("everybody on this machine", "o-w"));
    }
    (mode & GROUP_WRITE != 0 && group != own_group).then_some(("a group that is not the host's", "g-w"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn at_mode(name: &str, mode: u32) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("key-file-{}-{name}", std::process::id()));
        fs::write(&path, "key").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        path
    }

    #[test]
    fn a_key_that_everybody_may_write_is_refused_and_one_that_everybody_may_read_is_told() {
        for (mode, is_taken, is_told) in [
            (0o600, true, false),
            (0o440, true, false),
            (0o644, true, true),
            (0o444, true, true),
            (0o666, false, false),
            (0o602, false, false),
        ] {
            let path = at_mode(&format!("{mode:o}"), mode);
            let found = read_file(&path, 10);
            fs::remove_file(&path).expect("removed");
            assert_eq!(found.is_ok(), is_taken, "{mode:o}: {found:?}");
            assert_eq!(found.is_ok_and(|found| found.warning().is_some()), is_told, "{mode:o}");
        }
    }

    #[test]
    fn only_the_processs_own_group_may_write() {
        assert_eq!(writer(0o660, 1, 1), None);
        assert_eq!(writer(0o660, 7, 1).map(|(_, fix)| fix), Some("g-w"));
        assert_eq!(writer(0o666, 1, 1).map(|(_, fix)| fix), Some("o-w"));
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_wrong() {
        let path = at_mode("bounds", 0o600);
        assert_eq!(read_file(&path, 3).expect("read").bytes.as_slice(), b"key");
        assert!(matches!(read_file(&path, 2), Err(FileProblem::TooLarge(2))));
        fs::remove_file(&path).expect("removed");
        assert!(read_file(&path, 3).expect_err("gone").is_absence());
        let folder = read_file(&std::env::temp_dir(), 3).expect_err("a folder");
        assert!(matches!(folder, FileProblem::NoFile) && !folder.is_absence());
    }
}

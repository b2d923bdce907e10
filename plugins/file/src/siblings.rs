//! The files beside the one that is followed: what it was rotated to, and what comes after that.
//!
//! A rotated file is looked for by inode first and by content second (a copy has another inode) among the files whose
//! names begin with the followed one's. Files in between, which were never open, are recognised by a suffix of digits
//! and separators: `.1`, `-20240131`, `.2024-01-31T10`.

use crate::position::{FileId, Place};
use std::{
    cmp::Reverse,
    ffi::OsStr,
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

struct Sibling {
    path: PathBuf,
    /// What its name has behind the followed file's.
    suffix: String,
    metadata: Metadata,
}

/// Finds the file that `place` is in, whatever its name is now.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub fn locate(path: &Path, place: &Place) -> io::Result<Option<File>> {
    let mut candidates = siblings(path)?;
    candidates.sort_by_key(|sibling| Reverse(modified(&sibling.metadata)));
    if let Some(current) = regular(path)? {
        candidates.insert(0, Sibling { path: path.to_owned(), suffix: String::new(), metadata: current });
    }
    candidates.retain(|candidate| candidate.metadata.len() >= place.offset);
    let (same, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| FileId::from(&candidate.metadata) == place.file);
    // An empty fingerprint is that of every file: then only the inode counts.
    let others = others.into_iter().filter(|_| !place.fingerprint.is_empty());
    for candidate in same.into_iter().chain(others) {
        let Some(file) = open(&candidate.path)? else { continue };
        if place.fingerprint.matches(&file)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Opens the file that was written after `finished`: one that was rotated away since then, or else the followed path.
/// `None` if there is no such file yet.
///
/// # Errors
/// If the folder or the file cannot be read.
pub fn open_next(path: &Path, finished: &File) -> io::Result<Option<File>> {
    let finished = finished.metadata()?;
    if let Some(rotated) = rotated_after(path, &finished)? {
        return open(&rotated);
    }
    let current = open(path)?;
    // The file may have been rotated between the two looks; then what was opened comes later.
    match rotated_after(path, &finished)? {
        Some(rotated) => open(&rotated),
        None => Ok(current),
    }
}

/// Opens a regular file; `None` if there is none.
///
/// # Errors
/// If there is one and it cannot be opened, or something else has its name.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    match regular(path)? {
        Some(_) => match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        },
        None => Ok(None),
    }
}

/// The metadata of a regular file; opening anything else could block.
fn regular(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata)),
        Ok(_) => Err(io::Error::other("it is no longer a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn rotated_after(path: &Path, finished: &Metadata) -> io::Result<Option<PathBuf>> {
    let siblings = siblings(path)?;
    let id = FileId::from(finished);
    let own = siblings.iter().find(|sibling| FileId::from(&sibling.metadata) == id);
    let number = own.and_then(|own| own.number());
    let rotated =
        siblings.iter().filter(|sibling| sibling.is_rotated() && FileId::from(&sibling.metadata) != id);
    let next = match number {
        // `log.3` was written before `log.2`.
        Some(own) => {
            rotated.filter(|sibling| sibling.number().is_some_and(|n| n < own)).max_by_key(|s| s.number())
        }
        None => rotated
            .filter(|sibling| modified(&sibling.metadata) > modified(finished))
            .min_by_key(|sibling| modified(&sibling.metadata)),
    };
    Ok(next.map(|sibling| sibling.path.clone()))
}

impl Sibling {
    fn is_rotated(&self) -> bool {
        let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | 'T' | 'Z');
        self.suffix.starts_with(['.', '-', '_'])
            && self.suffix.chars().all(allowed)
            && self.suffix.contains(|c: char| c.is_ascii_digit())
    }

    /// `n` of a suffix `.n`. A date such as `.20240131` is none: dates count up, numbers of rotation down.
    fn number(&self) -> Option<u32> {
        self.suffix.strip_prefix('.').filter(|digits| digits.len() < 6)?.parse().ok()
    }
}

fn siblings(path: &Path) -> io::Result<Vec<Sibling>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let Some(suffix) = entry_name.to_str().and_then(|entry| entry.strip_prefix(name)) else { continue };
        if suffix.is_empty() {
            continue;
        }
        // A file that vanishes between the two calls is no candidate.
        if let Ok(metadata) = fs::metadata(entry.path())
            && metadata.is_file()
        {
            found.push(Sibling { path: entry.path(), suffix: suffix.to_owned(), metadata });
        }
    }
    Ok(found)
}

fn modified(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(suffix: &str) -> Sibling {
        let metadata = fs::metadata(".").expect("metadata");
        Sibling { path: PathBuf::new(), suffix: suffix.to_owned(), metadata }
    }

    #[test]
    fn rotated_files_are_told_by_their_suffix() {
        for suffix in [".1", ".10", "-20240131", ".2024-01-31T10:00:00Z", "_3"] {
            assert!(sibling(suffix).is_rotated(), "{suffix}");
        }
        for suffix in [".gz", ".1.gz", ".lock", "x", "1", "-", ".out", "T1"] {
            assert!(!sibling(suffix).is_rotated(), "{suffix}");
        }
        assert_eq!(sibling(".12").number(), Some(12));
        assert_eq!(sibling(".20240131").number(), None);
    }

    #[test]
    fn files_in_between_come_in_the_order_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        for name in ["log.3", "log.2", "log.1", "log.2.gz", "log", "login"] {
            fs::write(folder.path().join(name), name).expect("written");
        }
        let mut read = Vec::new();
        let mut next = File::open(folder.path().join("log.3")).expect("opened");
        for _ in 0..3 {
            next = open_next(&path, &next).expect("a folder").expect("a file");
            read.push(io::read_to_string(&next).expect("text"));
        }
        assert_eq!(read, ["log.2", "log.1", "log"]);
    }
}

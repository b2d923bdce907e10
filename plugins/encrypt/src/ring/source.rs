//! Where keys come from: an environment variable, a file, or a program.
//!
//! What is wrong names the place, never what was found there.

use super::program;
use crate::{
    config::RingEntry,
    key_text::{self, Line},
};
use lockstep_plugin_api::Error;
use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};
use zeroize::Zeroizing;

/// The largest file with keys, and the most that a program may print.
pub(super) const MOST_BYTES: u64 = 64 << 10;

/// One entry of the ring.
#[derive(Debug)]
pub struct Source {
    id: Option<String>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Env(String),
    File(PathBuf),
    Exec { program: Vec<String>, base_dir: PathBuf, timeout: Duration },
}

/// What a source held when it was read.
pub struct Read {
    pub lines: Vec<Line>,
    /// Of a file: what tells whether it has changed since.
    seen: Option<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    n_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Source {
    /// The source that an entry names; relative files and programs start at `base_dir`.
    pub fn new(entry: RingEntry, base_dir: &Path, timeout: Duration) -> Self {
        let RingEntry { id, env, file, exec } = entry;
        let place = match (env, file) {
            (Some(name), _) => Place::Env(name),
            (_, Some(file)) => Place::File(base_dir.join(file)),
            _ => Place::Exec { program: exec.unwrap_or_default(), base_dir: base_dir.to_owned(), timeout },
        };
        Self { id, place }
    }

    /// Reads what it holds now.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn read(&self) -> Result<Read, String> {
        let seen = self.seen();
        let raw = self.raw().map_err(|why| format!("{}: {why}", self.name()))?;
        let lines = match &self.id {
            Some(id) => key_text::one_key(&raw).map(|key| vec![(id.clone(), key)]),
            None => key_text::lines(&raw),
        };
        Ok(Read { lines: lines.map_err(|why| format!("{}: {why}", self.name()))?, seen })
    }

    /// What a component says that cannot begin because of this: a program may do its work later, the rest is for the
    /// operator.
    pub fn error(&self, problem: String) -> Error {
        match self.place {
            Place::Exec { .. } => Error::not_connected(problem),
            _ => Error::config(problem).at("ring"),
        }
    }

    /// Whether a file is another one than it was; other sources are read when somebody says so.
    pub fn has_changed(&self, read: &Read) -> bool {
        matches!(self.place, Place::File(_)) && self.seen() != read.seen
    }

    /// As it is called in messages.
    fn name(&self) -> String {
        match &self.place {
            Place::Env(name) => format!("environment variable `{name}`"),
            Place::File(path) => format!("file `{}`", path.display()),
            Place::Exec { program, .. } => {
                format!("program `{}`", program.first().map_or("", String::as_str))
            }
        }
    }

    fn raw(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        match &self.place {
            Place::Env(name) => match env::var_os(name) {
                Some(value) => Ok(Zeroizing::new(value.into_encoded_bytes())),
                None => Err("it is not set".to_owned()),
            },
            Place::File(path) => read_file(path).map_err(|error| format!("cannot be read: {error}")),
            Place::Exec { program, base_dir, timeout } => program::output(program, base_dir, *timeout),
        }
    }

    fn seen(&self) -> Option<Seen> {
        let Place::File(path) = &self.place else { return None };
        let at = fs::metadata(path).ok()?;
        Some(Seen {
            device: at.dev(),
            inode: at.ino(),
            n_bytes: at.size(),
            modified: (at.mtime(), at.mtime_nsec()),
            changed: (at.ctime(), at.ctime_nsec()),
        })
    }
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    if fs::metadata(path)?.len() > MOST_BYTES {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    fs::read(path).map(Zeroizing::new)
}

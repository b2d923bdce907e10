//! Appends batches to a regular file, each wholly or not at all.
//!
//! Invariant: after a failed write the file ends where the last whole batch ended, or the next write begins with a
//! newline; so no later line is ever glued to half of an earlier one.

use crate::position::FileId;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// How often the path is checked to still mean the open file.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The files this process has emptied: once each, so that a component that is started again loses nothing.
static EMPTIED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// A regular file that is appended to.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: Arc<File>,
    id: FileId,
    checked_at: Instant,
    needs_newline: bool,
}

impl Appender {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: PathBuf, append: bool) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(&path)?;
        let metadata = file.metadata()?;
        if !append && is_first_opening(&path) {
            file.set_len(0)?;
        }
        if metadata.len() == 0 {
            sync_name(&path)?;
        }
        let id = FileId::from(&metadata);
        let needs_newline = is_torn(&path);
        Ok(Self { path, file: Arc::new(file), id, checked_at: Instant::now(), needs_newline })
    }

    /// The open file, to be synced elsewhere.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether the path has come to mean another file, or none. Looks at most once a second.
    pub fn was_rotated(&mut self) -> io::Result<bool> {
        if self.checked_at.elapsed() < CHECK_EVERY {
            return Ok(false);
        }
        let rotated = match fs::metadata(&self.path) {
            Ok(metadata) => FileId::from(&metadata) != self.id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        // If it was, the next look must find it again in case the new file cannot be opened.
        if !rotated {
            self.checked_at = Instant::now();
        }
        Ok(rotated)
    }

    /// Appends whole lines, and waits for the disk if `sync`. On an error nothing of them stays, as far as that can be
    /// undone.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        let start = self.file.metadata()?.len();
        let newline: &[u8] = if self.needs_newline && start > 0 { b"\n" } else { b"" };
        let mut n_written = 0;
        let written = write_all(&self.file, newline, &mut n_written)
            .and_then(|()| write_all(&self.file, lines, &mut n_written))
            // After a failed sync the system may believe the pages are clean, so the batch must be written anew.
            .and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => self.needs_newline = false,
            Err(_) if n_written > 0 => {
                self.needs_newline = !self.take_back(start, n_written) || !newline.is_empty()
            }
            Err(_) => {}
        }
        written
    }

    /// Cuts off what a failed write has left, unless somebody else has written behind it.
    fn take_back(&self, start: u64, n_written: u64) -> bool {
        let is_last = self.file.metadata().is_ok_and(|metadata| metadata.len() == start + n_written);
        is_last && self.file.set_len(start).is_ok()
    }
}

fn write_all(mut file: &File, mut bytes: &[u8], n_written: &mut u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                *n_written += n as u64;
                bytes = &bytes[n..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_first_opening(path: &Path) -> bool {
    let mut emptied = EMPTIED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    emptied.get_or_insert_default().insert(path.to_owned())
}

/// Makes the name of a new file as durable as its content will be.
fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder that may be written to but not read cannot be synced; nor can one of some network file systems.
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Whether a crash, here or of another writer, has left half a line at the end. It may be somebody else's, so it stays.
fn is_torn(path: &Path) -> bool {
    let last_byte = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last_byte().is_ok_and(|last| last != b'\n')
}

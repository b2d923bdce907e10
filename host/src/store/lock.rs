//! The data folder belongs to one host at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::StoreError;

const FILE: &str = "lock";

/// How long to wait for somebody who only looks.
const LOOK: Duration = Duration::from_millis(5);

/// Held as long as the store is open. The kernel lets go of it when the process ends, however it ends.
pub(super) struct DirLock {
    file: File,
}

/// Said, and not left to the closing of the file: a program that is just being started by another thread has the open file
/// too, until it runs, and would hold the folder on.
impl Drop for DirLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl DirLock {
    /// The file stays when the lock goes: removing it would let two hosts lock two files of one name.
    pub fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let failed = |error| StoreError::io("lock", &path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match try_for_a_moment(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { pid: holder(&path), path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Only for the message of a second host: with the disk full, it is worth less than a start.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file })
    }

    /// Whether somebody holds the folder now. Changes nothing.
    pub fn is_held(dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join(FILE)) else { return false };
        let looked = file.try_lock();
        if looked.is_ok() {
            let _ = file.unlock();
        }
        matches!(looked, Err(TryLockError::WouldBlock))
    }
}

/// Somebody who only looks whether the folder is held holds it himself for a moment.
fn try_for_a_moment(file: &File) -> Result<(), TryLockError> {
    for _ in 0..5 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            done => return done,
        }
    }
    file.try_lock()
}

fn holder(path: &PathBuf) -> String {
    match fs::read_to_string(path) {
        Ok(pid) if !pid.trim().is_empty() => pid.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_free_as_soon_as_its_host_lets_go_whoever_has_the_file_open_still() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = DirLock::acquire(dir.path()).expect("free");
        assert!(DirLock::is_held(dir.path()));
        // As a program has it that was forked and does not run yet.
        let inherited = lock.file.try_clone().expect("a second descriptor");
        drop(lock);
        assert!(!DirLock::is_held(dir.path()));
        let again = DirLock::acquire(dir.path()).expect("free again");
        drop(inherited);
        assert!(DirLock::is_held(dir.path()));
        drop(again);
    }
}

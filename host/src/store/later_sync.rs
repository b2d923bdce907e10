//! The mark that commits are answered before they are on the disk: what the system was given is lost only when that
//! ends, so the mark names the start of the system.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// There while syncs are left for later: the journal may then end in more than one torn batch.
const FILE: &str = "later-sync";

/// What tells one start of the system from the next.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Whether commits that were answered may be gone: they were not synced, and the system has been started anew.
pub(super) fn may_have_lost(dir: &Path) -> bool {
    match fs::read_to_string(path(dir)) {
        Ok(marked) => boot_id().is_none_or(|booted| booted != marked),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

pub(super) fn set(dir: &Path) -> io::Result<()> {
    fs::write(path(dir), boot_id().unwrap_or_default())
}

pub(super) fn take_away(dir: &Path) -> io::Result<()> {
    fs::remove_file(path(dir))
}

fn boot_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok()
}

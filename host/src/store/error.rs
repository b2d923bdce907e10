//! What the store can refuse or fail at. Cloned to every commit of a group that failed together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::commit::{Namespace, printable};
use super::sealing::SealingError;

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{namespace} `{}` is not what the commit expects: somebody else wrote in between",
        printable(key)
    )]
    Conflict { namespace: Namespace, key: Vec<u8> },

    #[error("no space left in {}: nothing was committed; commits work again as soon as there is space", path.display())]
    DiskFull { path: PathBuf },

    #[error("{} is used by another host (process {pid}); stop it or give this one its own `data_dir`", path.display())]
    InUse { path: PathBuf, pid: String },

    #[error("the store in {} has format {found}, this host knows up to {supported}; use the newer host", path.display())]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },

    #[error("the store in {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },

    #[error("a {what} of {n_bytes} bytes is more than the store takes ({limit})")]
    TooLarge { what: &'static str, n_bytes: usize, limit: usize },

    #[error("only changes and notices can be entries of the log: {what}")]
    NotAnEntry { what: String },

    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: Arc<io::Error> },

    #[error("the store cannot {action}")]
    Engine { action: &'static str, source: Arc<dyn std::error::Error + Send + Sync> },

    #[error(
        "the store takes no commits since a write to the disk failed; restart the host when the disk is sound"
    )]
    Failed,

    #[error(transparent)]
    Sealing(#[from] SealingError),

    #[error("the store's engine has stopped; each commit tries to start it again")]
    Unavailable,

    #[error("too many commits wait for the disk; try again")]
    Busy,

    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same commit can succeed later without anybody changing it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Unavailable | Self::Busy)
    }

    pub(super) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        match is_disk_full(&error) {
            true => Self::DiskFull { path: path.to_path_buf() },
            false => Self::Io { action, path: path.to_path_buf(), source: Arc::new(error) },
        }
    }
}

/// The disk, or this user's part of it, is used up.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

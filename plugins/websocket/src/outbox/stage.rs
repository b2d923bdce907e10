//! How a client gets what is in the log: as it happens, or, as long as it is behind, from the log itself.

use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How the client gets what is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// From the sink, as it happens, beginning after this revision; `None` if there was no log when it connected.
    Live { after: Option<u64> },
    /// From the log itself, until it has caught up.
    Behind(Reading),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Live { after: None }
    }
}

/// What a client that is behind is to get next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The word that it has missed something, and then a snapshot.
    Resync(Reason),
    /// The newest entry of every key up to the revision `through`, of which those up to `after` are queued; then history.
    Snapshot { after: u64, through: u64 },
    /// Every entry after this revision.
    History { after: u64 },
}

/// Why a client cannot have every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// History does not reach back to what it has seen.
    Compacted,
    /// It reads too slowly.
    Slow,
    /// What it has seen was another log.
    EpochChanged,
}

impl Reason {
    /// As on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compacted => "compacted",
            Self::Slow => "slow",
            Self::EpochChanged => "epoch_changed",
        }
    }
}

/// A client that has fallen behind, and what it is to get next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Tells one time that it was sent somewhere from the next.
    pub(super) turn: u64,
    pub(crate) reading: Reading,
}

/// What to do with a client once a page is queued.
#[derive(Debug)]
pub(crate) enum Then {
    /// More is to be read.
    Read(Reading),
    /// It has caught up to this revision; the message says so to the client.
    Live { after: u64, bookmark: Utf8Bytes },
}

impl Reading {
    /// The same, with everything up to this revision queued.
    pub(super) fn with_after(self, revision: u64) -> Self {
        match self {
            Self::Snapshot { through, .. } => Self::Snapshot { after: revision, through },
            Self::History { .. } => Self::History { after: revision },
            Self::Resync(_) => self,
        }
    }
}

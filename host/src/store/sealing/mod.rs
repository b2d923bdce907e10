//! The store sealed at rest: every value is authenticated and encrypted on its way into the engine, and opened on its
//! way out. Keys of values stay as they are, so that they can be found and listed.
//!
//! Invariant: a store is wholly plain or wholly sealed, and which one it is, `store.keys` says; in a sealed store no
//! value is believed that was not sealed by it for this very key.
//!
//! ```text
//! state.encryption ─► key_source ─► key that wraps ─► key_file (store.keys) ─► data keys ─► value
//!                                        (KEK)              keyring
//! ```
//! A plain store lies in the folder `store`, a sealed one in `store.sealed`. From the one to the other everything is
//! copied, and the old folder deleted: so no file is left that has held a plain value, be it a table or a journal.

mod error;
mod key_file;
mod key_source;
mod keyring;
mod migration;
mod value;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use error::SealingError;
#[cfg(test)]
pub(crate) use key_source::write_key;
pub use key_source::{KeyProblem, KeySource, SealingKey};
pub use keyring::SealingStatus;

use super::error::StoreError;
pub(super) use keyring::Keyring;
pub(super) use migration::settle;
pub(super) use value::{Sealer, key_id_of};

/// Where a plain store lies in the data folder, and where a sealed one.
const PLAIN_FOLDER: &str = "store";
const SEALED_FOLDER: &str = "store.sealed";

/// How the store is to lie on the disk, and the keys for that.
#[derive(Debug, Clone, Default)]
pub struct SealingOptions {
    /// In the order of the settings.
    pub keys: Vec<SealingKey>,
    /// The id of the key that the store is sealed under from now on.
    pub current: Option<String>,
    pub wanted: Wanted,
}

/// What becomes of a store that has another form than the settings ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// A sealed store is written back, if there are keys to open it.
    #[default]
    Plain,
    /// A plain store is sealed.
    Sealed,
    /// It stays what it is: for those who only look into it.
    AsItIs,
}

/// How values lie in the engine. Cheap to clone.
#[derive(Clone)]
pub(super) enum Form {
    Plain,
    Sealed(Arc<Keyring>),
}

impl Form {
    /// Where the engine keeps its files, in the data folder.
    pub fn folder(&self) -> &'static str {
        match self {
            Self::Plain => PLAIN_FOLDER,
            Self::Sealed(_) => SEALED_FOLDER,
        }
    }

    pub fn keyring(&self) -> Option<&Keyring> {
        match self {
            Self::Plain => None,
            Self::Sealed(keyring) => Some(keyring),
        }
    }

    /// For the values of one batch, whose lengths these are.
    pub fn sealer(&self, lengths: impl Iterator<Item = usize>) -> io::Result<Sealer> {
        match self {
            Self::Plain => Ok(Sealer::plain()),
            Self::Sealed(keyring) => keyring.sealer(lengths),
        }
    }

    /// The value that was stored under `key`.
    pub fn open(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Plain => Ok(stored.to_vec()),
            Self::Sealed(keyring) => Ok(keyring.open_value(key, stored)?),
        }
    }
}

/// Whether there is a store in `dir`, of either form.
pub(super) fn is_there(dir: &Path) -> bool {
    [PLAIN_FOLDER, SEALED_FOLDER].iter().any(|folder| dir.join(folder).is_dir())
}

//! The data keys of a running host: values are sealed with the newest one, and opened with the one they name.
//!
//! Invariant: a data key is in the key file before anything is sealed with it, and stays there until nothing is; it
//! seals at most 2^31 values, because their nonces are random.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;

use super::error::SealingError;
use super::key_file::{self, Contents, KeyFile, Phase, StoredKey, WrappingKey};
use super::value::{self, DataKey, Sealer};
use crate::store::error::StoreError;

/// Uses that are written down at once: what a host that crashes may leave unused.
const RESERVED_AT_ONCE: u64 = 1 << 20;

/// Uses after which there is a new data key. With 2^32, two nonces would be equal with a probability of 2^-33.
const MAX_USES: u64 = 1 << 31;

pub struct Keyring {
    /// The data folder.
    dir: PathBuf,
    limits: Limits,
    keys: RwLock<Keys>,
    file: Mutex<Written>,
    pub progress: Progress,
}

#[derive(Clone, Copy)]
struct Limits {
    at_once: u64,
    max: u64,
}

impl Limits {
    /// How many uses are to be written down when there were `used`: so many that the next ones need not be, and never more
    /// than a key may have.
    fn after(self, used: u64) -> u64 {
        (used + self.at_once).min(self.max)
    }
}

struct Keys {
    current: Arc<DataKey>,
    /// Some values may still be sealed with them.
    older: Vec<Arc<DataKey>>,
    /// No value is sealed with them any more; a reader that began before that may still meet one.
    gone: Vec<Arc<DataKey>>,
}

/// What the key file holds, and what it is sealed under.
struct Written {
    key: WrappingKey,
    contents: Contents,
}

/// How far the values that older data keys have sealed are sealed anew.
#[derive(Default)]
pub struct Progress {
    pub looked_at: AtomicU64,
    pub of_about: AtomicU64,
    pub resealed: AtomicU64,
    pub problem: Mutex<Option<String>>,
}

/// How the store is sealed, for its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SealingStatus {
    /// The id of the key of the settings that the data keys are sealed under.
    pub key: String,
    /// The number of the data key that values are sealed with from now on.
    pub data_key: u32,
    /// How many data keys are kept because values may still be sealed with them.
    pub older_data_keys: usize,
    /// Absent if no value is sealed with an older data key.
    pub resealing: Option<Resealed>,
}

/// How far the values of older data keys are sealed with the newest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resealed {
    pub looked_at: u64,
    pub of_about: u64,
    pub resealed: u64,
    /// Why it does not go on, if it does not; it is tried again.
    pub problem: Option<String>,
}

impl Keyring {
    /// For a store that is not sealed yet.
    pub fn create(dir: &Path, key: WrappingKey, phase: Phase) -> Result<Self, StoreError> {
        let make = || {
            let contents = Contents { phase, data_keys: vec![StoredKey::generate(1)?] };
            contents.write(dir, &key)?;
            Ok(contents)
        };
        let contents = make().map_err(|error| cannot_write(dir, error))?;
        Ok(Self::of(dir, Written { key, contents }))
    }

    /// Opens the key file. Writes nothing.
    pub fn open(dir: &Path, file: &KeyFile, key: WrappingKey) -> Result<Self, SealingError> {
        let contents = file.open(&key_file::path(dir), &key)?;
        Ok(Self::of(dir, Written { key, contents }))
    }

    fn of(dir: &Path, written: Written) -> Self {
        let keys = written.contents.data_keys.iter();
        let mut keys: Vec<_> =
            keys.map(|key| Arc::new(DataKey::new(key.id, &key.secret, key.reserved))).collect();
        let current = keys.pop().expect("a key file holds one data key at least");
        let limits = Limits { at_once: RESERVED_AT_ONCE, max: MAX_USES };
        let keys = RwLock::new(Keys { current, older: keys, gone: Vec::new() });
        Self {
            dir: dir.to_path_buf(),
            limits,
            keys,
            file: Mutex::new(written),
            progress: Progress::default(),
        }
    }

    /// The id of the key of the settings that the key file is sealed under.
    pub fn key_id(&self) -> String {
        self.file().key.id.clone()
    }

    pub fn set_phase(&self, phase: Phase) -> Result<(), StoreError> {
        let mut file = self.file();
        let before = std::mem::replace(&mut file.contents.phase, phase);
        file.write(&self.dir).map_err(|error| {
            file.contents.phase = before;
            cannot_write(&self.dir, error)
        })
    }

    /// Seals the key file under `key` from now on, with a new data key: who had the old key and the old file knows
    /// nothing of what is written from here on.
    pub fn change_key(&self, key: WrappingKey) -> Result<(), StoreError> {
        let mut file = self.file();
        let before = std::mem::replace(&mut file.key, key);
        match self.add_data_key(&mut file, 0) {
            Ok(_) => Ok(()),
            Err(error) => {
                file.key = before;
                Err(cannot_write(&self.dir, error))
            }
        }
    }

    /// A new data key for what is sealed from now on; gives its number.
    pub fn rotate(&self) -> Result<u32, StoreError> {
        let added = self.add_data_key(&mut self.file(), 0);
        added.map(|key| key.id).map_err(|error| cannot_write(&self.dir, error))
    }

    /// Of the new key, so many uses are taken at once.
    fn add_data_key(&self, file: &mut Written, n_uses: u64) -> io::Result<Arc<DataKey>> {
        let newest = file.contents.data_keys.last().map_or(0, |key| key.id);
        let mut added = StoredKey::generate(newest + 1)?;
        let key = Arc::new(DataKey::new(added.id, &added.secret, n_uses));
        added.reserved = self.limits.after(n_uses);
        key.reserved.store(added.reserved, Relaxed);
        file.contents.data_keys.push(added);
        if let Err(error) = file.write(&self.dir) {
            // Nothing was sealed with it, so it may be in the file or not.
            file.contents.data_keys.pop();
            return Err(error);
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut keys.current, Arc::clone(&key));
        keys.older.push(before);
        Ok(key)
    }

    /// The newest data key's number, if older ones are kept: what values are to be sealed with.
    pub fn resealing_to(&self) -> Option<u32> {
        let keys = self.keys();
        (!keys.older.is_empty()).then_some(keys.current.id)
    }

    /// Forgets the data keys before this one: every value that they had sealed is sealed anew, on the disk.
    pub fn forget_before(&self, id: u32) -> Result<(), StoreError> {
        let mut file = self.file();
        let is_older = |key: &StoredKey| key.id < id;
        let kept = file.contents.data_keys.iter().position(|key| !is_older(key)).unwrap_or_default();
        let forgotten: Vec<_> = file.contents.data_keys.drain(..kept).collect();
        if let Err(error) = file.write(&self.dir) {
            file.contents.data_keys.splice(..0, forgotten);
            return Err(cannot_write(&self.dir, error));
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let gone = keys.older.extract_if(.., |key| key.id < id).collect::<Vec<_>>();
        keys.gone.extend(gone);
        Ok(())
    }

    /// For the values of one batch. Only the store's writer asks for it.
    pub fn sealer(&self, lengths: impl Iterator<Item = usize>) -> io::Result<Sealer> {
        let n_uses = value::n_uses(lengths);
        let current = Arc::clone(&self.keys().current);
        match current.take(n_uses) {
            true => Ok(Sealer::with_key(current)),
            false => Ok(Sealer::with_key(self.reserve(&current, n_uses)?)),
        }
    }

    /// `key` has taken more uses than the file knows of: they are written down, or there is a new key for them.
    fn reserve(&self, key: &DataKey, n_uses: u64) -> io::Result<Arc<DataKey>> {
        let mut file = self.file();
        let current = Arc::clone(&self.keys().current);
        if current.id != key.id && current.take(n_uses) {
            return Ok(current);
        }
        let used = current.used.load(Relaxed);
        if used > self.limits.max {
            return self.add_data_key(&mut file, n_uses);
        }
        let reserved = self.limits.after(used);
        let before = file.set_reserved(reserved);
        if let Err(error) = file.write(&self.dir) {
            file.set_reserved(before);
            return Err(error);
        }
        current.reserved.store(reserved, Relaxed);
        Ok(current)
    }

    pub fn open_value(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, SealingError> {
        value::open(|id| self.keys().find(id), key, stored).ok_or_else(|| SealingError::NotAuthentic {
            path: self.dir.join(super::SEALED_FOLDER),
            key: key.to_vec(),
        })
    }

    pub fn status(&self) -> SealingStatus {
        let key = self.key_id();
        let keys = self.keys();
        let resealing = (!keys.older.is_empty()).then(|| self.progress.now());
        SealingStatus { key, data_key: keys.current.id, older_data_keys: keys.older.len(), resealing }
    }

    fn keys(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, Written> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn find(&self, id: u32) -> Option<Arc<DataKey>> {
        let older = self.older.iter().chain(&self.gone);
        std::iter::once(&self.current).chain(older).find(|key| key.id == id).map(Arc::clone)
    }
}

impl Written {
    /// Uses of the newest data key; gives how many they were.
    fn set_reserved(&mut self, reserved: u64) -> u64 {
        let newest = self.contents.data_keys.last_mut().expect("there is one at least");
        std::mem::replace(&mut newest.reserved, reserved)
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        self.contents.write(dir, &self.key)
    }
}

impl Progress {
    /// A pass over all values begins.
    pub fn begin(&self, of_about: u64) {
        self.of_about.store(of_about, Relaxed);
        self.looked_at.store(0, Relaxed);
        self.resealed.store(0, Relaxed);
    }

    pub fn add(&self, looked_at: u64, resealed: u64) {
        self.looked_at.fetch_add(looked_at, Relaxed);
        self.resealed.fetch_add(resealed, Relaxed);
    }

    /// True if it is another one than before.
    pub fn set_problem(&self, problem: Option<String>) -> bool {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != problem;
        *known = problem;
        is_new
    }

    fn now(&self) -> Resealed {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let [looked_at, of_about, resealed] =
            [&self.looked_at, &self.of_about, &self.resealed].map(|number| number.load(Relaxed));
        Resealed { looked_at, of_about: of_about.max(looked_at), resealed, problem }
    }
}

fn cannot_write(dir: &Path, error: io::Error) -> StoreError {
    StoreError::io("write", &key_file::path(dir), error)
}

#[cfg(test)]
mod tests;

//! A plain store becomes a sealed one, and a sealed one a plain one: everything is copied into the other folder, the key
//! file says that the other folder is the store now, and the old folder is deleted.
//!
//! Invariant: at every moment one folder is the store, whole, and `store.keys` says which. A copy that was interrupted
//! goes on where it stopped, for the store is not used meanwhile; if it was, the copy was thrown away before.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::SealingError;
use super::key_file::{self, KeyFile, Phase, ReadError, WrappingKey};
use super::{Form, Keyring, PLAIN_FOLDER, SEALED_FOLDER, SealingOptions, Wanted};
use crate::store::engine::{Engine, EngineOptions};
use crate::store::error::StoreError;
use crate::store::sync_folder;
use crate::store::walk::StepLimit;

/// What is being deleted has this name, so that half of it is taken for nothing else.
const DISCARDED_FOLDER: &str = "store.discarded";

/// What is copied with one sync. A test wants to stop in the middle of little.
const STEP: StepLimit = StepLimit { values: if cfg!(test) { 40 } else { 100_000 }, bytes: 4 << 20 };

/// How often it is told how far the copy is.
const TELL: Duration = Duration::from_secs(5);

/// Gives the form that the store in `dir` has from now on; makes it so, if that is wanted. Before the keys have been
/// checked, nothing is written.
pub fn settle(dir: &Path, options: &SealingOptions, engine: EngineOptions) -> Result<Form, StoreError> {
    let folder = DataFolder { dir, options, engine };
    let file = key_file::read(dir).map_err(|error| match error {
        ReadError::Io(error) => StoreError::io("read", &key_file::path(dir), error),
        ReadError::Refused(refusal) => refusal.into(),
    })?;
    let form = match file {
        None => folder.without_key_file()?,
        Some(file) => folder.with_key_file(&file)?,
    };
    if options.wanted != Wanted::AsItIs {
        folder.delete_discarded()?;
    }
    Ok(form)
}

struct DataFolder<'a> {
    dir: &'a Path,
    options: &'a SealingOptions,
    engine: EngineOptions,
}

impl DataFolder<'_> {
    fn without_key_file(&self) -> Result<Form, StoreError> {
        if self.has(SEALED_FOLDER) {
            return Err(SealingError::NoKeyFile { path: key_file::path(self.dir) }.into());
        }
        if self.options.wanted != Wanted::Sealed {
            return Ok(Form::Plain);
        }
        let phase = if self.has(PLAIN_FOLDER) { Phase::Sealing } else { Phase::Sealed };
        let keyring = Arc::new(Keyring::create(self.dir, self.current_key()?, phase)?);
        match phase {
            Phase::Sealing => self.seal(keyring),
            _ => Ok(Form::Sealed(keyring)),
        }
    }

    fn with_key_file(&self, file: &KeyFile) -> Result<Form, StoreError> {
        match (file.phase, self.options.wanted) {
            (Phase::Sealing | Phase::Unsealing | Phase::Unsealed, Wanted::AsItIs) => {
                Err(SealingError::HalfWay { path: self.dir.to_path_buf() }.into())
            }
            // What holds the store now needs no key; but that it does, only the key vouches for.
            (Phase::Unsealed, Wanted::Plain | Wanted::Sealed) | (Phase::Sealing, Wanted::Plain) => {
                self.check_there(PLAIN_FOLDER)?;
                self.check_keys(file)?;
                self.discard(SEALED_FOLDER)?;
                self.remove_key_file()?;
                self.without_key_file()
            }
            (Phase::Sealing, Wanted::Sealed) => {
                self.check_there(PLAIN_FOLDER)?;
                let keyring = self.keyring(file)?;
                self.seal(keyring)
            }
            (Phase::Sealed, Wanted::AsItIs) => Ok(Form::Sealed(self.keyring(file)?)),
            (Phase::Sealed | Phase::Unsealing, Wanted::Sealed) => {
                let keyring = self.keyring(file)?;
                self.check_sealed_there(file)?;
                self.discard(PLAIN_FOLDER)?;
                if file.phase != Phase::Sealed {
                    keyring.set_phase(Phase::Sealed)?;
                }
                Ok(Form::Sealed(keyring))
            }
            (Phase::Sealed | Phase::Unsealing, Wanted::Plain) => {
                let keyring = self.keyring(file)?;
                self.check_sealed_there(file)?;
                if file.phase == Phase::Sealed {
                    self.discard(PLAIN_FOLDER)?;
                    keyring.set_phase(Phase::Unsealing)?;
                }
                self.unseal(keyring)
            }
        }
    }

    fn seal(&self, keyring: Arc<Keyring>) -> Result<Form, StoreError> {
        let sealed = Form::Sealed(Arc::clone(&keyring));
        self.copy(&Form::Plain, &sealed, "sealing the store")?;
        keyring.set_phase(Phase::Sealed)?;
        self.discard(PLAIN_FOLDER)?;
        Ok(sealed)
    }

    fn unseal(&self, keyring: Arc<Keyring>) -> Result<Form, StoreError> {
        self.copy(&Form::Sealed(Arc::clone(&keyring)), &Form::Plain, "unsealing the store")?;
        keyring.set_phase(Phase::Unsealed)?;
        self.discard(SEALED_FOLDER)?;
        self.remove_key_file()?;
        Ok(Form::Plain)
    }

    /// Everything, in order, each step synced: so the last value that is there says how far it has come.
    fn copy(&self, from: &Form, to: &Form, what: &str) -> Result<(), StoreError> {
        let from = Engine::open(self.dir, from.clone(), self.engine.synced())?;
        let to = Engine::open(self.dir, to.clone(), self.engine.synced())?;
        let (mut n_values, of_about) = (to.about_n_values(), from.about_n_values());
        let mut told = Instant::now();
        tracing::info!(values = n_values, of_about, "{what}");
        let mut place = Some(to.end()?);
        while let Some(after) = place {
            let step = from.step(&after, STEP, |_| true)?;
            to.write(&step.changes).map_err(|failure| failure.into_error(self.dir))?;
            n_values += step.n_values;
            place = step.next;
            if told.elapsed() > TELL {
                told = Instant::now();
                tracing::info!(values = n_values, of_about, "{what}");
            }
        }
        tracing::info!(values = n_values, "{what}: done");
        Ok(())
    }

    /// The keys of the store, from now on sealed under the one that is wanted.
    fn keyring(&self, file: &KeyFile) -> Result<Arc<Keyring>, StoreError> {
        let keyring = Keyring::open(self.dir, file, self.key(&file.key)?)?;
        if self.options.wanted == Wanted::Sealed && self.options.current.as_ref() != Some(&file.key) {
            let current = self.current_key()?;
            let (from, to) = (&file.key, &current.id);
            tracing::info!(from, to, "the store's data keys are sealed under another key from now on");
            keyring.change_key(current)?;
        }
        Ok(Arc::new(keyring))
    }

    /// Before a sealed folder is discarded. An operator who has taken every key away wants none of it any more.
    fn check_keys(&self, file: &KeyFile) -> Result<(), SealingError> {
        if self.options.keys.is_empty() {
            return Ok(());
        }
        Keyring::open(self.dir, file, self.key(&file.key)?)?;
        if self.options.wanted == Wanted::Sealed {
            self.current_key()?;
        }
        Ok(())
    }

    fn current_key(&self) -> Result<WrappingKey, SealingError> {
        self.key(self.options.current.as_deref().unwrap_or_default())
    }

    fn key(&self, id: &str) -> Result<WrappingKey, SealingError> {
        let path = || key_file::path(self.dir);
        let known = || self.options.keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>();
        let found = self.options.keys.iter().enumerate().find(|(_, key)| key.id == id);
        match found {
            Some((n, key)) => {
                let failed = |problem| SealingError::Key { n, id: id.to_owned(), problem };
                Ok(WrappingKey::new(id, &key.read().map_err(failed)?))
            }
            None if self.options.keys.is_empty() => {
                Err(SealingError::NoKeys { path: self.dir.to_path_buf(), id: id.to_owned() })
            }
            None => Err(SealingError::UnknownKey { path: path(), id: id.to_owned(), known: known() }),
        }
    }

    fn has(&self, folder: &str) -> bool {
        self.dir.join(folder).is_dir()
    }

    fn check_there(&self, folder: &str) -> Result<(), SealingError> {
        match self.has(folder) {
            true => Ok(()),
            false => {
                Err(SealingError::NoStore { path: key_file::path(self.dir), missing: self.dir.join(folder) })
            }
        }
    }

    /// It is missing after the first start was interrupted, and then nothing else is there either.
    fn check_sealed_there(&self, file: &KeyFile) -> Result<(), SealingError> {
        match file.phase == Phase::Sealed && !self.has(PLAIN_FOLDER) {
            true => Ok(()),
            false => self.check_there(SEALED_FOLDER),
        }
    }

    /// Under another name first: what is there in half must not be found.
    fn discard(&self, folder: &str) -> Result<(), StoreError> {
        if !self.has(folder) {
            return Ok(());
        }
        self.delete_discarded()?;
        let renamed = fs::rename(self.dir.join(folder), self.dir.join(DISCARDED_FOLDER));
        renamed
            .and_then(|()| sync_folder(self.dir))
            .map_err(|error| self.cannot("discard", folder, error))?;
        self.delete_discarded()
    }

    fn delete_discarded(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(self.dir.join(DISCARDED_FOLDER)) {
            Ok(()) => sync_folder(self.dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| self.cannot("delete", DISCARDED_FOLDER, error))
    }

    fn remove_key_file(&self) -> Result<(), StoreError> {
        key_file::remove(self.dir).map_err(|error| self.cannot("delete", key_file::FILE, error))
    }

    fn cannot(&self, action: &'static str, what: &str, error: io::Error) -> StoreError {
        StoreError::io(action, &self.dir.join(what), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sealing::{KeySource, SealingKey, write_key};

    /// As a host leaves it that is ended at the very end of unsealing, or in the middle of sealing.
    fn left_over(dir: &Path, phase: Phase) -> impl Fn(u8, Wanted) -> SealingOptions {
        for n in [1, 2] {
            write_key(&dir.join(n.to_string()), [200 + n; 32]);
        }
        let source = |dir: &Path, n: u8| KeySource::File(dir.join(n.to_string()));
        let key = |source| SealingKey { id: "k1".to_owned(), source };
        let wrapping = WrappingKey::new("k1", &key(source(dir, 1)).read().expect("a key"));
        Keyring::create(dir, wrapping, phase).expect("made");
        for folder in [PLAIN_FOLDER, SEALED_FOLDER] {
            fs::create_dir(dir.join(folder)).expect("made");
        }
        let dir = dir.to_path_buf();
        move |n, wanted| SealingOptions {
            keys: vec![key(source(&dir, n))],
            current: Some("k1".to_owned()),
            wanted,
        }
    }

    #[test]
    fn a_sealed_folder_is_discarded_only_by_who_has_its_key_or_none() {
        for (phase, wanted) in [
            (Phase::Unsealed, Wanted::Plain),
            (Phase::Unsealed, Wanted::Sealed),
            (Phase::Sealing, Wanted::Plain),
        ] {
            let dir = tempfile::tempdir().expect("a folder");
            let options = left_over(dir.path(), phase);
            let settled = |options| settle(dir.path(), &options, EngineOptions::new(1 << 20)).map(|_| ());
            let refused = settled(options(2, wanted)).expect_err("another key").to_string();
            assert!(refused.contains("the key `k1` does not open"), "{refused}");
            let unreadable = settled(options(3, wanted)).expect_err("no key").to_string();
            assert!(unreadable.contains("cannot be read"), "{unreadable}");
            for left in [PLAIN_FOLDER, SEALED_FOLDER, key_file::FILE] {
                assert!(dir.path().join(left).exists(), "{phase:?}, {wanted:?}: {left}");
            }
            settled(SealingOptions { keys: Vec::new(), ..options(1, Wanted::Plain) })
                .expect("none is wanted");
            assert!(dir.path().join(PLAIN_FOLDER).exists() && !dir.path().join(SEALED_FOLDER).exists());
        }
    }
}

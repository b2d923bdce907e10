//! `store.keys`: the data keys of a store, themselves sealed under a key of the settings, and how far the store is
//! sealed.
//!
//! Invariant: the file is replaced whole or not at all, and is on the disk before anything relies on it. Every byte of
//! it is checked: what the key does not authenticate is not believed, and a damaged file is told from a wrong key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lockstep_plugin_api::key_material::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::SealingError;
use super::value::{cipher, random};
use crate::store::sync_folder;

/// In the data folder.
pub const FILE: &str = "store.keys";
/// Written beside it, and moved over it.
const NEW_FILE: &str = "store.keys.new";

/// The layout of the file that this host writes.
const VERSION: u32 = 1;

/// No file of keys is larger.
const MAX_BYTES: u64 = 1 << 20;

const KEY_BYTES: usize = 4 + 8 + 32;

/// Which folder holds the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The plain one; the sealed one is a part of its copy.
    Sealing,
    /// The sealed one; a plain one is left over from the copying.
    Sealed,
    /// The sealed one; the plain one is a part of its copy.
    Unsealing,
    /// The plain one; the sealed one is left over.
    Unsealed,
}

impl Phase {
    /// As in the file: what is authenticated must not change with a name in the code.
    fn word(self) -> &'static str {
        match self {
            Self::Sealing => "sealing",
            Self::Sealed => "sealed",
            Self::Unsealing => "unsealing",
            Self::Unsealed => "unsealed",
        }
    }
}

/// The file as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u32,
    pub phase: Phase,
    /// The id of the key that `data_keys` is sealed under.
    pub key: String,
    nonce: String,
    data_keys: String,
    checksum: String,
}

/// What the file holds for whoever has the key.
pub struct Contents {
    pub phase: Phase,
    /// The newest last: values are sealed with that one.
    pub data_keys: Vec<StoredKey>,
}

pub struct StoredKey {
    pub id: u32,
    /// Uses that it may have had.
    pub reserved: u64,
    pub secret: Secret,
}

/// A key of the settings.
pub struct WrappingKey {
    pub id: String,
    cipher: LessSafeKey,
}

impl WrappingKey {
    pub fn new(id: &str, secret: &Secret) -> Self {
        Self { id: id.to_owned(), cipher: cipher(secret) }
    }
}

impl StoredKey {
    pub fn generate(id: u32) -> io::Result<Self> {
        let mut secret = Secret::default();
        random(&mut secret[..])?;
        Ok(Self { id, reserved: 0, secret })
    }
}

/// The file in `dir`, as far as it can be read without its key; `None` if there is none.
pub fn read(dir: &Path) -> Result<Option<KeyFile>, ReadError> {
    let path = dir.join(FILE);
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(ReadError::Io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Io(error)),
    };
    check(&path, &bytes).map(Some).map_err(ReadError::Refused)
}

#[derive(Debug)]
pub enum ReadError {
    Io(io::Error),
    Refused(SealingError),
}

fn check(path: &Path, bytes: &[u8]) -> Result<KeyFile, SealingError> {
    let damaged = |what| SealingError::DamagedKeyFile { path: path.to_path_buf(), what };
    // A newer host may have added fields; what it says of its version decides.
    if let Ok(Version { version: found }) = serde_json::from_slice(bytes)
        && found > VERSION
    {
        return Err(SealingError::NewerKeyFile { path: path.to_path_buf(), found, supported: VERSION });
    }
    let file: KeyFile = serde_json::from_slice(bytes).map_err(|_| damaged("it is no key file"))?;
    match file.checksum == file.checksum_of_fields() {
        true => Ok(file),
        false => Err(damaged("its checksum is not that of its content")),
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl KeyFile {
    /// Opens the data keys; refused if that is not the key they are sealed under.
    pub fn open(&self, path: &Path, key: &WrappingKey) -> Result<Contents, SealingError> {
        let damaged = |what| SealingError::DamagedKeyFile { path: path.to_path_buf(), what };
        let nonce =
            BASE64.decode(&self.nonce).ok().and_then(|nonce| Nonce::try_assume_unique_for_key(&nonce).ok());
        let nonce = nonce.ok_or_else(|| damaged("its nonce cannot be read"))?;
        let sealed = BASE64.decode(&self.data_keys).map_err(|_| damaged("its data keys cannot be read"))?;
        let mut sealed = Zeroizing::new(sealed);
        let opened = key.cipher.open_in_place(nonce, Aad::from(self.authenticated()), &mut sealed);
        let opened =
            opened.map_err(|_| SealingError::WrongKey { path: path.to_path_buf(), id: self.key.clone() })?;
        let data_keys = data_keys(opened).ok_or_else(|| damaged("its data keys have another layout"))?;
        Ok(Contents { phase: self.phase, data_keys })
    }

    fn seal(contents: &Contents, key: &WrappingKey) -> io::Result<Self> {
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce)?;
        let mut file = Self {
            version: VERSION,
            phase: contents.phase,
            key: key.id.clone(),
            nonce: BASE64.encode(nonce),
            data_keys: String::new(),
            checksum: String::new(),
        };
        let mut sealed = contents.to_bytes();
        let tag = key
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(file.authenticated()),
                &mut sealed,
            )
            .map_err(|_| io::Error::other("the data keys cannot be sealed"))?;
        file.data_keys = BASE64.encode([&sealed[..], tag.as_ref()].concat());
        file.checksum = file.checksum_of_fields();
        Ok(file)
    }

    /// What the key vouches for beside the data keys.
    fn authenticated(&self) -> Vec<u8> {
        format!("lockstep store.keys {} {} {}", self.version, self.phase.word(), self.key).into_bytes()
    }

    fn checksum_of_fields(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.authenticated());
        for field in [&self.nonce, &self.data_keys] {
            hasher.update(b"\n").update(field.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

impl Contents {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.data_keys.len() * KEY_BYTES));
        for key in &self.data_keys {
            bytes.extend_from_slice(&key.id.to_be_bytes());
            bytes.extend_from_slice(&key.reserved.to_be_bytes());
            bytes.extend_from_slice(&key.secret[..]);
        }
        bytes
    }

    /// Puts it in the place of the file in `dir`. After an error either of the two may be there.
    pub fn write(&self, dir: &Path, key: &WrappingKey) -> io::Result<()> {
        let file = KeyFile::seal(self, key)?;
        let new = dir.join(NEW_FILE);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        written.write_all(&serde_json::to_vec_pretty(&file).expect("it is plain data"))?;
        written.write_all(b"\n")?;
        written.sync_all()?;
        fs::rename(&new, dir.join(FILE))?;
        sync_folder(dir)
    }
}

fn data_keys(bytes: &[u8]) -> Option<Vec<StoredKey>> {
    let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
    let read = |bytes: &[u8; KEY_BYTES]| {
        let (id, rest) = bytes.split_first_chunk()?;
        let (reserved, rest) = rest.split_first_chunk()?;
        let mut secret = Secret::default();
        secret.copy_from_slice(rest);
        Some(StoredKey { id: u32::from_be_bytes(*id), reserved: u64::from_be_bytes(*reserved), secret })
    };
    let keys: Vec<StoredKey> = keys.iter().map(read).collect::<Option<_>>()?;
    let is_sound = rest.is_empty() && !keys.is_empty() && keys.is_sorted_by(|one, next| one.id < next.id);
    is_sound.then_some(keys)
}

/// Takes the file away: the store is plain.
pub fn remove(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(FILE))?;
    sync_folder(dir)
}

pub fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(n_keys: u32) -> Contents {
        let data_keys = (1..=n_keys).map(|id| StoredKey::generate(id).expect("random numbers"));
        Contents { phase: Phase::Sealed, data_keys: data_keys.collect() }
    }

    fn key(byte: u8) -> WrappingKey {
        WrappingKey::new("k1", &Box::new(Zeroizing::new([byte; 32])))
    }

    fn refusal(dir: &Path, key: &WrappingKey) -> String {
        match read(dir).map(|file| file.expect("it is there").open(&path(dir), key).map(|_| ())) {
            Err(ReadError::Refused(error)) | Ok(Err(error)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read_again_with_its_key_only() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(matches!(read(dir.path()), Ok(None)));
        let written = contents(3);
        written.write(dir.path(), &key(1)).expect("written");
        let file = read(dir.path()).expect("readable").expect("there");
        let opened = file.open(&path(dir.path()), &key(1)).expect("its key");
        assert_eq!((opened.phase, opened.data_keys.len()), (Phase::Sealed, 3));
        for (opened, written) in opened.data_keys.iter().zip(&written.data_keys) {
            assert_eq!((opened.id, **opened.secret), (written.id, **written.secret));
        }
        assert!(refusal(dir.path(), &key(2)).contains("the key `k1` does not open"));
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(path(dir.path())).expect("there"));
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read(path(dir.path())).expect("readable");
        let secrets = written.data_keys.iter().map(|key| BASE64.encode(**key.secret));
        assert!(
            secrets.into_iter().all(|secret| !text.windows(40).any(|part| part == &secret.as_bytes()[..40]))
        );
    }

    #[test]
    fn every_byte_of_the_file_is_checked() {
        let dir = tempfile::tempdir().expect("a folder");
        contents(2).write(dir.path(), &key(1)).expect("written");
        let bytes = fs::read(path(dir.path())).expect("readable");
        for place in 0..bytes.len() {
            for flip in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[place] ^= flip;
                fs::write(path(dir.path()), &changed).expect("written");
                let refused = refusal(dir.path(), &key(1));
                let expected = ["store.keys is damaged: ", "store.keys has version "];
                assert!(expected.iter().any(|text| refused.contains(text)), "{place}: {refused}");
            }
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 3] {
            fs::write(path(dir.path()), &bytes[..length]).expect("written");
            assert!(refusal(dir.path(), &key(1)).contains("is damaged"));
        }
    }

    #[test]
    fn who_knows_the_checksum_and_not_the_key_changes_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        contents(2).write(dir.path(), &key(1)).expect("written");
        let mut file = read(dir.path()).expect("readable").expect("there");
        file.phase = Phase::Unsealing;
        file.checksum = file.checksum_of_fields();
        fs::write(path(dir.path()), serde_json::to_vec(&file).expect("JSON")).expect("written");
        assert!(refusal(dir.path(), &key(1)).contains("does not open"));
    }
}

//! Why a sealed store cannot be opened, or a value in it not be believed. Names files and keys, never a secret.

use std::path::PathBuf;

use super::key_source::KeyProblem;
use crate::store::commit::{Namespace, printable};

#[derive(Debug, Clone, thiserror::Error)]
pub enum SealingError {
    #[error("the key `{id}` cannot be had: {problem}")]
    Key {
        /// Its place among the keys of the settings.
        n: usize,
        id: String,
        problem: KeyProblem,
    },

    #[error(
        "{} is sealed under the key `{id}`, and `state.encryption.keys` does not have it ({}); add it as it was; it may \
         go once the host has been started with another `current` beside it",
        path.display(), shown(known)
    )]
    UnknownKey { path: PathBuf, id: String, known: Vec<String> },

    #[error(
        "the key `{id}` does not open {}: its 32 bytes are not those the store was sealed under; put the old ones back, \
         and give a new key an `id` of its own, beside the old one",
        path.display()
    )]
    WrongKey { path: PathBuf, id: String },

    #[error(
        "{} is damaged: {what}; without the data keys in it the store cannot be read: put it back from a backup of the \
         data folder", path.display()
    )]
    DamagedKeyFile { path: PathBuf, what: &'static str },

    #[error("{} has version {found}, this host knows up to {supported}; use the newer host", path.display())]
    NewerKeyFile { path: PathBuf, found: u32, supported: u32 },

    #[error(
        "the store in {} is sealed under the key `{id}`, and `state.encryption` has no keys; configure them again, or, to \
         keep it plain from now on, start once with the keys and `state.encryption.unseal: true`",
        path.display()
    )]
    NoKeys { path: PathBuf, id: String },

    #[error(
        "{} is missing, and without the data keys in it the sealed store beside it cannot be read; put it back from a \
         backup of the data folder", path.display()
    )]
    NoKeyFile { path: PathBuf },

    #[error(
        "{} says that {}, which is missing; put the data folder back from one backup, whole",
        path.display(), missing.display()
    )]
    NoStore { path: PathBuf, missing: PathBuf },

    #[error("the store in {} is being sealed or unsealed; start the host once, so that it ends", path.display())]
    HalfWay { path: PathBuf },

    #[error("the store is not sealed: configure `state.encryption.keys` and start the host again")]
    NotSealed,

    #[error(
        "{} in {} is not what this store has sealed: the file was damaged or changed; put the data folder back from a \
         backup", named(key), path.display()
    )]
    NotAuthentic { path: PathBuf, key: Vec<u8> },
}

fn shown(known: &[String]) -> String {
    match known {
        [] => "it has none".to_owned(),
        known => format!("it has `{}`", known.join("`, `")),
    }
}

/// The value at a stored key, in words.
fn named(key: &[u8]) -> String {
    let Some((first, rest)) = key.split_first() else { return "a value".to_owned() };
    match (*first, <[u8; 8]>::try_from(key)) {
        (0, Ok(revision)) => format!("the entry of revision {}", u64::from_be_bytes(revision)),
        _ => match Namespace::of_byte(*first) {
            Some(namespace) => format!("the value of {namespace} `{}`", printable(rest)),
            None => format!("the log's index at `{}`", printable(rest)),
        },
    }
}

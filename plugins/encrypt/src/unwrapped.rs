//! Data keys of values that were read: unwrapped once, and kept for the values that follow.
//!
//! Invariant: what is kept belongs to the ring in force; a key that was taken from the ring opens nothing more.

use crate::{
    binding,
    cipher::{KEY_BYTES, Key, KeyBytes},
    ring::Ring,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use std::collections::HashMap;
use zeroize::Zeroizing;

/// How many keys are kept; with one more, all are unwrapped anew.
const MOST: usize = 1024;

/// The longest wrapped key that is looked at, in characters.
const MOST_CHARACTERS: usize = 256;

const NONCE_BYTES: usize = 12;

/// Data keys by their wrapped form.
#[derive(Default)]
pub struct Unwrapped {
    keys: HashMap<String, Entry>,
}

struct Entry {
    kid: String,
    tenant: Option<String>,
    key: Key,
}

/// Why a data key cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    UnknownKey,
    /// It was altered, or belongs to another tenant, or `kid` means another key here.
    DoesNotOpen,
}

impl Unwrapped {
    /// The data key that is wrapped in `dk`.
    pub fn key(&mut self, ring: &Ring, kid: &str, tenant: Option<&str>, dk: &str) -> Result<&Key, Locked> {
        let is_it = |entry: &Entry| entry.kid == kid && entry.tenant.as_deref() == tenant;
        if !self.keys.get(dk).is_some_and(is_it) {
            let key = unwrap(ring, kid, tenant, dk)?;
            if self.keys.len() >= MOST {
                self.forget();
            }
            let entry = Entry { kid: kid.to_owned(), tenant: tenant.map(str::to_owned), key };
            self.keys.insert(dk.to_owned(), entry);
        }
        Ok(&self.keys[dk].key)
    }

    /// There is another ring.
    pub fn forget(&mut self) {
        self.keys.clear();
    }
}

fn unwrap(ring: &Ring, kid: &str, tenant: Option<&str>, dk: &str) -> Result<Key, Locked> {
    let wrapper = ring.get(kid).ok_or(Locked::UnknownKey)?;
    let wrapped = Some(dk).filter(|dk| dk.len() <= MOST_CHARACTERS).and_then(|dk| BASE64.decode(dk).ok());
    let mut wrapped = Zeroizing::new(wrapped.ok_or(Locked::DoesNotOpen)?);
    if wrapped.len() < NONCE_BYTES {
        return Err(Locked::DoesNotOpen);
    }
    let (nonce, sealed) = wrapped.split_at_mut(NONCE_BYTES);
    let opened =
        wrapper.key.open(&binding::of_data_key(kid, tenant), nonce, sealed).ok_or(Locked::DoesNotOpen)?;
    let mut bytes = KeyBytes::default();
    (opened.len() == KEY_BYTES).then(|| bytes.copy_from_slice(opened)).ok_or(Locked::DoesNotOpen)?;
    Ok(Key::new(&bytes))
}

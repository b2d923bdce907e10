//! The keys that data keys are wrapped under, by name, and which of them is in use.

mod advice;
mod known;
mod source;

pub use advice::advise;
pub use known::Known;
pub use source::{NoKeys, Read, Source};

use crate::{
    cipher::{Key, KeyBytes},
    key_text::Line,
};
use aws_lc_rs::hmac;
use std::sync::Arc;

/// A key that wraps data keys.
pub struct Wrapper {
    /// Its name: the `kid` of every value sealed under it.
    pub id: Arc<str>,
    pub key: Key,
    bytes: KeyBytes,
}

/// Tells a key from every other one and tells nothing of it: the beginning of an HMAC under the key.
pub type Check = [u8; 8];

impl Wrapper {
    /// What shows later whether it is this key that goes by its name.
    pub fn check(&self) -> Check {
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.bytes[..]), b"lockstep encrypt: key check 1");
        *tag.as_ref().first_chunk().expect("a tag has 32 bytes")
    }
}

/// Keys by name. Never empty; no name twice.
pub struct Ring {
    wrappers: Vec<Wrapper>,
    current: usize,
}

impl Ring {
    /// A ring of what its sources hold, in their order.
    ///
    /// # Errors
    /// A sentence: a name that is there twice, or a current key that is not.
    pub fn new<'a>(lines: impl Iterator<Item = &'a Line>, current: Option<&str>) -> Result<Self, String> {
        let mut wrappers: Vec<Wrapper> = Vec::new();
        for (id, bytes) in lines {
            if wrappers.iter().any(|known| *known.id == **id) {
                return Err(format!("two keys of the ring are called `{id}`"));
            }
            wrappers.push(Wrapper { id: id.as_str().into(), key: Key::new(bytes), bytes: bytes.clone() });
        }
        let place = |id: &str| wrappers.iter().position(|wrapper| *wrapper.id == *id);
        let current = match current {
            Some(id) => {
                place(id).ok_or_else(|| format!("no key of the ring is called `{id}`, which is `current`"))?
            }
            None if wrappers.is_empty() => return Err("the ring has no key".to_owned()),
            None => 0,
        };
        Ok(Self { wrappers, current })
    }

    /// The key for new values.
    pub fn current(&self) -> &Wrapper {
        &self.wrappers[self.current]
    }

    pub fn get(&self, id: &str) -> Option<&Wrapper> {
        self.wrappers.iter().find(|wrapper| *wrapper.id == *id)
    }

    /// Every key with its name.
    pub fn wrappers(&self) -> &[Wrapper] {
        &self.wrappers
    }

    /// The names of all keys.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.wrappers.iter().map(|wrapper| &*wrapper.id)
    }
}

impl PartialEq for Ring {
    fn eq(&self, other: &Self) -> bool {
        let keys = |ring: &Self| {
            ring.wrappers.iter().map(|one| (one.id.clone(), one.bytes.clone())).collect::<Vec<_>>()
        };
        self.current == other.current && keys(self) == keys(other)
    }
}

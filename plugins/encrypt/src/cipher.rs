//! AES-256-GCM: a key that seals under a random nonce, and opens.
//!
//! Invariant: a nonce is drawn for every use and never given by a caller; how often a key is used is for its owner to
//! bound. Keys are wiped when they go.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use lockstep_plugin_api::{key_material, prelude::*};

/// How many bytes a key has.
pub const KEY_BYTES: usize = 32;

/// The bytes of a key, wiped when they go.
pub type KeyBytes = key_material::Secret;

/// A key that is ready for use.
pub struct Key(LessSafeKey);

/// A sealed text: the nonce, and the text with its tag.
pub struct Sealed {
    pub nonce: [u8; NONCE_LEN],
    pub text: Vec<u8>,
}

impl Key {
    pub fn new(bytes: &KeyBytes) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &bytes[..]).expect("AES-256 keys have 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Seals a text, so that it opens only with the same `aad`.
    ///
    /// # Errors
    /// If the system gives no random bytes, or the text is larger than the mode allows (64 GiB).
    pub fn seal(&self, aad: &[u8], text: &[u8]) -> Result<Sealed> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(text.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(text);
        let at = Nonce::assume_unique_for_key(nonce);
        let done = self.0.seal_in_place_append_tag(at, Aad::from(aad), &mut sealed);
        done.map_err(|_| Error::fatal("a value could not be sealed"))?;
        Ok(Sealed { nonce, text: sealed })
    }

    /// The text that was sealed; `None` if it was with another key or `aad`, or is not as it was.
    pub fn open<'a>(&self, aad: &[u8], nonce: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.0.open_in_place(nonce, Aad::from(aad), sealed).ok()
    }
}

/// A new random key.
///
/// # Errors
/// If the system gives no random bytes.
pub fn random_key() -> Result<KeyBytes> {
    let mut bytes = KeyBytes::default();
    fill(&mut bytes[..])?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| Error::fatal("the system gives no random bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_the_same_key_and_purpose_alone() {
        let key = Key::new(&random_key().expect("random"));
        let Sealed { nonce, text } = key.seal(b"purpose", b"secret").expect("sealed");
        assert_eq!(text.len(), 6 + 16);
        assert_eq!(key.open(b"purpose", &nonce, &mut text.clone()).as_deref(), Some(&b"secret"[..]));
        let other = Key::new(&random_key().expect("random"));
        assert!(other.open(b"purpose", &nonce, &mut text.clone()).is_none());
        assert!(key.open(b"another", &nonce, &mut text.clone()).is_none());
        assert!(key.open(b"purpose", &nonce[1..], &mut text.clone()).is_none());
        for i in 0..text.len() {
            let mut flipped = text.clone();
            flipped[i] ^= 1;
            assert!(key.open(b"purpose", &nonce, &mut flipped).is_none(), "byte {i}");
        }
        assert_ne!(key.seal(b"", b"secret").expect("sealed").nonce, nonce);
    }

    /// Test case 14 of the GCM specification (256-bit key, zeros), without and with a block of text.
    #[test]
    fn it_is_the_mode_that_others_have() {
        let key = Key::new(&KeyBytes::default());
        let mut sealed = [
            0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18,
            0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19,
        ];
        assert_eq!(key.open(b"", &[0; 12], &mut sealed).as_deref(), Some(&[0; 16][..]));
    }
}

//! One value: sealed for its key, opened for its key.
//!
//! ```text
//! 1 | data key id (4, big endian) | nonce (12) | ciphertext | tag (16)
//! ```
//! AES-256-GCM with a random nonce; what is authenticated beside the value is its stored key. That tells records
//! from entries of the log too: a record's key begins with its namespace, which is never 0, an entry's is its revision, which
//! begins with 0 for the first 2^56 of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;

/// How a sealed value is laid out.
const LAYOUT: u8 = 1;
const ID: usize = 1;
const NONCE: usize = ID + 4;
const VALUE: usize = NONCE + NONCE_LEN;
const TAG_BYTES: usize = 16;

/// Nonces that are drawn at once.
const N_NONCES: usize = 32;

/// Bytes of a value that count as one more use of its key.
const BYTES_PER_USE: usize = 1 << 20;

/// What values are sealed with.
pub struct DataKey {
    pub id: u32,
    cipher: LessSafeKey,
    /// Uses so far, and how many of them the key file knows of: it is ahead.
    pub used: AtomicU64,
    pub reserved: AtomicU64,
}

impl DataKey {
    pub fn new(id: u32, secret: &[u8; 32], reserved: u64) -> Self {
        // Those that were reserved and not used are given up: a crash must not let them be used twice.
        Self {
            id,
            cipher: cipher(secret),
            used: AtomicU64::new(reserved),
            reserved: AtomicU64::new(reserved),
        }
    }

    /// Counts uses; false if the key file has to know of more of them first.
    pub fn take(&self, n_uses: u64) -> bool {
        self.used.fetch_add(n_uses, Relaxed) + n_uses <= self.reserved.load(Relaxed)
    }

    /// `None` if it was not sealed with this key for `key`.
    fn open(&self, key: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = stored.get(NONCE..)?.split_first_chunk()?;
        let (ciphertext, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        let mut value = vec![0; ciphertext.len()];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.cipher.open_separate_gather(nonce, Aad::from(key), ciphertext, tag, &mut value).ok()?;
        Some(value)
    }
}

pub fn cipher(secret: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).expect("32 bytes are a key"))
}

/// How many uses of a key values of these lengths are.
pub fn n_uses(lengths: impl Iterator<Item = usize>) -> u64 {
    lengths.map(|length| 1 + (length / BYTES_PER_USE) as u64).sum()
}

/// The id of the data key that a stored value is sealed with; `None` if it is no sealed value.
pub fn key_id_of(stored: &[u8]) -> Option<u32> {
    let is_sealed = stored.first() == Some(&LAYOUT) && stored.len() >= VALUE + TAG_BYTES;
    is_sealed.then(|| u32::from_be_bytes(*stored[ID..].first_chunk().expect("the layout has four bytes")))
}

pub fn open(find: impl Fn(u32) -> Option<Arc<DataKey>>, key: &[u8], stored: &[u8]) -> Option<Vec<u8>> {
    find(key_id_of(stored)?)?.open(key, stored)
}

/// Seals the values of one batch, in one buffer.
pub struct Sealer {
    sealing: Option<(Arc<DataKey>, Nonces)>,
    sealed: Vec<u8>,
}

/// Random numbers are drawn by the handful: asking for them costs more than they do.
struct Nonces {
    drawn: [u8; NONCE_LEN * N_NONCES],
    n_left: usize,
}

impl Sealer {
    pub fn plain() -> Self {
        Self { sealing: None, sealed: Vec::new() }
    }

    pub fn with_key(key: Arc<DataKey>) -> Self {
        Self { sealing: Some((key, Nonces { drawn: [0; _], n_left: 0 })), sealed: Vec::new() }
    }

    /// What is to be stored under `key`.
    pub fn seal<'a>(&'a mut self, key: &[u8], value: &'a [u8]) -> io::Result<&'a [u8]> {
        let Some((data_key, nonces)) = &mut self.sealing else { return Ok(value) };
        let nonce = nonces.next()?;
        let sealed = &mut self.sealed;
        sealed.clear();
        sealed.reserve(VALUE + value.len() + TAG_BYTES);
        sealed.push(LAYOUT);
        sealed.extend_from_slice(&data_key.id.to_be_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = data_key
            .cipher
            .seal_in_place_separate_tag(nonce, Aad::from(key), &mut sealed[VALUE..])
            .map_err(|_| io::Error::other("a value cannot be sealed"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

impl Nonces {
    fn next(&mut self) -> io::Result<[u8; NONCE_LEN]> {
        if self.n_left == 0 {
            random(&mut self.drawn)?;
            self.n_left = N_NONCES;
        }
        self.n_left -= 1;
        let (nonces, _) = self.drawn.as_chunks::<NONCE_LEN>();
        Ok(nonces[self.n_left])
    }
}

pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    rand::fill(bytes).map_err(|_| io::Error::other("the system gives no random numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(data_key: &Arc<DataKey>, key: &[u8], value: &[u8]) -> Vec<u8> {
        Sealer::with_key(Arc::clone(data_key)).seal(key, value).expect("sealed").to_vec()
    }

    #[test]
    fn a_value_is_opened_for_its_key_and_no_other_and_not_with_one_bit_changed() {
        let data_key = Arc::new(DataKey::new(7, &[3; 32], 0));
        let find = |id| (id == 7).then(|| Arc::clone(&data_key));
        for value in [&b""[..], b"a value", &[9; 5000]] {
            let stored = sealed(&data_key, b"\x04key", value);
            assert_eq!(stored.len(), value.len() + 33);
            assert_eq!(open(find, b"\x04key", &stored).as_deref(), Some(value));
            assert_eq!(open(find, b"\x04kez", &stored), None);
            assert_eq!(open(find, b"\x08key", &stored), None);
            for bit in 0..stored.len().min(100) * 8 {
                let mut changed = stored.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(find, b"\x04key", &changed), None, "bit {bit}");
            }
            for length in [0, 1, 5, 17, 32, stored.len() - 1] {
                assert_eq!(open(find, b"\x04key", &stored[..length]), None);
            }
        }
    }

    #[test]
    fn no_two_values_have_the_same_nonce() {
        let data_key = Arc::new(DataKey::new(1, &[3; 32], 0));
        let mut sealer = Sealer::with_key(data_key);
        let nonces = (0..1000).map(|_| sealer.seal(b"k", b"v").expect("sealed")[NONCE..VALUE].to_vec());
        assert_eq!(nonces.collect::<std::collections::HashSet<_>>().len(), 1000);
    }

    #[test]
    fn a_large_value_is_more_than_one_use() {
        assert_eq!(n_uses([0, 10, BYTES_PER_USE - 1, 3 * BYTES_PER_USE].into_iter()), 7);
    }
}

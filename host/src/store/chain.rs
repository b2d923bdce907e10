//! The audit as it lies in the engine: entries by number, each holding the hash of the one before it.
//!
//! Invariant: numbers follow each other without a gap from the anchor, the last entry that was forgotten, to the head, the
//! newest one; both are written in one batch with what moved them, so a group that failed has used up no number.
//!
//! ```text
//! hash = SHA-256(hash before, number (8, big endian), microseconds since 1970 (8, big endian), entry)
//! stored under the number: version, microseconds (8), hash before (32), hash (32), entry
//! ```

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::commit::{Namespace, stored_key};
use super::engine::Changes;
use super::entries::damaged;
use super::error::StoreError;
use super::view::View;

pub type Hash = [u8; 32];

const VERSION: u8 = 1;

/// Before the entry's own bytes.
const HEADER_BYTES: usize = 1 + 8 + 32 + 32;

const CHAIN_KEY: &[u8] = b"audit_chain";
const CHAIN_BYTES: usize = 2 * (8 + 32) + 8;

/// An entry of the audit that has no number yet: the writer gives it the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// When it happened, in microseconds since 1970.
    pub at_us: i64,
    /// JSON.
    pub entry: String,
    /// The entry of the log that it is about, by its place in the commit: the JSON object gets its `revision`.
    pub revision_of: Option<usize>,
}

/// A place in the chain. Number 0 is the place before the first entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    pub number: u64,
    pub hash: Hash,
}

/// What the audit holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain {
    /// The newest entry that was forgotten.
    pub anchor: Link,
    /// The newest entry.
    pub head: Link,
    /// Bytes of the entries between them, the head included.
    pub n_bytes: u64,
}

/// An entry of the audit with its place in the chain, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub number: u64,
    pub at_us: i64,
    /// The hash of the entry before it.
    pub previous: Hash,
    /// Its own.
    pub hash: Hash,
    pub entry: String,
}

/// The oldest entries go. Only the audit's retention asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditTrim {
    /// The last of them, which becomes the anchor.
    pub through: Link,
    /// Their bytes.
    pub n_bytes: u64,
}

impl Link {
    const BYTES: usize = 8 + 32;

    fn read(bytes: &[u8]) -> Option<Self> {
        let (number, hash) = bytes.split_first_chunk()?;
        Some(Self { number: u64::from_be_bytes(*number), hash: hash.try_into().ok()? })
    }

    fn to_bytes(self) -> Vec<u8> {
        [&self.number.to_be_bytes()[..], &self.hash].concat()
    }
}

/// `NUMBER:HASH`, as operators note it.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, hex(&self.hash))
    }
}

impl FromStr for Link {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected NUMBER:HASH, the hash with 64 hexadecimal digits";
        let (number, hash) = text.split_once(':').ok_or(EXPECTED)?;
        Ok(Self { number: number.parse().map_err(|_| EXPECTED)?, hash: unhex(hash).ok_or(EXPECTED)? })
    }
}

/// Lower case.
pub fn hex(hash: &Hash) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]].map(char::from);
    hash.iter().flat_map(digits).collect()
}

/// Reads what [`hex`] writes.
pub fn unhex(text: &str) -> Option<Hash> {
    let digits: Vec<u8> = text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 2 * size_of::<Hash>() { bytes.try_into().ok() } else { None }
}

impl AuditRecord {
    /// The entry that follows `last`, with the revision of what it is about.
    pub fn after(last: Link, new: NewAudit, first_revision: u64) -> Self {
        let entry = match new.revision_of {
            Some(place) => with_revision(&new.entry, first_revision + place as u64),
            None => new.entry,
        };
        let (number, at_us, previous) = (last.number + 1, new.at_us, last.hash);
        let mut record = Self { number, at_us, previous, hash: Hash::default(), entry };
        record.hash = record.computed_hash();
        record
    }

    /// What its hash has to be.
    pub fn computed_hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(self.previous);
        hasher.update(self.number.to_be_bytes());
        hasher.update(self.at_us.to_be_bytes());
        hasher.update(self.entry.as_bytes());
        hasher.finalize().into()
    }

    pub fn link(&self) -> Link {
        Link { number: self.number, hash: self.hash }
    }

    /// What it counts in the chain.
    pub fn n_bytes(&self) -> u64 {
        (HEADER_BYTES + self.entry.len()) as u64
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let at = self.at_us.to_be_bytes();
        [&[VERSION][..], &at, &self.previous, &self.hash, self.entry.as_bytes()].concat()
    }

    pub(super) fn read(number: u64, bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (at_us, rest) = rest.split_first_chunk()?;
        let (previous, rest) = rest.split_first_chunk()?;
        let (hash, entry) = rest.split_first_chunk()?;
        let entry = String::from_utf8(entry.to_vec()).ok()?;
        let at_us = i64::from_be_bytes(*at_us);
        Some(Self { number, at_us, previous: *previous, hash: *hash, entry })
    }
}

/// The revision is put first, where no field of the object can stand before it.
fn with_revision(object: &str, revision: u64) -> String {
    match object.strip_prefix('{') {
        Some("}") | None => format!(r#"{{"revision":{revision}}}"#),
        Some(fields) => format!(r#"{{"revision":{revision},{fields}"#),
    }
}

impl Chain {
    /// Entries that are kept.
    pub fn n_entries(&self) -> u64 {
        self.head.number - self.anchor.number
    }

    pub(super) fn append(&mut self, new: NewAudit, first_revision: u64, changes: &mut Changes) {
        let record = AuditRecord::after(self.head, new, first_revision);
        self.head = record.link();
        self.n_bytes += record.n_bytes();
        changes.records.insert(record_key(record.number), Some(record.to_bytes()));
    }

    /// Whether it has, or had, the place that a trim names.
    pub(super) fn reaches(&self, trim: &AuditTrim) -> bool {
        trim.through.number <= self.head.number
    }

    /// What is given up already stays given up.
    pub(super) fn trim(&mut self, trim: &AuditTrim, changes: &mut Changes) {
        if trim.through.number <= self.anchor.number {
            return;
        }
        for number in self.anchor.number + 1..=trim.through.number {
            changes.records.insert(record_key(number), None);
        }
        self.anchor = trim.through;
        // Those of entries that could not be read are counted until nothing is left, and no longer.
        let is_empty = self.n_entries() == 0;
        self.n_bytes = if is_empty { 0 } else { self.n_bytes.saturating_sub(trim.n_bytes) };
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        [self.anchor.to_bytes(), self.head.to_bytes(), self.n_bytes.to_be_bytes().to_vec()].concat()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; CHAIN_BYTES] = bytes.try_into().ok()?;
        let (anchor, rest) = bytes.split_at(Link::BYTES);
        let (head, n_bytes) = rest.split_at(Link::BYTES);
        let n_bytes = u64::from_be_bytes(n_bytes.try_into().ok()?);
        Some(Self { anchor: Link::read(anchor)?, head: Link::read(head)?, n_bytes })
    }
}

pub(super) fn chain_key() -> Vec<u8> {
    stored_key(Namespace::Meta, CHAIN_KEY)
}

pub(super) fn record_key(number: u64) -> Vec<u8> {
    stored_key(Namespace::Audit, &number.to_be_bytes())
}

/// The chain as it lies in the store of `dir`.
pub(super) fn load_chain(view: &View<'_>, dir: &Path) -> Result<Chain, StoreError> {
    let Some(bytes) = view.get(&chain_key())? else { return Ok(Chain::default()) };
    let chain = Chain::read(&bytes).filter(|chain| chain.anchor.number <= chain.head.number);
    chain.ok_or_else(|| damaged(dir, "the place of its audit's head cannot be read"))
}

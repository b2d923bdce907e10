//! Shared byte slices: many fields of many records point into one buffer.

use abi_stable::{
    StableAbi,
    std_types::{RArc, RVec},
};
use std::{fmt, ops::Deref, ops::Range};

/// A cheap, shared, read-only slice of bytes.
///
/// Cloning and slicing count a reference and copy nothing, so a source that reads a chunk makes one buffer and cuts
/// its records out of it. A buffer holds at most 4 GiB.
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct Bytes {
    buffer: RArc<RVec<u8>>,
    start: u32,
    len: u32,
}

impl Bytes {
    /// No bytes.
    pub fn new() -> Self {
        Self::from(Vec::new())
    }

    /// Copies `bytes` into a buffer of its own.
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }

    /// The part of this slice at `range`, sharing the buffer.
    ///
    /// # Panics
    /// If `range` does not lie inside.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "slice {range:?} of {} bytes",
            self.len()
        );
        let start = self.start + range.start as u32;
        Self { buffer: self.buffer.clone(), start, len: (range.end - range.start) as u32 }
    }

    /// The same bytes as `part`, sharing this buffer, if `part` lies inside it.
    pub fn slice_of(&self, part: &[u8]) -> Option<Self> {
        let offset = (part.as_ptr() as usize).checked_sub(self.as_ptr() as usize)?;
        let end = offset.checked_add(part.len())?;
        (end <= self.len()).then(|| self.slice(offset..end))
    }
}

/// Where in its buffer a slice lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    start: u32,
    len: u32,
}

impl Bytes {
    pub(crate) fn place(&self) -> Place {
        Place { start: self.start, len: self.len }
    }

    pub(crate) fn shares_buffer(&self, other: &Self) -> bool {
        std::ptr::eq(&*self.buffer, &*other.buffer)
    }

    /// The bytes at a place of this slice's buffer.
    pub(crate) fn at(&self, place: Place) -> Self {
        Self { buffer: self.buffer.clone(), start: place.start, len: place.len }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer.as_slice()[self.start as usize..][..self.len as usize]
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Bytes {
    /// Takes over the vector without copying it.
    ///
    /// # Panics
    /// If it holds 4 GiB or more.
    fn from(bytes: Vec<u8>) -> Self {
        let len = u32::try_from(bytes.len()).expect("a buffer holds less than 4 GiB");
        Self { buffer: RArc::new(RVec::from(bytes)), start: 0, len }
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self::copy_from_slice(text.as_bytes())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_from_slice(bytes)
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Bytes {}

impl PartialEq<[u8]> for Bytes {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

/// Shows the length only: bytes may be somebody's configuration value and end up in a log.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len)
    }
}

/// A cheap, shared, read-only string: [`Bytes`] that are known to be UTF-8.
#[repr(transparent)]
#[derive(StableAbi, Clone, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    /// The same text as `part`, sharing `buffer` if it lies inside it, in a buffer of its own if not.
    pub fn within(buffer: &Bytes, part: &str) -> Self {
        Self(buffer.slice_of(part.as_bytes()).unwrap_or_else(|| Bytes::from(part)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: every constructor starts from a `str`, and `Bytes` never change.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }

    /// The text as bytes, sharing the buffer.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::from(text))
    }
}

impl TryFrom<Bytes> for Text {
    type Error = std::str::Utf8Error;
    fn try_from(bytes: Bytes) -> Result<Self, Self::Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_buffer_shares_it() {
        let buffer = Bytes::from(b"one two".to_vec());
        let part = buffer.slice_of(&buffer[4..]).expect("inside");
        assert_eq!(&*part, b"two");
        assert_eq!(part.as_ptr(), buffer[4..].as_ptr());
        assert!(buffer.slice_of(b"two").is_none(), "equal bytes elsewhere are not inside");
    }

    #[test]
    fn text_is_refused_when_it_is_not_utf8() {
        assert!(Text::try_from(Bytes::from(vec![0xff])).is_err());
    }
}

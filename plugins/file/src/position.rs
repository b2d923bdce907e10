//! Where a line ends, in a file that may get another name, be emptied, or be replaced under the same name.
//!
//! Invariant: a position names a file by its content first. Inodes are reused, names move on; the first bytes of an
//! append-only file do not change.

use lockstep_plugin_api::prelude::*;
use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

const VERSION: u8 = 1;

/// How many bytes a position takes.
pub const POSITION_BYTES: usize = 1 + 8 + 8 + 8 + 2 + 8;

/// How much of a file's beginning its fingerprint covers at most.
const FINGERPRINT_BYTES: u64 = 256;

/// Which file the system means, as long as the file lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A hash of a file's first bytes, as many as had been read, at most 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    n_bytes: u16,
    hash: u64,
}

impl Fingerprint {
    /// Whether there is a content to compare at all.
    pub fn is_empty(&self) -> bool {
        self.n_bytes == 0
    }

    /// Whether `file` begins with the same bytes.
    pub fn matches(&self, file: &File) -> io::Result<bool> {
        let head = Head::read(file)?;
        Ok(head.0.len() >= self.n_bytes.into() && head.fingerprint(self.n_bytes.into()) == *self)
    }
}

/// The first bytes of a file.
#[derive(Debug, Default)]
pub struct Head(Vec<u8>);

impl Head {
    /// Reads as much as is there, at most 256 bytes.
    pub fn read(file: &File) -> io::Result<Self> {
        let mut bytes = vec![0; FINGERPRINT_BYTES as usize];
        let mut n_read = 0;
        while n_read < bytes.len() {
            match file.read_at(&mut bytes[n_read..], n_read as u64) {
                Ok(0) => break,
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(n_read);
        Ok(Self(bytes))
    }

    /// Whether a fingerprint at `offset` needs more bytes than are known.
    pub fn is_short_of(&self, offset: u64) -> bool {
        (self.0.len() as u64) < offset.min(FINGERPRINT_BYTES)
    }

    /// Whether this is `earlier`, perhaps with more behind it.
    pub fn continues(&self, earlier: &Self) -> bool {
        self.0.starts_with(&earlier.0)
    }

    /// The fingerprint of a file that has been read up to `offset`.
    pub fn fingerprint(&self, offset: u64) -> Fingerprint {
        let covered = &self.0[..self.0.len().min(offset.min(FINGERPRINT_BYTES) as usize)];
        Fingerprint { n_bytes: covered.len() as u16, hash: fnv1a(covered) }
    }
}

/// FNV-1a: 64 bits, the same in every version of this plugin.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The place behind a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub file: FileId,
    pub offset: u64,
    pub fingerprint: Fingerprint,
}

impl Place {
    /// Appends the place to a buffer that holds many.
    pub fn write_to(&self, buffer: &mut Vec<u8>) {
        buffer.push(VERSION);
        buffer.extend_from_slice(&self.file.device.to_be_bytes());
        buffer.extend_from_slice(&self.file.inode.to_be_bytes());
        buffer.extend_from_slice(&self.offset.to_be_bytes());
        buffer.extend_from_slice(&self.fingerprint.n_bytes.to_be_bytes());
        buffer.extend_from_slice(&self.fingerprint.hash.to_be_bytes());
    }

    /// Reads a stored position.
    ///
    /// # Errors
    /// `Fatal` if this version did not write it: beginning anew would repeat every line.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let unknown =
            || Error::fatal("the stored position was not written by this version of the file source");
        let (&version, mut rest) = bytes.split_first().ok_or_else(unknown)?;
        if version != VERSION || bytes.len() != POSITION_BYTES {
            return Err(unknown());
        }
        let (device, inode, offset) = (take_u64(&mut rest), take_u64(&mut rest), take_u64(&mut rest));
        let (n_bytes, mut rest) = rest.split_at(2);
        let n_bytes = u16::from_be_bytes([n_bytes[0], n_bytes[1]]);
        let fingerprint = Fingerprint { n_bytes, hash: take_u64(&mut rest) };
        Ok(Self { file: FileId { device, inode }, offset, fingerprint })
    }
}

fn take_u64(rest: &mut &[u8]) -> u64 {
    let (number, after) = rest.split_at(8);
    *rest = after;
    u64::from_be_bytes(number.try_into().expect("eight bytes were split off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is() {
        let fingerprint = Head(b"head".to_vec()).fingerprint(3);
        let place = Place { file: FileId { device: 1, inode: u64::MAX }, offset: 1 << 40, fingerprint };
        let mut bytes = Vec::new();
        place.write_to(&mut bytes);
        assert_eq!(bytes.len(), POSITION_BYTES);
        assert_eq!(Place::read(&bytes).expect("a place"), place);
        assert!(Place::read(&bytes[1..]).is_err());
        assert!(Place::read(&[]).is_err());
        bytes[0] = 2;
        assert!(Place::read(&bytes).is_err());
    }

    #[test]
    fn a_fingerprint_covers_only_what_was_read() {
        let (short, long) = (Head(b"abc".to_vec()), Head(b"abcdef".to_vec()));
        assert_eq!(short.fingerprint(3), long.fingerprint(3));
        assert_ne!(short.fingerprint(3), long.fingerprint(4));
        assert!(short.is_short_of(4) && !short.is_short_of(3));
    }
}

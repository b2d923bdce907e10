//! The paths of the parts of a value, and how much of them is kept.
//!
//! Each part holds the whole path to it, so a small value can have paths that fill the memory: many parts under one long
//! name.

/// How much is told of a value at most, in bytes.
pub const MAX_TOLD: usize = 32 << 20;

/// There is more to tell of a value than anybody could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "what there is to tell, part by part, is longer than {} MiB: the value has many parts, or long paths to them",
    MAX_TOLD >> 20
)]
pub struct TooLarge;

/// Copies paths as long as there is room.
#[derive(Debug)]
pub(super) struct Paths {
    left: usize,
}

impl Default for Paths {
    fn default() -> Self {
        Self { left: MAX_TOLD }
    }
}

impl Paths {
    pub fn copy(&mut self, path: &str) -> Result<String, TooLarge> {
        self.left = self.left.checked_sub(path.len()).ok_or(TooLarge)?;
        Ok(path.to_owned())
    }
}

//! A key's past, as values: how one differs from another, and which change gave a value each of its parts.
//!
//! Pure: nothing here reads the log, a clock or a configuration, and any JSON is taken. Sealed values are atoms: nothing
//! looks inside one.

mod tree;
mod paths;
mod align;
mod difference;
mod patch;
mod blame;
mod text;

#[cfg(test)]
mod tests;

pub use blame::{Blame, Part};
pub use difference::{Difference, differences};
pub use patch::{Operation, patch};
pub use paths::{MAX_TOLD, TooLarge};
pub use text::{Piece, lines, words};
pub use tree::Tree;

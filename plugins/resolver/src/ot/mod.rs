//! Operational transform: what two authors did to the same value, each without seeing the other, becomes one value.
//!
//! `text` has the semantics of npm's `ot-text-unicode`, `tree` those of `ot-json1` without its moves. Pure functions:
//! whoever transforms the same operations gets the same ones, and of two that were made from one value either may be
//! applied first (TP1). More than two are transformed in one total order, each against those already placed; never
//! against a composition of them, which is not the same.

pub mod text;
pub mod tree;
pub mod replay;
pub mod diff;
pub mod guide_operations;

/// Which of two operations goes first where both insert at one place, and wins where both set one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        if self == Self::Left { Self::Right } else { Self::Left }
    }
}

/// The operation does not fit what it is applied to, or the operation beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("the operation goes beyond the end of the text or list")]
    BeyondEnd,
    #[error("the operation is about a key or item that is not there")]
    NotThere,
    #[error("the operation inserts where something is already")]
    Occupied,
    #[error("the operation edits a value of another type")]
    OtherType,
    #[error("the operation makes a number that is too great")]
    TooGreat,
}

/// The text is no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("an operation on text is a list of numbers, strings and {{\"d\": number or string}}")]
    Text,
    #[error(
        "an operation on JSON is null or a list of keys, {{\"r\", \"i\", \"es\", \"ena\"}} and lists of these"
    )]
    Tree,
    #[error("moving a value (`p`, `d`) is not supported")]
    Move,
    #[error("edits of type `{{\"et\"}}` are not supported")]
    Subtype,
    #[error("an operation goes at most {0} levels deep")]
    TooDeep(usize),
    #[error(
        "the guide's operation is {{\"op_type\": \"insert|delete|retain|replace\", \"position\", \"content\", \"length\"}}"
    )]
    Guide,
}

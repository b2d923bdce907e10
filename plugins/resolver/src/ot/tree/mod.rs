//! Operations on JSON: what is removed, by where it was; what is inserted and edited, by where it is afterwards.
//!
//! The two halves live in two documents, the one before and the one after, and a list's indexes differ between them. In
//! normal form nothing empty is kept, and nothing is removed below what is removed anyway.

mod key;
mod read;
mod shift;
mod apply;
mod transform;
mod compose;
mod invert;

pub use key::Key;
pub use transform::{Clash, Class};

use super::{Mismatch, text::TextOp};
use crate::value::{Number, Value};
use std::collections::BTreeMap;

/// How deeply an operation goes at most: what recurses over it must not run out of stack.
const MAX_DEPTH: usize = 256;

/// An operation on a JSON value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeOp {
    removal: Removal,
    put: Put,
}

/// What is removed of a value; keys are those before the operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Removal {
    /// The value itself, with all that is below it.
    is_whole: bool,
    below: BTreeMap<Key, Removal>,
}

/// What is inserted and edited in a value; keys are those after the operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Put {
    /// What comes here where nothing is; in a list everything behind moves up.
    insert: Option<Value>,
    edit: Option<Edit>,
    below: BTreeMap<Key, Put>,
}

/// A change of a value that stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Edit {
    Text(TextOp),
    /// Adds to a number.
    Add(Number),
}

impl TreeOp {
    /// The operation that changes a text which is a value of its own.
    pub fn of_text(op: TextOp) -> Self {
        let edit = Some(op).filter(|op| !op.is_noop()).map(Edit::Text);
        Self { put: Put { edit, ..Put::default() }, ..Self::default() }
    }

    /// The operation that puts a value in another one's place; `None` is no value.
    pub fn replacing(old: Option<&Value>, new: Option<Value>) -> Self {
        let removal = Removal { is_whole: old.is_some(), ..Removal::default() };
        Self { removal, put: Put { insert: new, ..Put::default() } }
    }

    /// The operation that does this one under a key.
    #[must_use]
    pub fn under(self, key: &Key) -> Self {
        self.under_both(key, key)
    }

    /// As [`TreeOp::under`], for an item that has another index after the operation.
    #[must_use]
    pub fn under_both(self, before: &Key, after: &Key) -> Self {
        let mut op = Self::default();
        op.removal.set(before.clone(), self.removal);
        op.put.set(after.clone(), self.put);
        op
    }

    /// This operation and another one of other keys.
    pub fn join(&mut self, other: Self) {
        self.removal.below.extend(other.removal.below);
        self.put.below.extend(other.put.below);
    }

    /// Whether it leaves every value as it is.
    pub fn is_noop(&self) -> bool {
        self.removal.is_empty() && self.put.is_empty()
    }

    /// Whether it puts another value in the place of the whole one, or removes that.
    pub fn is_whole(&self) -> bool {
        self.removal.is_whole || self.put.insert.is_some()
    }

    /// The operation on text that this is; `None` if it is none.
    pub fn as_text(&self) -> Option<&TextOp> {
        match &self.put.edit {
            Some(Edit::Text(op)) => Some(op),
            _ => None,
        }
    }

    /// The same, if it does nothing else: many edits of one text are transformed against each other.
    fn as_text_alone(&self) -> Option<&TextOp> {
        let is_alone = self.removal.is_empty() && self.put.insert.is_none() && self.put.below.is_empty();
        self.as_text().filter(|_| is_alone)
    }
}

impl Removal {
    fn whole() -> Self {
        Self { is_whole: true, below: BTreeMap::new() }
    }

    fn is_empty(&self) -> bool {
        !self.is_whole && self.below.is_empty()
    }

    /// Sets what is removed under a key, if that is anything.
    fn set(&mut self, key: Key, removal: Self) {
        if !removal.is_empty() {
            self.below.insert(key, removal);
        }
    }

    /// The indexes of the items that are removed, in order.
    fn items(&self) -> impl Iterator<Item = usize> {
        self.below.iter().filter(|(_, removal)| removal.is_whole).filter_map(|(key, _)| key.as_index())
    }
}

impl Put {
    fn is_empty(&self) -> bool {
        self.insert.is_none() && self.edit.is_none() && self.below.is_empty()
    }

    /// Sets what is put under a key, if that is anything.
    fn set(&mut self, key: Key, put: Self) {
        if !put.is_empty() {
            self.below.insert(key, put);
        }
    }

    /// The indexes of the items that are inserted, in order.
    fn items(&self) -> impl Iterator<Item = usize> {
        self.below.iter().filter(|(_, put)| put.insert.is_some()).filter_map(|(key, _)| key.as_index())
    }
}

impl Edit {
    fn is_noop(&self) -> bool {
        matches!(self, Self::Text(op) if op.is_noop())
    }

    /// # Errors
    /// [`Mismatch::OtherType`] if the other edit is of another kind: they were not made from one value.
    fn transformed(&self, other: &Self, side: super::Side) -> Result<Self, Mismatch> {
        match (self, other) {
            (Self::Text(own), Self::Text(other)) => Ok(Self::Text(own.transformed(other, side))),
            (Self::Add(_), Self::Add(_)) => Ok(self.clone()),
            _ => Err(Mismatch::OtherType),
        }
    }

    fn composed(&self, next: &Self) -> Result<Self, Mismatch> {
        match (self, next) {
            (Self::Text(own), Self::Text(next)) => Ok(Self::Text(own.composed(next))),
            (Self::Add(own), Self::Add(next)) => Ok(Self::Add(own.plus(next).ok_or(Mismatch::TooGreat)?)),
            _ => Err(Mismatch::OtherType),
        }
    }
}

#[cfg(test)]
pub mod tests;

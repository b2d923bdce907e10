//! A place in a value where not every author could have their way.

use crate::{
    ot::tree::{Clash, Class},
    value::Value,
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What became of it is in the resolved value; what else was wanted there is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// JSON pointer (RFC 6901) into the value; empty for the whole one.
    pub path: String,
    pub kind: ConflictKind,
    /// What was there before, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Value>,
    /// What was wanted there, each value once, in the order of the changes; `null` also stands for its removal.
    pub values: Vec<Option<Value>>,
}

/// What two authors did that does not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// They gave it different values.
    EditEdit,
    /// One removed what the other changed.
    DeleteEdit,
    /// They brought a list's items into different orders.
    Order,
}

impl Conflict {
    /// The conflict of these wishes at a place.
    pub fn new(path: &str, kind: ConflictKind, base: Option<&Value>, wanted: &[Option<&Value>]) -> Self {
        let mut seen = HashSet::new();
        let once = wanted.iter().filter(|value| seen.insert(value.map(Value::canonical)));
        let values = once.map(|value| value.cloned()).collect();
        Self { path: path.to_owned(), kind, base: base.cloned(), values }
    }

    /// The conflict of wishes for the whole value, if they differ; removals and edits are a conflict of their own.
    pub fn of_whole(base: Option<&Value>, wanted: &[Option<&Value>]) -> Option<Self> {
        let first = wanted.first()?;
        let kind = match wanted.iter().any(Option::is_none) {
            true => ConflictKind::DeleteEdit,
            false => ConflictKind::EditEdit,
        };
        wanted.iter().any(|value| value != first).then(|| Self::new("", kind, base, wanted))
    }

    /// The conflict of an operation with an earlier one; `before` is the value that both were made from, `theirs` and `own`
    /// what each of them alone makes of it.
    pub fn of_clash(clash: Clash, before: &Value, theirs: Option<&Value>, own: Option<&Value>) -> Self {
        let kind = match clash.class {
            Class::RemovedContent => ConflictKind::DeleteEdit,
            Class::Collision => ConflictKind::EditEdit,
        };
        let base = before.at(&clash.path);
        if clash.path.split('/').any(is_index) {
            // An item of a list is not where it was.
            let [own, theirs] = &clash.values;
            return Self::new(&clash.path, kind, base, &[theirs.as_ref(), own.as_ref()]);
        }
        let at = |value: Option<&Value>| value.and_then(|value| value.at(&clash.path)).cloned();
        let (theirs, own) = (at(theirs), at(own));
        Self::new(&clash.path, kind, base, &[theirs.as_ref(), own.as_ref()])
    }
}

/// Whether a step of a pointer may be a list's.
fn is_index(step: &str) -> bool {
    step == "-" || (!step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()))
}

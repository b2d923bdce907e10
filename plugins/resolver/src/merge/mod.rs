//! Merging what several authors made of one value, each without seeing the others: all at once, never pair by pair.
//!
//! The result depends on the changes and their order by stamp, and on nothing else: not on the order in which they came,
//! and not on how often one came. What only one of them changed, or all of them alike, is what they made of it.

mod policy;
mod three_way;
mod lists;
mod numbers;

pub use policy::{Depth, Lists, Numbers, Policy, Strings};

use crate::{
    conflict::{Conflict, ConflictKind},
    value::{Number, Value},
};
use three_way::ThreeWay;

/// What became of several changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// `None` if the key is removed.
    pub value: Option<Value>,
    pub shape: Shape,
    pub conflicts: Vec<Conflict>,
}

/// How it came about, with what the guide tells about each way.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// One of the changes, by its place.
    One(usize),
    Objects {
        merged_sources: usize,
    },
    Lists {
        original_length: usize,
        deduplicated_length: usize,
    },
    Numbers {
        rule: Numbers,
        original_values: Vec<Number>,
        min: Number,
        max: Number,
    },
    Text {
        operations_applied: usize,
    },
}

/// Merges changes, which are ordered by their stamps and all different changes; `None` is a deletion. `base` is the value
/// that all of them were made from: where none is known, objects and lists are united and numbers averaged.
pub fn merge(base: Option<&Value>, changes: &[Option<&Value>], policy: Policy) -> Merged {
    if base.into_iter().chain(changes.iter().copied().flatten()).any(Value::is_sealed) {
        return last_wins(base, changes);
    }
    let mut merging = ThreeWay { policy, conflicts: Vec::new() };
    let edits: Vec<&Value> = changes.iter().copied().flatten().collect();
    let together = match edits.as_slice() {
        [] => None,
        _ if edits.iter().all(|value| value.as_object().is_some()) => merging.objects(base, changes, &edits),
        _ if edits.iter().all(|value| value.as_list().is_some()) => merging.lists(base, changes, &edits),
        _ if edits.iter().all(|value| value.as_number().is_some()) => merging.numbers(base, changes, &edits),
        _ if edits.iter().all(|value| value.as_text().is_some()) => merging.texts(base, changes, &edits),
        _ => None,
    };
    let (value, shape) = together.unwrap_or_else(|| {
        let value = merging.at("", base, changes.to_vec());
        let winner = changes.iter().rposition(|change| *change == value.as_ref());
        (value, Shape::One(winner.unwrap_or(changes.len().saturating_sub(1))))
    });
    Merged { value, shape, conflicts: merging.conflicts }
}

/// What cannot be looked into has no parts.
fn last_wins(base: Option<&Value>, changes: &[Option<&Value>]) -> Merged {
    let conflicts = Conflict::of_whole(base, changes).into_iter().collect();
    let shape = Shape::One(changes.len().saturating_sub(1));
    Merged { value: changes.last().copied().flatten().cloned(), shape, conflicts }
}

/// A value with how it came about; `None` if these values cannot be put together and one of them has to win.
type Together = Option<(Option<Value>, Shape)>;

impl ThreeWay {
    fn objects(&mut self, base: Option<&Value>, changes: &[Option<&Value>], edits: &[&Value]) -> Together {
        if base.is_some_and(|base| base.as_object().is_none()) {
            return None;
        }
        let value = self.at("", base, changes.to_vec());
        Some((value, Shape::Objects { merged_sources: edits.len() }))
    }

    fn lists(&mut self, base: Option<&Value>, changes: &[Option<&Value>], edits: &[&Value]) -> Together {
        let are_sets = base.is_none() || base.into_iter().chain(edits.iter().copied()).all(lists::is_set);
        if self.policy.lists == Lists::Atomic || !are_sets {
            return None;
        }
        let is_united = base.is_none() && edits.iter().any(|value| value != &edits[0]);
        let value = match is_united {
            true => {
                self.note_deletions("", None, changes);
                Some(lists::united(edits))
            }
            false => self.at("", base, changes.to_vec()),
        };
        let length = |value: &Value| value.as_list().map_or(0, <[Value]>::len);
        let original_length = edits.iter().map(|value| length(value)).sum();
        let deduplicated_length = value.as_ref().map_or(0, length);
        Some((value, Shape::Lists { original_length, deduplicated_length }))
    }

    fn numbers(&mut self, base: Option<&Value>, changes: &[Option<&Value>], edits: &[&Value]) -> Together {
        let rule = match (self.policy.numbers, base) {
            (None, None) => Numbers::Average,
            (None | Some(Numbers::LastWriteWins), _) => return None,
            (Some(Numbers::Delta), None) => return None,
            (Some(_), Some(base)) if base.as_number().is_none() => return None,
            (Some(rule), _) => rule,
        };
        let original_values: Vec<Number> =
            edits.iter().filter_map(|value| value.as_number().cloned()).collect();
        let value = match base {
            Some(_) => self.at("", base, changes.to_vec()),
            None => {
                self.note_deletions("", None, changes);
                numbers::together(rule, None, &original_values).map(Value::Number)
            }
        };
        let (min, max) = numbers::bounds(&original_values)?;
        Some((value, Shape::Numbers { rule, min, max, original_values }))
    }

    fn texts(&mut self, base: Option<&Value>, changes: &[Option<&Value>], edits: &[&Value]) -> Together {
        if self.policy.strings != Strings::Text || base.and_then(Value::as_text).is_none() {
            return None;
        }
        let value = self.at("", base, changes.to_vec());
        let winner = changes.iter().rposition(|change| *change == value.as_ref());
        let is_another = self.conflicts.iter().any(|conflict| conflict.kind == ConflictKind::EditEdit);
        let shape = match winner.filter(|_| is_another) {
            Some(winner) => Shape::One(winner),
            None => Shape::Text { operations_applied: edits.len() },
        };
        Some((value, shape))
    }
}

#[cfg(test)]
mod tests;

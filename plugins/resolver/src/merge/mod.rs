//! Merging what several authors made of one value, each without seeing the others: all at once, never pair by pair.
//!
//! The result depends on the changes and their order by stamp, and on nothing else: not on the order in which they came,
//! and not on how often one came. What only one of them changed, or all of them alike, is what they made of it.

mod policy;
mod paths;
mod three_way;
mod lists;
mod numbers;

pub use paths::{PathRule, Paths};
pub use policy::{Depth, Lists, Numbers, Policy, Strings};

use crate::{
    conflict::{Conflict, ConflictKind},
    value::{Number, Value},
};
use three_way::{Edit, ThreeWay};

/// What became of several changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// `None` if the key is removed.
    pub value: Option<Value>,
    pub shape: Shape,
    pub conflicts: Vec<Conflict>,
    /// The changes of which something stands in the value, and those that did nothing, by their places.
    pub applied: Vec<usize>,
    /// Whether the policy leaves one of the conflicts to a person.
    pub is_left: bool,
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
pub fn merge(base: Option<&Value>, changes: &[Option<&Value>], policy: &Policy) -> Merged {
    if base.into_iter().chain(changes.iter().copied().flatten()).any(Value::is_sealed) {
        return last_wins(base, changes);
    }
    let mut merging = ThreeWay::new(policy);
    let edits: Vec<Edit<'_>> =
        changes.iter().enumerate().map(|(by, value)| Edit { by, value: *value }).collect();
    let values: Vec<&Value> = changes.iter().copied().flatten().collect();
    let are = |fits: fn(&Value) -> bool| !values.is_empty() && values.iter().all(|value| fits(value));
    let together = match () {
        () if policy.at("").is_one_value => None,
        () if are(|value| value.as_object().is_some()) => merging.objects(base, &edits, &values),
        () if are(|value| value.as_list().is_some()) => merging.lists(base, &edits, &values),
        () if are(|value| value.as_number().is_some()) => merging.numbers(base, &edits, &values),
        () if are(|value| value.as_text().is_some()) => merging.texts(base, &edits, &values),
        () => None,
    };
    let (value, shape) = together.unwrap_or_else(|| {
        let value = merging.at("", base, edits);
        let winner = changes.iter().rposition(|change| *change == value.as_ref());
        (value, Shape::One(winner.unwrap_or(changes.len().saturating_sub(1))))
    });
    let is_applied = |at: &usize| changes[*at] == base || merging.applied.contains(at);
    let applied = match shape {
        Shape::One(winner) => vec![winner],
        _ => (0..changes.len()).filter(is_applied).collect(),
    };
    Merged { value, shape, applied, is_left: merging.is_left, conflicts: merging.conflicts }
}

/// What cannot be looked into has no parts.
fn last_wins(base: Option<&Value>, changes: &[Option<&Value>]) -> Merged {
    let conflicts = Conflict::of_whole(base, changes).into_iter().collect();
    let last = changes.len().saturating_sub(1);
    let value = changes.last().copied().flatten().cloned();
    Merged { value, shape: Shape::One(last), conflicts, applied: vec![last], is_left: false }
}

/// A value with how it came about; `None` if these values cannot be put together and one of them has to win.
type Together = Option<(Option<Value>, Shape)>;

/// `values` are those of the edits that are no deletions.
impl ThreeWay<'_> {
    fn objects(&mut self, base: Option<&Value>, edits: &[Edit<'_>], values: &[&Value]) -> Together {
        if base.is_some_and(|base| base.as_object().is_none()) {
            return None;
        }
        let value = self.at("", base, edits.to_vec());
        Some((value, Shape::Objects { merged_sources: values.len() }))
    }

    fn lists(&mut self, base: Option<&Value>, edits: &[Edit<'_>], values: &[&Value]) -> Together {
        let are_sets = base.is_none() || base.into_iter().chain(values.iter().copied()).all(lists::is_set);
        if self.policy.lists == Lists::Atomic || !are_sets {
            return None;
        }
        let is_united = base.is_none() && values.iter().any(|value| value != &values[0]);
        let value = match is_united {
            true => {
                self.note_deletions("", None, edits);
                self.stand(edits.iter().filter(|edit| edit.value.is_some()));
                Some(lists::united(values))
            }
            false => self.at("", base, edits.to_vec()),
        };
        let length = |value: &Value| value.as_list().map_or(0, <[Value]>::len);
        let original_length = values.iter().map(|value| length(value)).sum();
        let deduplicated_length = value.as_ref().map_or(0, length);
        Some((value, Shape::Lists { original_length, deduplicated_length }))
    }

    fn numbers(&mut self, base: Option<&Value>, edits: &[Edit<'_>], values: &[&Value]) -> Together {
        let here = self.policy.at("");
        let rule = match (here.numbers, base) {
            (None, None) => Numbers::Average,
            (None | Some(Numbers::LastWriteWins), _) => return None,
            (Some(Numbers::Delta), None) => return None,
            (Some(_), Some(base)) if base.as_number().is_none() => return None,
            (Some(rule), _) => rule,
        };
        let numbers_of = |values: &[&Value]| -> Vec<Number> {
            values.iter().filter_map(|value| value.as_number().cloned()).collect()
        };
        let changed: Vec<&Value> = values.iter().copied().filter(|value| Some(*value) != base).collect();
        let is_one = changed.iter().all(|value| value == &changed[0]);
        if !is_one {
            // One of them wins where there is no such number.
            numbers::together(rule, here, base.and_then(Value::as_number), &numbers_of(&changed))?;
        }
        let original_values = numbers_of(values);
        let (min, max) = numbers::bounds(&original_values)?;
        let value = self.at("", base, edits.to_vec());
        Some((value, Shape::Numbers { rule, min, max, original_values }))
    }

    fn texts(&mut self, base: Option<&Value>, edits: &[Edit<'_>], values: &[&Value]) -> Together {
        if self.policy.strings != Strings::Text || base.and_then(Value::as_text).is_none() {
            return None;
        }
        let value = self.at("", base, edits.to_vec());
        let winner = edits.iter().rposition(|edit| edit.value == value.as_ref());
        let is_another = self.conflicts.iter().any(|conflict| conflict.kind == ConflictKind::EditEdit);
        let shape = match winner.filter(|_| is_another) {
            Some(winner) => Shape::One(winner),
            None => Shape::Text { operations_applied: values.len() },
        };
        Some((value, shape))
    }
}

#[cfg(test)]
mod tests;

//! The merge itself, from the whole value down to its parts.

use super::{Depth, Lists, Numbers, Policy, Strings, lists, numbers};
use crate::{
    conflict::{Conflict, ConflictKind},
    ot::{
        diff::diff,
        replay::{is_affordable, replay},
        tree::TreeOp,
    },
    value::{Number, Value, pointer},
};
use std::collections::{BTreeMap, BTreeSet};

/// A merge on its way down.
#[derive(Debug)]
pub struct ThreeWay {
    pub policy: Policy,
    pub conflicts: Vec<Conflict>,
}

impl ThreeWay {
    /// What becomes of one place, of which `base` was there before and each author made one of `changes`, in the order of
    /// their stamps; `None` is nothing.
    pub fn at(
        &mut self,
        path: &str,
        base: Option<&Value>,
        mut changes: Vec<Option<&Value>>,
    ) -> Option<Value> {
        changes.retain(|change| *change != base);
        let Some(first) = changes.first().copied() else { return base.cloned() };
        let is_sum = self.policy.numbers == Some(Numbers::Delta) && are_numbers(base, &changes);
        if changes.iter().all(|change| *change == first) && !is_sum {
            return first.cloned();
        }
        if self.note_deletions(path, base, &changes) {
            changes.retain(Option::is_some);
            return self.at(path, base, changes);
        }
        let edits: Vec<&Value> = changes.iter().copied().flatten().collect();
        let is_open = path.is_empty() || self.policy.depth == Depth::Deep;
        let together = if is_open { self.together(path, base, &edits) } else { None };
        together.or_else(|| {
            self.conflicts.push(Conflict::new(path, ConflictKind::EditEdit, base, &changes));
            edits.last().map(|value| (*value).clone())
        })
    }

    /// Says that what some changed others removed, if that is so: what was changed stays.
    pub fn note_deletions(&mut self, path: &str, base: Option<&Value>, changes: &[Option<&Value>]) -> bool {
        let is_mixed = changes.iter().any(Option::is_none) && changes.iter().any(Option::is_some);
        if is_mixed {
            self.conflicts.push(Conflict::new(path, ConflictKind::DeleteEdit, base, changes));
        }
        is_mixed
    }

    /// Different values as one; `None` if one of them has to win.
    fn together(&mut self, path: &str, base: Option<&Value>, edits: &[&Value]) -> Option<Value> {
        let are = |fits: fn(&Value) -> bool| base.is_none_or(fits) && edits.iter().all(|value| fits(value));
        if are(|value| value.as_object().is_some()) {
            return Some(self.fields(path, base, edits));
        }
        if self.policy.lists == Lists::Set && are(lists::is_set) {
            let (items, is_reordered) = lists::together(base, edits);
            if is_reordered {
                self.conflicts.push(Conflict::new(path, ConflictKind::Order, base, &wanted(edits)));
            }
            return Some(items);
        }
        if self.policy.strings == Strings::Text && are(|value| value.as_text().is_some()) {
            return base.and_then(|base| texts_together(base, edits));
        }
        if are(|value| value.as_number().is_some()) { self.number(path, base, edits) } else { None }
    }

    fn number(&mut self, path: &str, base: Option<&Value>, edits: &[&Value]) -> Option<Value> {
        let rule = self.policy.numbers.filter(|rule| *rule != Numbers::LastWriteWins)?;
        let all: Vec<Number> = edits.iter().filter_map(|value| value.as_number().cloned()).collect();
        let number = numbers::together(rule, base.and_then(Value::as_number), &all)?;
        // What each added is in the sum; every other rule leaves something out.
        if rule != Numbers::Delta {
            self.conflicts.push(Conflict::new(path, ConflictKind::EditEdit, base, &wanted(edits)));
        }
        Some(Value::Number(number))
    }

    fn fields(&mut self, path: &str, base: Option<&Value>, edits: &[&Value]) -> Value {
        let all = base.into_iter().chain(edits.iter().copied()).filter_map(Value::as_object);
        let names: BTreeSet<&String> = all.flat_map(BTreeMap::keys).collect();
        let mut fields = BTreeMap::new();
        for name in names {
            let changes = edits.iter().map(|value| value.get(name)).collect();
            let base = base.and_then(|base| base.get(name));
            if let Some(value) = self.at(&pointer(path, name), base, changes) {
                fields.insert(name.clone(), value);
            }
        }
        Value::Object(fields)
    }
}

fn wanted<'a>(edits: &[&'a Value]) -> Vec<Option<&'a Value>> {
    edits.iter().copied().map(Some).collect()
}

fn are_numbers(base: Option<&Value>, changes: &[Option<&Value>]) -> bool {
    let mut all = std::iter::once(base).chain(changes.iter().copied());
    all.all(|value| value.is_some_and(|value| value.as_number().is_some()))
}

/// What each author changed in the text before; `None` if one of them wrote another text, or all of them too much.
fn texts_together(base: &Value, edits: &[&Value]) -> Option<Value> {
    let n_bytes = |value: &Value| value.as_text().map_or(0, str::len);
    if !is_affordable(edits.len(), n_bytes(base), edits.iter().map(|value| n_bytes(value)).sum()) {
        return None;
    }
    let ops: Vec<TreeOp> = edits.iter().map(|value| diff(Some(base), Some(value))).collect();
    if ops.iter().any(TreeOp::is_whole) {
        return None;
    }
    replay(base, ops).ok()?.value
}

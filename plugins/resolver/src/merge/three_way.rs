//! The merge itself, from the whole value down to its parts.

use super::{Depth, Lists, Numbers, Policy, Strings, lists, numbers, paths::Here};
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

/// What one of the authors made of a place, told by the change's place in the order of the stamps; `None` is nothing.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    pub by: usize,
    pub value: Option<&'a Value>,
}

impl Edit<'_> {
    fn of_field(self, name: &str) -> Self {
        Self { value: self.value.and_then(|value| value.get(name)), ..self }
    }
}

/// A merge on its way down.
#[derive(Debug)]
pub struct ThreeWay<'p> {
    pub policy: &'p Policy,
    pub conflicts: Vec<Conflict>,
    /// The changes of which something stands in the result.
    pub applied: BTreeSet<usize>,
    /// Whether a person decides about one of the places.
    pub is_left: bool,
}

impl<'p> ThreeWay<'p> {
    /// A merge that has not begun.
    pub fn new(policy: &'p Policy) -> Self {
        Self { policy, conflicts: Vec::new(), applied: BTreeSet::new(), is_left: false }
    }

    /// What becomes of one place, of which `base` was there before and each author made one of `edits`, in the order of
    /// their stamps.
    pub fn at(&mut self, path: &str, base: Option<&Value>, mut edits: Vec<Edit<'_>>) -> Option<Value> {
        edits.retain(|edit| edit.value != base);
        let Some(first) = edits.first().copied() else { return base.cloned() };
        let here = self.policy.at(path);
        let is_sum = here.numbers == Some(Numbers::Delta) && edits.len() > 1 && are_numbers(base, &edits);
        if edits.iter().all(|edit| edit.value == first.value) && !is_sum {
            self.stand(&edits);
            return first.value.cloned();
        }
        self.is_left |= here.is_left;
        if self.note_deletions(path, base, &edits) {
            edits.retain(|edit| edit.value.is_some());
            return self.at(path, base, edits);
        }
        let is_open = (path.is_empty() || self.policy.depth == Depth::Deep) && !here.is_one_value;
        let together = if is_open { self.together(path, base, &edits, here) } else { None };
        together.or_else(|| self.last(path, base, &edits))
    }

    /// Says that what some changed others removed, if that is so: what was changed stays.
    pub fn note_deletions(&mut self, path: &str, base: Option<&Value>, edits: &[Edit<'_>]) -> bool {
        let is_mixed =
            edits.iter().any(|edit| edit.value.is_none()) && edits.iter().any(|edit| edit.value.is_some());
        if is_mixed {
            self.conflicts.push(Conflict::new(path, ConflictKind::DeleteEdit, base, &wanted(edits)));
        }
        is_mixed
    }

    /// Something that these authors did is in the result.
    pub fn stand<'a>(&mut self, edits: impl IntoIterator<Item = &'a Edit<'a>>) {
        self.applied.extend(edits.into_iter().map(|edit| edit.by));
    }

    /// One has to win: the last.
    fn last(&mut self, path: &str, base: Option<&Value>, edits: &[Edit<'_>]) -> Option<Value> {
        self.conflicts.push(Conflict::new(path, ConflictKind::EditEdit, base, &wanted(edits)));
        let last = edits.last()?.value;
        self.stand(edits.iter().filter(|edit| edit.value == last));
        last.cloned()
    }

    /// Different values as one; `None` if one of them has to win.
    fn together(
        &mut self,
        path: &str,
        base: Option<&Value>,
        edits: &[Edit<'_>],
        here: Here,
    ) -> Option<Value> {
        let values: Vec<&Value> = edits.iter().filter_map(|edit| edit.value).collect();
        let are = |fits: fn(&Value) -> bool| base.is_none_or(fits) && values.iter().all(|value| fits(value));
        if are(|value| value.as_object().is_some()) {
            return Some(self.fields(path, base, edits));
        }
        if self.policy.lists == Lists::Set && are(lists::is_set) {
            let (items, is_reordered) = lists::together(base, &values);
            if is_reordered {
                self.conflicts.push(Conflict::new(path, ConflictKind::Order, base, &wanted(edits)));
            }
            let has_changed = |edit: &&Edit<'_>| edit.value.is_some_and(|value| lists::differ(base, value));
            self.stand(edits.iter().filter(has_changed));
            return Some(items);
        }
        if self.policy.strings == Strings::Text && are(|value| value.as_text().is_some()) {
            let text = texts_together(base?, &values)?;
            self.stand(edits);
            return Some(text);
        }
        if are(|value| value.as_number().is_some()) { self.number(path, base, edits, here) } else { None }
    }

    fn number(&mut self, path: &str, base: Option<&Value>, edits: &[Edit<'_>], here: Here) -> Option<Value> {
        // Of two numbers that are a whole value and were made of nothing the guide takes the mean.
        let mean = (path.is_empty() && base.is_none()).then_some(Numbers::Average);
        let rule = here.numbers.or(mean).filter(|rule| *rule != Numbers::LastWriteWins)?;
        let number_of = |edit: &Edit<'_>| edit.value.and_then(Value::as_number).cloned();
        let all: Vec<Number> = edits.iter().filter_map(number_of).collect();
        let number = numbers::together(rule, here, base.and_then(Value::as_number), &all)?;
        // What each added is in the sum; every other rule leaves something out.
        if rule != Numbers::Delta {
            self.conflicts.push(Conflict::new(path, ConflictKind::EditEdit, base, &wanted(edits)));
        }
        let is_of_all = matches!(rule, Numbers::Delta | Numbers::Average);
        let number = Value::Number(number);
        self.stand(edits.iter().filter(|edit| is_of_all || edit.value == Some(&number)));
        Some(number)
    }

    fn fields(&mut self, path: &str, base: Option<&Value>, edits: &[Edit<'_>]) -> Value {
        let all = base.into_iter().chain(edits.iter().filter_map(|edit| edit.value));
        let names: BTreeSet<&String> = all.filter_map(Value::as_object).flat_map(BTreeMap::keys).collect();
        let mut fields = BTreeMap::new();
        for name in names {
            let base = base.and_then(|base| base.get(name));
            let edits = edits.iter().map(|edit| edit.of_field(name)).collect();
            if let Some(value) = self.at(&pointer(path, name), base, edits) {
                fields.insert(name.clone(), value);
            }
        }
        if base.is_none() {
            // Whoever made an object without a field made the object.
            let is_bare =
                |edit: &&Edit<'_>| edit.value.and_then(Value::as_object).is_some_and(BTreeMap::is_empty);
            self.stand(edits.iter().filter(is_bare));
        }
        Value::Object(fields)
    }
}

fn wanted<'a>(edits: &[Edit<'a>]) -> Vec<Option<&'a Value>> {
    edits.iter().map(|edit| edit.value).collect()
}

fn are_numbers(base: Option<&Value>, edits: &[Edit<'_>]) -> bool {
    let mut all = std::iter::once(base).chain(edits.iter().map(|edit| edit.value));
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

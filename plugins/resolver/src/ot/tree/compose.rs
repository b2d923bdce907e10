//! Two operations, one after the other, as one.

use super::{Edit, Key, Put, Removal, TreeOp, shift::Shift};
use crate::{ot::Mismatch, value::Value};
use std::collections::BTreeSet;

impl TreeOp {
    /// One operation that does what this one and then `next` does.
    ///
    /// # Errors
    /// [`Mismatch`] if `next` was not made for what this operation leaves.
    pub fn composed(&self, next: &Self) -> Result<Self, Mismatch> {
        let step =
            Step { removed: &self.removal, put: &self.put, then_removed: &next.removal, then_put: &next.put };
        let composed = step.compose(None)?;
        Ok(Self { removal: composed.removal, put: composed.put })
    }
}

/// What both operations do to one value and what is below it. It has up to three places: before, between and after.
#[derive(Clone, Copy)]
struct Step<'a> {
    /// By the place before.
    removed: &'a Removal,
    /// By the place between.
    put: &'a Put,
    /// By the place between.
    then_removed: &'a Removal,
    /// By the place after.
    then_put: &'a Put,
}

/// What that makes together.
#[derive(Default)]
struct Composed {
    /// By the place before.
    removal: Removal,
    /// By the place after.
    put: Put,
    /// What is left of the part of an inserted value that the step was about.
    literal: Option<Value>,
}

static NO_REMOVAL: Removal = Removal { is_whole: false, below: std::collections::BTreeMap::new() };
static NO_PUT: Put = Put { insert: None, edit: None, below: std::collections::BTreeMap::new() };

impl Step<'_> {
    /// `literal` is the value between if it is a part of what the first operation inserted further up: there it is changed
    /// and not removed.
    fn compose(self, literal: Option<Value>) -> Result<Composed, Mismatch> {
        let mut removal = Removal { is_whole: self.removed.is_whole, ..Removal::default() };
        if self.then_removed.is_whole {
            let is_own = self.put.insert.is_some();
            removal.is_whole |= !is_own && literal.is_none();
            let literal = literal.filter(|_| is_own);
            return Ok(Composed { removal, put: self.then_put.clone(), literal });
        }
        if self.then_put.insert.is_some() {
            return Ok(Composed { removal, put: self.then_put.clone(), literal });
        }
        let mut put = Put { edit: self.edit()?, ..Put::default() };
        let Some(inserted) = &self.put.insert else {
            let literal = self.compose_below(&mut removal, &mut put, literal)?;
            return Ok(Composed { removal, put, literal });
        };
        // Nothing that was removed here was below what is inserted.
        let step = Self { removed: &NO_REMOVAL, ..self };
        put.insert = step.compose_below(&mut Removal::default(), &mut put, Some(inserted.clone()))?;
        Ok(Composed { removal, put, literal })
    }

    fn edit(self) -> Result<Option<Edit>, Mismatch> {
        let edit = match (&self.put.edit, &self.then_put.edit) {
            (Some(edit), Some(next)) => Some(edit.composed(next)?),
            (edit, next) => edit.clone().or_else(|| next.clone()),
        };
        Ok(edit.filter(|edit| !edit.is_noop()))
    }

    fn compose_below(
        self,
        removal: &mut Removal,
        put: &mut Put,
        literal: Option<Value>,
    ) -> Result<Option<Value>, Mismatch> {
        if removal.is_whole && self.put.insert.is_none() {
            return Ok(literal);
        }
        match literal {
            Some(Value::List(items)) => {
                let mut items: Vec<Option<Value>> = items.into_iter().map(Some).collect();
                self.compose_items(removal, put, Some(&mut items))?;
                Ok(Some(Value::List(items.into_iter().flatten().collect())))
            }
            Some(Value::Object(mut fields)) => {
                for key in self.names() {
                    let Key::Name(name) = key else { continue };
                    let composed = self.under(key, key, key).compose(fields.remove(name))?;
                    composed.literal.into_iter().for_each(|value| drop(fields.insert(name.clone(), value)));
                    put.set(key.clone(), composed.put);
                }
                Ok(Some(Value::Object(fields)))
            }
            None => {
                for key in self.names() {
                    let composed = self.under(key, key, key).compose(None)?;
                    removal.set(key.clone(), composed.removal);
                    put.set(key.clone(), composed.put);
                }
                self.compose_items(removal, put, None)?;
                Ok(None)
            }
            // Nothing is below another value.
            literal => Ok(literal),
        }
    }

    /// The items of a list. `literal` holds those that came with an inserted list, by their place in it.
    fn compose_items(
        self,
        removal: &mut Removal,
        put: &mut Put,
        mut literal: Option<&mut Vec<Option<Value>>>,
    ) -> Result<(), Mismatch> {
        let first = Shift::new(self.removed.items(), self.put.items());
        let second = Shift::new(self.then_removed.items(), self.then_put.items());
        for before in self.removed.items() {
            removal.set(Key::Index(before), Removal::whole());
        }
        for between in self.items_between(&first, &second) {
            let (before, after) = (first.before(between), second.after(between));
            let key = |index: Option<usize>| index.map(Key::Index);
            let step = self.under_all(&key(before), &Key::Index(between), &key(after));
            let mut slot = before.and_then(|before| literal.as_mut()?.get_mut(before));
            let composed = step.compose(slot.as_mut().and_then(|slot| slot.take()))?;
            match (slot, before) {
                (Some(slot), _) => *slot = composed.literal,
                (None, Some(before)) => removal.set(Key::Index(before), composed.removal),
                (None, None) => {}
            }
            after.into_iter().for_each(|after| put.set(Key::Index(after), composed.put.clone()));
        }
        for after in self.then_put.items() {
            put.set(Key::Index(after), self.then_put.below[&Key::Index(after)].clone());
        }
        Ok(())
    }

    /// The items that either operation does something to, by their place between.
    fn items_between(self, first: &Shift, second: &Shift) -> BTreeSet<usize> {
        let index = |key: &Key| key.as_index();
        let changed = self.removed.below.iter().filter(|(_, removal)| !removal.is_whole);
        let changed = changed.filter_map(|(key, _)| first.after(key.as_index()?));
        let put = self.put.below.keys().filter_map(index);
        let removed = self.then_removed.below.keys().filter_map(index);
        let edited = self.then_put.below.keys().filter_map(|key| second.before(key.as_index()?));
        changed.chain(put).chain(removed).chain(edited).collect()
    }

    fn names(&self) -> BTreeSet<&Key> {
        let removed = self.removed.below.keys().chain(self.then_removed.below.keys());
        let put = self.put.below.keys().chain(self.then_put.below.keys());
        removed.chain(put).filter(|key| key.as_index().is_none()).collect()
    }

    fn under(&self, before: &Key, between: &Key, after: &Key) -> Self {
        self.under_all(&Some(before.clone()), between, &Some(after.clone()))
    }

    fn under_all(&self, before: &Option<Key>, between: &Key, after: &Option<Key>) -> Self {
        Self {
            removed: before.as_ref().and_then(|key| self.removed.below.get(key)).unwrap_or(&NO_REMOVAL),
            put: self.put.below.get(between).unwrap_or(&NO_PUT),
            then_removed: self.then_removed.below.get(between).unwrap_or(&NO_REMOVAL),
            then_put: after.as_ref().and_then(|key| self.then_put.below.get(key)).unwrap_or(&NO_PUT),
        }
    }
}

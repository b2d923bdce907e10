//! The operation that undoes another one.

use super::{Edit, Key, Put, Removal, TreeOp, shift::Shift};
use crate::{ot::Mismatch, value::Value};
use std::collections::BTreeSet;

impl TreeOp {
    /// The operation that undoes this one; `value` is the value before it.
    ///
    /// # Errors
    /// [`Mismatch`] if the operation was not made for this value.
    pub fn inverted(&self, value: Option<&Value>) -> Result<Self, Mismatch> {
        let (removal, put) = invert(&self.removal, &self.put, value)?;
        Ok(Self { removal, put })
    }
}

/// What was removed is inserted where it was, what was inserted is removed where it is, and edits are undone.
fn invert(removed: &Removal, put: &Put, value: Option<&Value>) -> Result<(Removal, Put), Mismatch> {
    let mut undone = (Removal { is_whole: put.insert.is_some(), ..Removal::default() }, Put::default());
    if removed.is_whole {
        undone.1.insert = Some(value.ok_or(Mismatch::NotThere)?.clone());
    } else if put.insert.is_none() && !(removed.is_empty() && put.is_empty()) {
        let value = value.ok_or(Mismatch::NotThere)?;
        undone.1.edit = put.edit.as_ref().map(|edit| edit.inverted(value)).transpose()?;
        match value {
            Value::Object(fields) => {
                let keys: BTreeSet<&Key> = removed.below.keys().chain(put.below.keys()).collect();
                for key in keys {
                    let Key::Name(name) = key else { return Err(Mismatch::OtherType) };
                    let (removal, put) = invert_under(removed, put, (key, key), fields.get(name))?;
                    undone.0.set(key.clone(), removal);
                    undone.1.set(key.clone(), put);
                }
            }
            Value::List(items) => invert_items(removed, put, items, &mut undone)?,
            _ if removed.below.is_empty() && put.below.is_empty() => {}
            _ => return Err(Mismatch::OtherType),
        }
    }
    Ok(undone)
}

fn invert_items(
    removed: &Removal,
    put: &Put,
    items: &[Value],
    undone: &mut (Removal, Put),
) -> Result<(), Mismatch> {
    let shift = Shift::new(removed.items(), put.items());
    for after in put.items() {
        undone.0.set(Key::Index(after), Removal::whole());
    }
    let changed = put.below.keys().filter_map(|key| shift.before(key.as_index()?));
    let touched: BTreeSet<usize> = removed.below.keys().filter_map(Key::as_index).chain(changed).collect();
    for before in touched {
        let item = items.get(before).ok_or(Mismatch::BeyondEnd)?;
        let after = shift.after(before);
        // A removed item has no place afterwards, and nothing is put into it.
        let keys = (Key::Index(before), after.map_or(Key::Name(String::new()), Key::Index));
        let (removal, put) = invert_under(removed, put, (&keys.0, &keys.1), Some(item))?;
        after.into_iter().for_each(|after| undone.0.set(Key::Index(after), removal.clone()));
        undone.1.set(Key::Index(before), put);
    }
    Ok(())
}

fn invert_under(
    removed: &Removal,
    put: &Put,
    (before, after): (&Key, &Key),
    value: Option<&Value>,
) -> Result<(Removal, Put), Mismatch> {
    let (no_removal, no_put) = (Removal::default(), Put::default());
    let removed = removed.below.get(before).unwrap_or(&no_removal);
    invert(removed, put.below.get(after).unwrap_or(&no_put), value)
}

impl Edit {
    fn inverted(&self, value: &Value) -> Result<Self, Mismatch> {
        match (self, value) {
            (Self::Text(op), Value::Text(text)) => Ok(Self::Text(op.inverted(text)?)),
            (Self::Add(number), Value::Number(_)) => Ok(Self::Add(number.negated())),
            _ => Err(Mismatch::OtherType),
        }
    }
}

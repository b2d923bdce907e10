//! Applying an operation to a value.

use super::{Edit, Key, Put, Removal, TreeOp};
use crate::{ot::Mismatch, value::Value};
use std::collections::BTreeMap;

impl TreeOp {
    /// The value after the operation; `None` is no value.
    ///
    /// # Errors
    /// [`Mismatch`] if the operation was not made for this value.
    pub fn apply(&self, value: Option<Value>) -> Result<Option<Value>, Mismatch> {
        let mut value = value;
        self.removal.apply(&mut value)?;
        match (&mut value, &self.put.insert) {
            (Some(_), Some(_)) => return Err(Mismatch::Occupied),
            (None, Some(inserted)) => value = Some(inserted.clone()),
            _ => {}
        }
        match &mut value {
            Some(value) => self.put.change(value)?,
            None if self.put.is_empty() => {}
            None => return Err(Mismatch::NotThere),
        }
        Ok(value)
    }
}

impl Removal {
    fn apply(&self, value: &mut Option<Value>) -> Result<(), Mismatch> {
        match (value.as_mut(), self.is_whole) {
            (Some(_), true) => *value = None,
            (Some(value), false) => self.apply_below(value)?,
            (None, _) if self.is_empty() => {}
            (None, _) => return Err(Mismatch::NotThere),
        }
        Ok(())
    }

    fn apply_below(&self, value: &mut Value) -> Result<(), Mismatch> {
        if self.below.is_empty() {
            return Ok(());
        }
        match value {
            Value::Object(fields) => {
                for (key, removal) in &self.below {
                    let Key::Name(name) = key else { return Err(Mismatch::OtherType) };
                    let mut field = fields.remove(name);
                    removal.apply(&mut field)?;
                    field.into_iter().for_each(|value| drop(fields.insert(name.clone(), value)));
                }
            }
            Value::List(items) => {
                let mut left: Vec<Option<Value>> = std::mem::take(items).into_iter().map(Some).collect();
                for (key, removal) in &self.below {
                    let index = key.as_index().ok_or(Mismatch::OtherType)?;
                    removal.apply(left.get_mut(index).ok_or(Mismatch::BeyondEnd)?)?;
                }
                *items = left.into_iter().flatten().collect();
            }
            _ => return Err(Mismatch::OtherType),
        }
        Ok(())
    }
}

impl Put {
    /// Changes a value that is there: edits it, and puts things below it.
    fn change(&self, value: &mut Value) -> Result<(), Mismatch> {
        if let Some(edit) = &self.edit {
            edit.apply(value)?;
        }
        if self.below.is_empty() {
            return Ok(());
        }
        match value {
            Value::Object(fields) => self.change_fields(fields),
            Value::List(items) => {
                *items = self.changed_items(std::mem::take(items))?;
                Ok(())
            }
            _ => Err(Mismatch::OtherType),
        }
    }

    fn change_fields(&self, fields: &mut BTreeMap<String, Value>) -> Result<(), Mismatch> {
        for (key, put) in &self.below {
            let Key::Name(name) = key else { return Err(Mismatch::OtherType) };
            if let Some(inserted) = &put.insert
                && fields.insert(name.clone(), inserted.clone()).is_some()
            {
                return Err(Mismatch::Occupied);
            }
            put.change(fields.get_mut(name).ok_or(Mismatch::NotThere)?)?;
        }
        Ok(())
    }

    fn changed_items(&self, items: Vec<Value>) -> Result<Vec<Value>, Mismatch> {
        let mut changed = Vec::with_capacity(items.len() + self.below.len());
        let mut rest = items.into_iter();
        for (key, put) in &self.below {
            let index = key.as_index().ok_or(Mismatch::OtherType)?;
            while changed.len() < index {
                changed.push(rest.next().ok_or(Mismatch::BeyondEnd)?);
            }
            let item = put.insert.clone().or_else(|| rest.next()).ok_or(Mismatch::BeyondEnd)?;
            changed.push(item);
            put.change(&mut changed[index])?;
        }
        changed.extend(rest);
        Ok(changed)
    }
}

impl Edit {
    pub(super) fn apply(&self, value: &mut Value) -> Result<(), Mismatch> {
        match (self, value) {
            (Self::Text(op), Value::Text(text)) => *text = op.apply(text)?,
            (Self::Add(number), Value::Number(value)) => {
                *value = value.plus(number).ok_or(Mismatch::TooGreat)?;
            }
            _ => return Err(Mismatch::OtherType),
        }
        Ok(())
    }
}

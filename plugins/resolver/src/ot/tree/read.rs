//! The JSON form of an operation: a list that goes down key by key, with a component where something happens and a list
//! for each of several ways on.

use super::{Edit, Key, MAX_DEPTH, Put, Removal, TreeOp};
use crate::{
    ot::{Malformed, text::TextOp},
    value::Value,
};
use std::collections::{BTreeMap, BTreeSet};

impl TreeOp {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or one that moves values.
    pub fn parse(json: &Value) -> Result<Self, Malformed> {
        let mut op = Self::default();
        match json {
            Value::Null => {}
            Value::List(steps) => op.read(&mut Vec::new(), steps)?,
            _ => return Err(Malformed::Tree),
        }
        op.removal.prune();
        Ok(op)
    }

    /// Reads a list of steps that begins at `path`.
    fn read(&mut self, path: &mut Vec<Key>, steps: &[Value]) -> Result<(), Malformed> {
        let start = path.len();
        for (i, step) in steps.iter().enumerate() {
            match (step, Key::read(step)?) {
                (_, Some(key)) => path.push(key),
                (Value::Object(component), _) => self.read_component(path, component)?,
                (Value::List(steps), _) if i > 0 || start == 0 => self.read(path, steps)?,
                _ => return Err(Malformed::Tree),
            }
            if path.len() > MAX_DEPTH {
                return Err(Malformed::TooDeep(MAX_DEPTH));
            }
        }
        // Whoever goes down does something there.
        if steps.last().is_some_and(|last| !matches!(last, Value::Object(_) | Value::List(_))) {
            return Err(Malformed::Tree);
        }
        path.truncate(start);
        Ok(())
    }

    fn read_component(&mut self, path: &[Key], component: &BTreeMap<String, Value>) -> Result<(), Malformed> {
        for (name, what) in component {
            match name.as_str() {
                // Whatever stands there is what was removed, or `true`.
                "r" => self.removal.down(path).is_whole = true,
                "i" => self.put.down(path).insert = Some(what.clone()),
                "es" => self.edit(path, Edit::Text(TextOp::parse(what)?))?,
                "ena" => self.edit(path, Edit::Add(what.as_number().ok_or(Malformed::Tree)?.clone()))?,
                "p" | "d" => return Err(Malformed::Move),
                "e" | "et" => return Err(Malformed::Subtype),
                _ => return Err(Malformed::Tree),
            }
        }
        Ok(())
    }

    fn edit(&mut self, path: &[Key], edit: Edit) -> Result<(), Malformed> {
        if edit.is_noop() {
            return Ok(());
        }
        match self.put.down(path).edit.replace(edit) {
            None => Ok(()),
            Some(_) => Err(Malformed::Tree),
        }
    }

    /// The JSON form.
    pub fn to_value(&self) -> Value {
        if self.is_noop() {
            return Value::Null;
        }
        let mut steps = Vec::new();
        write(Some(&self.removal), Some(&self.put), &mut steps);
        Value::List(steps)
    }
}

fn write(removal: Option<&Removal>, put: Option<&Put>, steps: &mut Vec<Value>) {
    let component = component(removal, put);
    if !component.is_empty() {
        steps.push(Value::Object(component));
    }
    let removals = removal.map(|removal| &removal.below);
    let puts = put.map(|put| &put.below);
    let keys: BTreeSet<&Key> = removals
        .into_iter()
        .flat_map(BTreeMap::keys)
        .chain(puts.into_iter().flat_map(BTreeMap::keys))
        .collect();
    let is_only_one = keys.len() == 1;
    for key in keys {
        let removal = removals.and_then(|all| all.get(key));
        let put = puts.and_then(|all| all.get(key));
        if is_only_one {
            steps.push(key.to_value());
            write(removal, put, steps);
        } else {
            let mut below = vec![key.to_value()];
            write(removal, put, &mut below);
            steps.push(Value::List(below));
        }
    }
}

fn component(removal: Option<&Removal>, put: Option<&Put>) -> BTreeMap<String, Value> {
    let removed = removal.filter(|removal| removal.is_whole).map(|_| ("r", Value::Bool(true)));
    let inserted = put.and_then(|put| put.insert.clone()).map(|value| ("i", value));
    let edited = put.and_then(|put| put.edit.as_ref()).map(|edit| match edit {
        Edit::Text(op) => ("es", op.to_value()),
        Edit::Add(number) => ("ena", Value::Number(number.clone())),
    });
    let all = removed.into_iter().chain(inserted).chain(edited);
    all.map(|(name, what)| (name.to_owned(), what)).collect()
}

impl Removal {
    fn down(&mut self, path: &[Key]) -> &mut Self {
        path.iter().fold(self, |at, key| at.below.entry(key.clone()).or_default())
    }

    /// Nothing is removed below what is removed anyway.
    fn prune(&mut self) {
        if self.is_whole {
            self.below.clear();
        }
        self.below.values_mut().for_each(Self::prune);
    }
}

impl Put {
    fn down(&mut self, path: &[Key]) -> &mut Self {
        path.iter().fold(self, |at, key| at.below.entry(key.clone()).or_default())
    }
}

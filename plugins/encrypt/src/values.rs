//! Every place of a change that holds a value, and what becomes of each.
//!
//! Invariant: nothing that says what a key holds, held, or how one became the other is left out: the values, those of the
//! siblings, operations, the names of bases, and what a notice tells of a conflict. `null` stands for nothing except as
//! the value of a change that gives one.

use crate::{binding::Field, fields::Fields};
use lockstep_plugin_api::{
    change::{CONFIG_CREATED, CONFIG_DELETED, CONFIG_UPDATED},
    prelude::*,
};
use serde_json::value::RawValue;
use std::fmt;

/// One place, as a JSON pointer shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    inside: Inside,
    name: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Change,
    Sibling(usize),
    Metadata,
    Conflict(usize),
}

/// What becomes of the text at a place: another one, or none, which leaves it alone.
pub trait Rewrite {
    /// The JSON text that is to stand there instead; of a field that is a string, the string.
    ///
    /// # Errors
    /// The whole change is refused.
    fn rewrite(&mut self, place: Place, field: Field, text: &str) -> Result<Option<String>>;

    /// Whether what a notice tells of a conflict is looked through, value by value.
    fn looks_into_conflicts(&self) -> bool {
        false
    }
}

impl Place {
    fn of(name: &'static str) -> Self {
        Self { inside: Inside::Change, name }
    }

    /// Whether it is a part of what a notice tells, and no value of a change.
    pub fn is_in_conflict(self) -> bool {
        matches!(self.inside, Inside::Conflict(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inside {
            Inside::Change => write!(f, "/{}", self.name),
            Inside::Sibling(n) => write!(f, "/siblings/{n}/{}", self.name),
            Inside::Metadata => write!(f, "/metadata/{}", self.name),
            Inside::Conflict(n) => write!(f, "/metadata/conflicts/{n}/{}", self.name),
        }
    }
}

/// Rewrites every value of the change; says whether any of them is another one now.
///
/// # Errors
/// What `each` says; `Rejected("bad_message")` if siblings have another form, or what is given instead is no JSON.
pub fn rewrite(change: &mut Change, each: &mut impl Rewrite) -> Result<bool> {
    let mut is_new = false;
    let text = Some(change.new_value().as_str());
    let text = text.filter(|text| *text != "null" || gives_value(change.event_type()));
    if let Some(new) = one(each, Place::of("new_value"), Field::Value, text)? {
        change.set_new_value(new);
        is_new = true;
    }
    if let Some(new) = one(each, Place::of("old_value"), Field::Value, said(change.old_value()))? {
        change.set_old_value(Some(new));
        is_new = true;
    }
    if let Some(new) = one(each, Place::of("ops"), Field::Ops, said(change.ops()))? {
        change.set_ops(Some(new));
        is_new = true;
    }
    if let Some(name) = change.base_hash()
        && let Some(new) = each.rewrite(Place::of("base_hash"), Field::BaseHash, name)?
    {
        change.set_base_hash(Some(new.into()));
        is_new = true;
    }
    if let Some(siblings) = change.siblings()
        && let Some(new) = rewrite_siblings(siblings, each)?
    {
        change.set_siblings(Some(new));
        is_new = true;
    }
    if let Some(metadata) = change.metadata()
        && let Some(new) = rewrite_metadata(metadata, each)?
    {
        change.set_metadata(Some(new));
        is_new = true;
    }
    Ok(is_new)
}

fn said(json: Option<&Json>) -> Option<&str> {
    json.map(Json::as_str).filter(|text| *text != "null")
}

/// Rewrites one text, if there is one.
fn one(each: &mut impl Rewrite, place: Place, field: Field, text: Option<&str>) -> Result<Option<Json>> {
    let new = text.map(|text| each.rewrite(place, field, text)).transpose()?.flatten();
    new.map(|new| Json::parse(&new)).transpose()
}

/// Whether a change of this type gives its key a value, which may be `null`.
fn gives_value(event_type: &str) -> bool {
    matches!(event_type, CONFIG_CREATED | CONFIG_UPDATED)
}

fn rewrite_siblings(siblings: &Json, each: &mut impl Rewrite) -> Result<Option<Json>> {
    let mut list: Vec<Fields<'_>> = siblings.read()?;
    let mut is_new = false;
    for (n, sibling) in list.iter_mut().enumerate() {
        is_new |= rewrite_sibling(n, sibling, each)?;
    }
    is_new.then(|| Json::write(&list)).transpose()
}

fn rewrite_sibling(n: usize, sibling: &mut Fields<'_>, each: &mut impl Rewrite) -> Result<bool> {
    let at = |name| Place { inside: Inside::Sibling(n), name };
    let event_type = sibling.get("event_type").map(string).transpose()?;
    let is_deletion = event_type.as_deref() == Some(CONFIG_DELETED);
    let mut is_new = false;
    for (name, field) in [("new_value", Field::Value), ("old_value", Field::Value), ("ops", Field::Ops)] {
        let may_be_null = name == "new_value" && !is_deletion;
        let text = sibling.get(name).filter(|text| *text != "null" || may_be_null);
        let new = one(each, at(name), field, text)?;
        is_new |= replace(sibling, name, new.as_ref())?;
    }
    let base_hash = sibling.get("base_hash").filter(|text| *text != "null").map(string).transpose()?;
    let Some(base_hash) = base_hash else { return Ok(is_new) };
    let new = each.rewrite(at("base_hash"), Field::BaseHash, &base_hash)?;
    // The field is a string, whatever it says.
    let new = new.map(|new| Json::write(&new)).transpose()?;
    Ok(replace(sibling, "base_hash", new.as_ref())? || is_new)
}

fn replace(fields: &mut Fields<'_>, name: &str, new: Option<&Json>) -> Result<bool> {
    let Some(new) = new else { return Ok(false) };
    fields.replace(name, RawValue::from_string(new.as_str().to_owned()).map_err(Error::failed)?);
    Ok(true)
}

fn string(json: &str) -> Result<String> {
    Json::parse(json)?.read()
}

/// What a sender adds is its own; what a notice tells of a conflict are values.
fn rewrite_metadata(metadata: &Json, each: &mut impl Rewrite) -> Result<Option<Json>> {
    let Ok(mut fields) = metadata.read::<Fields<'_>>() else { return Ok(None) };
    let Some(text) = fields.get("conflicts").filter(|text| *text != "null") else { return Ok(None) };
    let at = Place { inside: Inside::Metadata, name: "conflicts" };
    let whole = one(each, at, Field::Conflicts, Some(text))?;
    let inside = match each.looks_into_conflicts() {
        true => rewrite_conflicts(whole.as_ref().map_or(text, Json::as_str), each)?,
        false => None,
    };
    let new = inside.or(whole);
    let is_new = replace(&mut fields, "conflicts", new.as_ref())?;
    is_new.then(|| Json::write(&fields)).transpose()
}

/// Rewrites the values that a list of conflicts names; one of another form is left alone.
fn rewrite_conflicts(text: &str, each: &mut impl Rewrite) -> Result<Option<Json>> {
    let Ok(mut list) = serde_json::from_str::<Vec<Fields<'_>>>(text) else { return Ok(None) };
    let mut is_new = false;
    for (n, conflict) in list.iter_mut().enumerate() {
        let at = |name| Place { inside: Inside::Conflict(n), name };
        let base = conflict.get("base").filter(|text| *text != "null");
        let base = one(each, at("base"), Field::Value, base)?;
        let values: Option<Vec<&RawValue>> =
            conflict.get("values").and_then(|text| serde_json::from_str(text).ok());
        let mut written: Vec<Json> = Vec::new();
        let mut has_new_value = false;
        for value in values.into_iter().flatten() {
            let text = Some(value.get()).filter(|text| *text != "null");
            let new = one(each, at("values"), Field::Value, text)?;
            has_new_value |= new.is_some();
            written.push(new.map_or_else(|| Json::parse(value.get()), Ok)?);
        }
        let values = has_new_value.then(|| Json::write(&written)).transpose()?;
        is_new |= replace(conflict, "base", base.as_ref())?;
        is_new |= replace(conflict, "values", values.as_ref())?;
    }
    is_new.then(|| Json::write(&list)).transpose()
}

#[cfg(test)]
mod tests;

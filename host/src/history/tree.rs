//! A JSON value that can be compared part by part, and whose parts keep the text they were written as.
//!
//! Invariant: any text is taken, however deep or odd; what cannot be read as JSON is an atom that equals its own text
//! alone. Numbers are compared as they are written, so that nothing is rounded and `1.0` is not `1`.

use lockstep_plugin_api::change::MAX_DEPTH;
use lockstep_plugin_api::sealed::is_sealed;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// A value and what is in it.
#[derive(Debug, Clone)]
pub struct Tree<'a> {
    raw: &'a str,
    shape: Shape<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Shape<'a> {
    Object(BTreeMap<Name<'a>, Tree<'a>>),
    List(Vec<Tree<'a>>),
    Text(Cow<'a, str>),
    /// A number, `true`, `false` or `null`, and whatever cannot be taken apart.
    Atom(&'a str),
    /// Sealed by a component: its text says nothing.
    Sealed(&'a str),
}

/// The name of a field, without escapes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Tree<'a> {
    /// The value that this JSON text is.
    pub fn of(json: &'a str) -> Self {
        Self::at(json.trim_ascii(), 0)
    }

    fn at(raw: &'a str, depth: usize) -> Self {
        let shape = match raw.as_bytes().first() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => None,
            Some(b'{') => object(raw, depth),
            Some(b'[') => read::<Vec<&RawValue>>(raw).map(|items| {
                Shape::List(items.into_iter().map(|item| Self::at(item.get(), depth + 1)).collect())
            }),
            Some(b'"') => read::<Name<'_>>(raw).map(|text| Shape::Text(text.0)),
            _ => None,
        };
        Self { raw, shape: shape.unwrap_or(Shape::Atom(raw)) }
    }

    /// As it was written.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    pub(super) fn shape(&self) -> &Shape<'a> {
        &self.shape
    }

    /// Whether it is sealed: what is in it cannot be told.
    pub fn is_sealed(&self) -> bool {
        matches!(self.shape, Shape::Sealed(_))
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn object(raw: &str, depth: usize) -> Option<Shape<'_>> {
    if is_sealed(raw) {
        return Some(Shape::Sealed(raw));
    }
    let fields = read::<BTreeMap<Name<'_>, &RawValue>>(raw)?;
    let fields = fields.into_iter().map(|(name, value)| (name, Tree::at(value.get(), depth + 1)));
    Some(Shape::Object(fields.collect()))
}

fn read<'a, T: Deserialize<'a>>(raw: &'a str) -> Option<T> {
    serde_json::from_str(raw).ok()
}

impl Name<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Spaces and the order of fields are not a difference.
impl PartialEq for Tree<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw || self.shape == other.shape
    }
}

impl Eq for Tree<'_> {}

impl Hash for Tree<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.shape.hash(state);
    }
}

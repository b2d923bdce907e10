//! Which change gave a value each of its parts: from the newest change back, until nothing is left open.
//!
//! A part is a value that holds no others, or a line of a text that has several. It stays the same part while it stands
//! where it stood: under the same names, beside the same items and lines, wherever these are in their list. What stands at
//! a place that had no such value before was changed by whoever put it there, whatever it is.

use super::align::runs;
use super::difference::Step;
use super::paths::{Paths, TooLarge};
use super::text::split_lines;
use super::tree::{Shape, Tree};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A part of a value.
#[derive(Debug, Clone)]
pub struct Part {
    /// A JSON pointer to it (RFC 6901).
    pub path: String,
    /// Which line of the text at the path it is, from 1 on.
    pub line: Option<usize>,
    /// As JSON; of a line, the text of the line.
    pub value: Box<RawValue>,
    /// Which of the changes that were looked at it is by, counted from the newest; `None` if it is older than all of them.
    pub by: Option<usize>,
}

/// The parts of a value, while the changes before it are looked at.
#[derive(Debug)]
pub struct Blame {
    parts: Vec<Part>,
    /// The parts that no change has been found for; they are where they were before the last change that was looked at.
    open: Option<Open>,
    n_changes: usize,
}

/// Where in a value the open parts are. A number is a part's.
#[derive(Debug)]
enum Open {
    Object(BTreeMap<String, Open>),
    /// By their places in the list.
    List(Vec<(usize, Open)>),
    Lines(Vec<(usize, usize)>),
    Leaf(usize),
}

impl Blame {
    /// Of a value as the newest change left it.
    ///
    /// # Errors
    /// If the paths to its parts are too long.
    pub fn of(value: &Tree<'_>) -> Result<Self, TooLarge> {
        let mut parts = Parts::default();
        let open = Some(Open::of(value, &mut String::new(), &mut parts)?);
        Ok(Self { parts: parts.list, open, n_changes: 0 })
    }

    /// Whether a change has been found for every part.
    pub fn is_done(&self) -> bool {
        self.open.is_none()
    }

    /// Looks at the next change, going back: what the value was after it and before it.
    pub fn changed(&mut self, after: &Tree<'_>, before: Option<&Tree<'_>>) {
        let mut finder = Finder { parts: &mut self.parts, change: self.n_changes };
        self.open = self.open.take().and_then(|open| finder.kept(open, after, before));
        self.n_changes += 1;
    }

    /// Every part: fields by their names, items and lines in their order.
    pub fn parts(self) -> Vec<Part> {
        self.parts
    }
}

/// The parts of a value as they are found.
#[derive(Default)]
struct Parts {
    list: Vec<Part>,
    paths: Paths,
}

impl Open {
    fn of(value: &Tree<'_>, path: &mut String, parts: &mut Parts) -> Result<Self, TooLarge> {
        Ok(match value.shape() {
            Shape::Object(fields) if !fields.is_empty() => {
                let fields = fields.iter().map(|(name, field)| {
                    let open = Self::below(field, name.as_str(), path, parts)?;
                    Ok((name.as_str().to_owned(), open))
                });
                Self::Object(fields.collect::<Result<_, _>>()?)
            }
            Shape::List(items) if !items.is_empty() => {
                let items = items.iter().enumerate();
                let items = items.map(|(at, item)| Ok((at, Self::below(item, at, path, parts)?)));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Shape::Text(text) if text.contains('\n') => {
                let lines = split_lines(text).into_iter().enumerate();
                let lines = lines.map(|(at, line)| Ok((at, parts.add(path, Some(at + 1), json(line))?)));
                Self::Lines(lines.collect::<Result<_, _>>()?)
            }
            _ => {
                let raw = RawValue::from_string(value.raw().to_owned());
                Self::Leaf(parts.add(path, None, raw.unwrap_or_default())?)
            }
        })
    }

    fn below(
        value: &Tree<'_>,
        step: impl Step,
        path: &mut String,
        parts: &mut Parts,
    ) -> Result<Self, TooLarge> {
        let length = path.len();
        step.take(path);
        let open = Self::of(value, path, parts);
        path.truncate(length);
        open
    }
}

impl Parts {
    /// The number of the part that is added.
    fn add(&mut self, path: &str, line: Option<usize>, value: Box<RawValue>) -> Result<usize, TooLarge> {
        self.list.push(Part { path: self.paths.copy(path)?, line, value, by: None });
        Ok(self.list.len() - 1)
    }
}

fn json(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("text can be written as JSON")
}

struct Finder<'p> {
    parts: &'p mut [Part],
    change: usize,
}

impl Finder<'_> {
    /// What of the open parts the value had before the change, at their places there.
    fn kept(&mut self, open: Open, after: &Tree<'_>, before: Option<&Tree<'_>>) -> Option<Open> {
        let Some(before) = before else { return self.found(open) };
        if after == before {
            return Some(open);
        }
        match (open, after.shape(), before.shape()) {
            (Open::Object(open), Shape::Object(after), Shape::Object(before)) => {
                let fields = open.into_iter().filter_map(|(name, open)| {
                    let field = after.get(name.as_str())?;
                    let kept = self.kept(open, field, before.get(name.as_str()))?;
                    Some((name, kept))
                });
                Some(fields.collect()).filter(|fields: &BTreeMap<_, _>| !fields.is_empty()).map(Open::Object)
            }
            (Open::List(open), Shape::List(after), Shape::List(before)) => {
                let stood = stood(after, before, true);
                let items = open.into_iter().filter_map(|(at, open)| {
                    let old = stood[at];
                    Some((old.unwrap_or_default(), self.kept(open, &after[at], old.map(|old| &before[old]))?))
                });
                Some(items.collect()).filter(|items: &Vec<_>| !items.is_empty()).map(Open::List)
            }
            (Open::Lines(open), Shape::Text(after), Shape::Text(before)) => {
                let stood = stood(&split_lines(after), &split_lines(before), false);
                let (kept, gone): (Vec<_>, Vec<_>) =
                    open.into_iter().partition(|(at, _)| stood[*at].is_some());
                gone.into_iter().for_each(|(_, part)| self.parts[part].by = Some(self.change));
                let kept = kept.into_iter().filter_map(|(at, part)| Some((stood[at]?, part)));
                Some(kept.collect()).filter(|lines: &Vec<_>| !lines.is_empty()).map(Open::Lines)
            }
            (open, ..) => self.found(open),
        }
    }

    /// All of these parts are by this change.
    fn found(&mut self, open: Open) -> Option<Open> {
        match open {
            Open::Object(fields) => fields.into_values().for_each(|open| drop(self.found(open))),
            Open::List(items) => items.into_iter().for_each(|(_, open)| drop(self.found(open))),
            Open::Lines(lines) => {
                lines.into_iter().for_each(|(_, part)| self.parts[part].by = Some(self.change))
            }
            Open::Leaf(part) => self.parts[part].by = Some(self.change),
        }
        None
    }
}

/// Where each item stood before, if it did; with `is_paired`, also those that stand where others stood.
fn stood<T: Eq + std::hash::Hash>(after: &[T], before: &[T], is_paired: bool) -> Vec<Option<usize>> {
    let mut stood = vec![None; after.len()];
    for run in runs(before, after).into_iter().filter(|run| run.is_same || is_paired) {
        run.new.zip(run.old).for_each(|(new, old)| stood[new] = Some(old));
    }
    stood
}

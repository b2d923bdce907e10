//! The text of one file, and where in it every value stands.
//!
//! What is masked is never shown again: not in a quoted line, not in a message.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use super::diagnostic::Diagnostic;
use super::scalar_offset;
use super::yaml::{self, Children, Node, Style};

/// One configuration file as it was read.
#[derive(Debug)]
pub struct SourceText {
    file: PathBuf,
    text: String,
    places: BTreeMap<String, Place>,
    /// Byte ranges that are shown as `***`. Grows while schemas are learnt.
    masks: Mutex<Vec<Range<usize>>>,
}

/// Which part of an entry a diagnostic points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The name before the colon; the value where there is none, as in a list.
    Key,
    /// The value; of a map or list its first line.
    Value,
}

/// Where one value stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub key: Option<Range<usize>>,
    pub value: Range<usize>,
    /// Where the value itself is written: elsewhere than `value` if that is an alias.
    pub written: Range<usize>,
    pub style: Style,
}

impl SourceText {
    /// Reads `text`, strictly. The diagnostics are those of the text itself, before any meaning;
    /// with an error that ends the reading there are no places.
    pub(super) fn parse(file: &Path, text: String) -> (Arc<Self>, Vec<Diagnostic>) {
        let mut places = BTreeMap::new();
        let problems = match yaml::parse(&text) {
            Ok(document) => {
                index(&document.root, "", None, &mut places);
                document.problems
            }
            Err(problem) => vec![problem],
        };
        let source = Arc::new(Self { file: file.into(), text, places, masks: Mutex::default() });
        source.mask_suspects();
        let diagnostics = problems
            .into_iter()
            .map(|problem| {
                let path = source.path_at(problem.span.start);
                Diagnostic::in_text(source.clone(), problem.span, path, problem.message)
                    .code(problem.code)
                    .maybe_help(problem.help)
            })
            .collect();
        (source, diagnostics)
    }

    /// A text that could not be read far enough to have places.
    pub(super) fn unparsed(file: &Path, text: String) -> Arc<Self> {
        Arc::new(Self { file: file.into(), text, places: BTreeMap::new(), masks: Mutex::default() })
    }

    /// The file's name as the operator gave it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The folder that relative paths in this file are relative to.
    pub fn dir(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// A diagnostic about the value at `path` (`sinks.0.config.port`), or about the nearest value around it
    /// that is in the file.
    pub fn diagnostic(
        self: &Arc<Self>,
        path: &str,
        anchor: Anchor,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic::in_text(self.clone(), self.span(path, anchor), path.into(), message.into())
            .maybe_help(help)
    }

    /// A diagnostic about `length` bytes at `offset` inside the scalar at `path`, as the reader of the value counts.
    pub fn diagnostic_inside(
        self: &Arc<Self>,
        path: &str,
        offset: usize,
        length: usize,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        let span = match self.places.get(path) {
            Some(place) => {
                let at = |offset| scalar_offset::in_text(&self.text, &place.written, place.style, offset);
                let start = at(offset);
                start..at(offset + length).max(start)
            }
            None => self.span(path, Anchor::Value),
        };
        Diagnostic::in_text(self.clone(), span, path.into(), message.into()).maybe_help(help)
    }

    /// Line and column, both from 1, of the value at `path` or of what is nearest around it.
    pub fn line_column(&self, path: &str, anchor: Anchor) -> (usize, usize) {
        self.line_column_at(self.span(path, anchor).start)
    }

    /// From now on the value at `path` is shown as `***`.
    pub fn mask(&self, path: &str) {
        if let Some(place) = self.places.get(path) {
            self.mask_range(place.written.clone());
        }
    }

    /// Whether the value at `path` may not be shown: it is masked, or comes from `${...}`.
    pub fn is_hidden(&self, path: &str) -> bool {
        let Some(place) = self.places.get(path) else { return false };
        let masked =
            |range: &Range<usize>| range.start <= place.written.start && place.written.end <= range.end;
        self.is_interpolated(path) || self.masks().iter().any(masked)
    }

    /// Whether the value at `path` has `${...}` in it.
    pub(super) fn is_interpolated(&self, path: &str) -> bool {
        self.places.get(path).is_some_and(|place| self.text[place.written.clone()].contains("${"))
    }

    pub(super) fn place(&self, path: &str) -> Option<&Place> {
        self.places.get(path)
    }

    pub(super) fn line_column_at(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The line around the start of `span` with what is masked in it replaced, and where `span` is in that line.
    pub(super) fn quoted_line(&self, span: &Range<usize>) -> (String, Range<usize>) {
        let start = self.text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[span.start..].find('\n').map_or(self.text.len(), |newline| span.start + newline);
        let clip =
            |range: &Range<usize>| range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
        let masks = merged(self.masks().iter().map(clip).collect());
        let shown = clip(span);
        let line = &self.text[start..end];
        (masked(line, &masks), moved(shown.start, &masks, 0)..moved(shown.end, &masks, MASK.len()))
    }

    fn span(&self, path: &str, anchor: Anchor) -> Range<usize> {
        let mut path = path;
        let place = loop {
            match self.places.get(path) {
                Some(place) => break place,
                None if path.is_empty() => return 0..0,
                None => path = path::parent(path),
            }
        };
        match (&place.key, anchor) {
            (Some(key), Anchor::Key) => key.clone(),
            (Some(key), Anchor::Value) if place.value.is_empty() => key.clone(),
            _ => place.value.clone(),
        }
    }

    /// The path of the innermost value around a byte of the text.
    fn path_at(&self, at: usize) -> String {
        let around = |place: &Place| {
            let start = place.key.as_ref().map_or(place.value.start, |key| key.start);
            (start..place.value.end.max(start + 1)).contains(&at)
        };
        let innermost =
            self.places.iter().filter(|(_, place)| around(place)).max_by_key(|(path, _)| path.len());
        innermost.map(|(path, _)| path.clone()).unwrap_or_default()
    }

    /// Masks the values of keys that are called like a secret, before any schema says so:
    /// a file that is refused early must not show them either.
    fn mask_suspects(&self) {
        if self.places.is_empty() {
            return self.mask_suspect_lines();
        }
        for (path, place) in &self.places {
            if place.style != Style::Collection && is_suspect(path::last(path)) {
                self.mask_range(place.written.clone());
            }
        }
    }

    /// The same for a text without places: whatever follows the colon on the line.
    fn mask_suspect_lines(&self) {
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            for (colon, _) in line.match_indices(':') {
                let word = line[..colon].trim_end_matches(['"', '\'', ' ']);
                let name = word.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                if is_suspect(name) {
                    let value = line[colon + 1..].trim_start();
                    let from = start + line.len() - value.len();
                    self.mask_range(from..from + value.trim_end().len());
                    break;
                }
            }
            start += line.len();
        }
    }

    fn mask_range(&self, range: Range<usize>) {
        // `${env:NAME}` names a secret and is none.
        if !range.is_empty() && !self.text[range.clone()].contains("${") {
            self.masks().push(range);
        }
    }

    fn masks(&self) -> std::sync::MutexGuard<'_, Vec<Range<usize>>> {
        self.masks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MASK: &str = "***";

/// Sorted, without the empty and the overlapping.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

fn masked(line: &str, masks: &[Range<usize>]) -> String {
    let mut shown = line.to_owned();
    for mask in masks.iter().rev() {
        shown.replace_range(mask.clone(), MASK);
    }
    shown
}

/// Where byte `at` of a line is once the masks are applied; `inside` is added where it falls into one.
fn moved(at: usize, masks: &[Range<usize>], inside: usize) -> usize {
    let mut moved = at;
    for mask in masks.iter().filter(|mask| mask.start < at) {
        moved = match mask.end <= at {
            true => moved + MASK.len() - mask.len(),
            false => moved - (at - mask.start) + inside,
        };
    }
    moved
}

fn is_suspect(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "passphrase", "credentials", "api_key", "apikey", "private_key"]
        .iter()
        .any(|word| name.ends_with(word))
}

fn index(node: &Rc<Node>, at: &str, key: Option<Range<usize>>, places: &mut BTreeMap<String, Place>) {
    let mut target = node;
    while let Children::Alias(anchored) = &target.children {
        target = anchored;
    }
    let place = Place { key, value: node.span.clone(), written: target.span.clone(), style: target.style };
    places.insert(at.into(), place);
    match &target.children {
        Children::Map(entries) => {
            for (key, value) in entries {
                index(value, &path::join(at, &key.name), Some(key.span.clone()), places);
            }
        }
        Children::List(items) => {
            for (n, item) in items.iter().enumerate() {
                index(item, &path::join(at, &n.to_string()), None, places);
            }
        }
        Children::None | Children::Alias(_) => {}
    }
}

/// Paths of values: segments joined by dots, `.` inside a segment written `~1`, `~` written `~0`.
pub mod path {
    /// `join("sinks.0", "config")` is `sinks.0.config`.
    pub fn join(path: &str, segment: &str) -> String {
        let escaped = segment.replace('~', "~0").replace('.', "~1");
        if path.is_empty() { escaped } else { format!("{path}.{escaped}") }
    }

    /// `append("sinks.0", "config.port")` is `sinks.0.config.port`.
    pub fn append(path: &str, relative: &str) -> String {
        match (path, relative) {
            (only, "") | ("", only) => only.to_owned(),
            _ => format!("{path}.{relative}"),
        }
    }

    /// `a.b` of `a.b.c`, the empty path of `a`.
    pub fn parent(path: &str) -> &str {
        path.rfind('.').map_or("", |dot| &path[..dot])
    }

    /// `c` of `a.b.c`, as it is written in a path.
    pub fn last(path: &str) -> &str {
        path.rfind('.').map_or(path, |dot| &path[dot + 1..])
    }
}

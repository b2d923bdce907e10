//! What is different between two values, for people: a line for each part, and texts line by line or word by word.

use super::super::output::without_control;
use super::super::table::Table;
use super::shown::readable;
use crate::history::{Piece, lines, words};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;

/// Lines around a change that stay to tell where it is.
const CONTEXT: usize = 2;

/// A text that is shorter is told as a whole.
const SHORT: usize = 40;

/// A part that is different, as the host shows it.
#[derive(Debug, Deserialize)]
pub(super) struct ShownDifference {
    path: String,
    kind: String,
    #[serde(default)]
    old: Option<Box<RawValue>>,
    #[serde(default)]
    new: Option<Box<RawValue>>,
}

/// One line per part, or more if it is a text of several lines.
pub(super) fn table(differences: &[ShownDifference]) -> String {
    let table = Table::of(differences.iter().map(|difference| {
        let path = match difference.path.as_str() {
            "" => "(the value)".to_owned(),
            path => without_control(path),
        };
        [difference.kind.clone(), path, difference.what()]
    }));
    table.to_string()
}

impl ShownDifference {
    fn what(&self) -> String {
        let read = |value: &Option<Box<RawValue>>| value.as_deref().map_or("null", RawValue::get).to_owned();
        // `null` is a value: a part that is there has one, whatever was read of it.
        let (old, new) = (read(&self.old), read(&self.new));
        match self.kind.as_str() {
            "added" => readable(&new),
            "removed" => readable(&old),
            _ => match (text(&old), text(&new)) {
                (Some(old), Some(new)) if old.contains('\n') || new.contains('\n') => by_lines(&old, &new),
                (Some(old), Some(new)) if old.len().max(new.len()) > SHORT => by_words(&old, &new),
                _ => format!("{} -> {}", readable(&old), readable(&new)),
            },
        }
    }
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// As `diff -u` has it, below the line of the part.
fn by_lines(old: &str, new: &str) -> String {
    let pieces = lines(old, new);
    let is_near = |at: usize| {
        let around = &pieces[at.saturating_sub(CONTEXT)..pieces.len().min(at + CONTEXT + 1)];
        around.iter().any(|piece| !matches!(piece, Piece::Same(_)))
    };
    let (mut shown, mut is_left_out) = ("lines:".to_owned(), false);
    for (at, piece) in pieces.iter().enumerate() {
        let (mark, line) = match piece {
            Piece::Same(_) if !is_near(at) => {
                if !std::mem::replace(&mut is_left_out, true) {
                    shown.push_str("\n    ...");
                }
                continue;
            }
            Piece::Same(line) => (' ', line),
            Piece::Removed(line) => ('-', line),
            Piece::Added(line) => ('+', line),
        };
        is_left_out = false;
        let _ = write!(shown, "\n    {mark} {}", without_control(line.trim_end_matches('\n')));
        if !line.ends_with('\n') && !matches!(piece, Piece::Same(_)) {
            shown.push_str("  (no end of line)");
        }
    }
    shown
}

/// `the quick [-brown-]{+red+} fox`
fn by_words(old: &str, new: &str) -> String {
    let mut shown = String::new();
    let mut open = "";
    for piece in words(old, new) {
        let (begin, end, text) = match piece {
            Piece::Same(text) => ("", "", text),
            Piece::Removed(text) => ("[-", "-]", text),
            Piece::Added(text) => ("{+", "+}", text),
        };
        if end != open {
            shown.push_str(open);
            shown.push_str(begin);
        }
        open = end;
        shown.push_str(&without_control(text));
    }
    shown + open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let differences: Vec<ShownDifference> = serde_json::from_str(json).expect("differences");
        table(&differences)
    }

    #[test]
    fn each_part_is_a_line() {
        let json = r#"[{"path":"/a","kind":"changed","old":1.10,"new":"x"},{"path":"/gone","kind":"removed","old":null},
            {"path":"/n~1w","kind":"added","new":{"b":[1]}},{"path":"","kind":"changed","old":{"$enc":{}},"new":null}]"#;
        assert_eq!(
            shown(json),
            "changed  /a           1.10 -> \"x\"\nremoved  /gone        null\nadded    /n~1w        {\"b\":[1]}\n\
             changed  (the value)  (sealed) -> null\n"
        );
    }

    #[test]
    fn texts_are_told_by_their_lines_or_words() {
        let json =
            r#"[{"path":"/t","kind":"changed","old":"1\n2\n3\n4\n5\n6\n","new":"1\n2\n3\n4\n5\nsix"}]"#;
        assert_eq!(
            shown(json),
            "changed  /t  lines:\n    ...\n      4\n      5\n    - 6\n    + six  (no end of line)\n"
        );
        let json = r#"[{"path":"/t","kind":"changed","old":"the quick brown fox jumps over the lazy dog",
            "new":"the quick red fox jumps over the lazy dog!"}]"#;
        assert_eq!(shown(json), "changed  /t  the quick [-brown-]{+red+} fox jumps over the lazy dog{+!+}\n");
    }
}

//! What the file sink holds, line by line.

use crate::{
    lines::lines,
    watch::{Committed, History},
};
use serde_json::Value;
use std::path::Path;

/// Every change in a file that a file sink writes, repeated ones included, as it was written. Half a line is what a killed
/// host leaves: the sink begins a new one behind it.
///
/// # Panics
/// If a line is no JSON, nor the beginning of some.
pub fn written(file: &Path) -> Vec<Value> {
    let parse = |line: &String| match serde_json::from_str(line) {
        Ok(change) => Some(change),
        Err(error) if error.is_eof() => None,
        Err(error) => panic!("{error}: {line}"),
    };
    lines(file).iter().filter_map(parse).collect()
}

/// The history as a file sink wrote it down: at least once, and first occurrences in order.
///
/// # Panics
/// If a change comes for the first time behind a newer one, or two changes have one revision.
pub fn written_history(file: &Path) -> History {
    let mut history = History::default();
    for change in written(file) {
        let change = Committed::new(&change);
        let is_first = history.get(change.revision).is_none();
        let head = history.head();
        assert!(!is_first || change.revision > head, "{change:?} came behind revision {head}");
        history.tell(change);
    }
    history
}

/// The revision of the last complete line, if there is one.
pub fn last_revision(file: &Path) -> Option<u64> {
    let mut text = std::fs::read(file).ok()?;
    text.truncate(text.iter().rposition(|byte| *byte == b'\n')?);
    let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    serde_json::from_slice::<Value>(&text[start..]).ok()?["revision"].as_u64()
}

//! Files of one JSON object, or one key, per line.

use std::{fs::OpenOptions, io::Write, path::Path};

/// The file's text; empty if it is not there yet.
pub fn read(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
}

/// The complete lines of a file: what follows the last newline is still being written.
pub fn lines(file: &Path) -> Vec<String> {
    let text = read(file);
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().map(str::to_owned).collect()
}

/// Appends lines with one write.
///
/// # Panics
/// If the file cannot be written.
pub fn append(file: &Path, lines: impl IntoIterator<Item = impl AsRef<str>>) {
    let text: String = lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect();
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the file can be opened");
    file.write_all(text.as_bytes()).expect("the file can be written");
}

/// The `config_key` of a line that is a change.
///
/// # Panics
/// If it is not.
pub fn key_of(line: &str) -> String {
    let change: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    change["config_key"].as_str().unwrap_or_else(|| panic!("no key: {line}")).to_owned()
}

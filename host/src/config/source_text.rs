//! The text of one file, and where in it every value stands.

use std::path::{Path, PathBuf};

/// One configuration file as it was read.
#[derive(Debug)]
pub struct SourceText {
    file: PathBuf,
    text: String,
}

impl SourceText {
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
}

/// Paths of values: segments joined by dots, `.` inside a segment written `~1`, `~` written `~0`.
pub mod path {
    /// `join("sinks.0", "config")` is `sinks.0.config`.
    pub fn join(path: &str, segment: &str) -> String {
        let escaped = segment.replace('~', "~0").replace('.', "~1");
        if path.is_empty() { escaped } else { format!("{path}.{escaped}") }
    }
}

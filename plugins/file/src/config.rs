//! What `plugin: file` accepts under `config:`, as a source and as a sink.

use lockstep_plugin_api::prelude::*;
use std::time::Duration;

/// The path that means standard input or standard output.
pub const STANDARD_STREAM: &str = "-";

const LONGEST_LINE: u64 = 64 << 20;

#[config]
pub struct FileSourceConfig {
    /// The file, relative to the pipeline file; `-` is standard input.
    pub path: String,
    /// Where to begin if no position is stored yet.
    #[serde(default)]
    pub start_at: StartAt,
    /// Whether to wait for more at the end of the file; `false` ends the pipeline there.
    #[serde(default = "yes")]
    pub follow: bool,
    /// What a line is: a JSON document, or just text.
    #[serde(default)]
    pub format: Format,
    /// The longest line; a longer one becomes a failed record with the code `too_large`.
    #[serde(default = "max_line_bytes")]
    pub max_line_bytes: Size,
}

/// Where a source without a stored position begins.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartAt {
    /// At the first line of the file.
    #[default]
    Beginning,
    /// Behind the last line that is there at the start.
    End,
}

/// What a line is.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON document; its `config_key`, if it has one, becomes the record's key.
    #[default]
    Json,
    /// Any bytes; the record has no key.
    Lines,
}

impl FileSourceConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        check_path(&self.path)?;
        if !(1..=LONGEST_LINE).contains(&self.max_line_bytes.0) {
            return Err(Error::config("`max_line_bytes` must lie between 1 and 64MiB").at("max_line_bytes"));
        }
        Ok(())
    }
}

#[config]
pub struct FileSinkConfig {
    /// The file, relative to the pipeline file; `-` is standard output.
    pub path: String,
    /// Whether to keep what the file holds; `false` empties it when the host first opens it.
    #[serde(default = "yes")]
    pub append: bool,
    /// When the lines reach the disk: before a batch counts as written, every `fsync_interval`, or when the system likes.
    #[serde(default)]
    pub fsync: Fsync,
    /// How often `fsync: interval` writes to the disk.
    #[serde(default = "fsync_interval")]
    pub fsync_interval: Seconds,
    /// Whether to make the folders on the way to the file.
    #[serde(default)]
    pub create_dirs: bool,
}

/// When lines reach the disk.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before the batch counts as written.
    #[default]
    Batch,
    /// In the background, every `fsync_interval`.
    Interval,
    /// When the operating system likes, and at the end.
    Never,
}

impl FileSinkConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        check_path(&self.path)?;
        if self.fsync_interval.0 < Duration::from_millis(1) {
            return Err(Error::config("`fsync_interval` must be at least 1ms").at("fsync_interval"));
        }
        Ok(())
    }
}

fn check_path(path: &str) -> Result<()> {
    if path.is_empty() {
        return Err(Error::config("`path` must not be empty").at("path"));
    }
    Ok(())
}

fn yes() -> bool {
    true
}

/// A value of the largest allowed size, and 64 KiB for the fields around it.
fn max_line_bytes() -> Size {
    Size((1 << 20) + (64 << 10))
}

fn fsync_interval() -> Seconds {
    Seconds(Duration::from_secs(1))
}

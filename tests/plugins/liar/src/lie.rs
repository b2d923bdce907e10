//! What is told wrong, and when.

use lockstep_plugin_api::prelude::*;
use std::{fs, path::PathBuf};

#[config]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum How {
    /// A record that was given is in none of the answers.
    TooFew,
    /// An answer speaks of a record that was not given.
    UnknownIds,
    /// A record is in two of the answers; from a source, more records than it was asked for.
    TooMany,
}

#[config]
#[derive(Debug)]
pub struct LieConfig {
    pub how: How,
    /// The lie is told when the record of this key comes by.
    key: String,
    /// Once this file exists, nothing but the truth is told. The lie makes it.
    mended: PathBuf,
    /// How many records the source has.
    #[serde(default)]
    pub count: u64,
}

impl LieConfig {
    /// Whether to lie about a batch with these keys. At most once.
    pub fn is_due<'a>(&self, mut keys: impl Iterator<Item = &'a str>) -> bool {
        let due = !self.mended.exists() && keys.any(|key| key == self.key);
        if due {
            fs::write(&self.mended, "").expect("the test's folder can be written");
        }
        due
    }
}

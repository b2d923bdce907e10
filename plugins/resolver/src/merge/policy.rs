//! What is merged how. A policy is stamped on each change together with its strategy, so that every host merges alike.

use lockstep_plugin_api::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// How the parts of a value are merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// `None`: the last write wins if the value before is known, and the average is taken otherwise.
    pub numbers: Option<Numbers>,
    pub lists: Lists,
    pub strings: Strings,
    pub depth: Depth,
}

/// What becomes of different numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// The one with the greatest stamp.
    LastWriteWins,
    /// What each author added to the value before, together.
    Delta,
    Average,
    Max,
    Min,
}

/// What becomes of different lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lists {
    /// Lists whose items are all different are sets in an order: what somebody removed is gone, what somebody added is there.
    #[default]
    Set,
    /// The one with the greatest stamp.
    Atomic,
}

/// What becomes of different strings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strings {
    /// The one with the greatest stamp.
    #[default]
    LastWriteWins,
    /// What each author changed in the text before, together.
    Text,
}

/// How far down objects are merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Field by field, on every level.
    #[default]
    Deep,
    /// Field by field on the first level; what is in a field is one value.
    Shallow,
}

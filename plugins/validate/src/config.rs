//! What `plugin: validate` accepts under `config:`.

use lockstep_plugin_api::{names::MAX_KEY_BYTES, prelude::*};
use serde_json::{Map, Value};

#[config]
pub struct ValidateConfig {
    /// Which schema a change's new value must match, by its key; the first rule whose `match` fits counts.
    #[serde(default)]
    pub schemas: Vec<SchemaRule>,
    /// Whether a change whose key no rule matches is rejected.
    #[serde(default)]
    pub require_schema: bool,
    /// Which keys may be changed at all.
    #[serde(default)]
    pub keys: KeyRules,
    /// The longest key, in bytes; at most 512.
    #[serde(default = "max_key_bytes")]
    pub max_key_bytes: u32,
    /// The largest `new_value`, in bytes of its JSON text.
    #[serde(default = "max_value_bytes")]
    pub max_value_bytes: Size,
    /// What happens to a record that is not a change.
    #[serde(default)]
    pub on_other: OnOther,
}

/// A schema for the keys that match a glob.
#[config]
pub struct SchemaRule {
    /// A glob over config keys, such as `app.database.*`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// A file with a JSON Schema (draft 2020-12), relative to the pipeline file, or the schema itself.
    pub schema: SchemaSource,
}

/// A schema, or where it is.
#[config]
#[serde(untagged, expecting = "expected a path to a JSON Schema, or a schema: an object, `true` or `false`")]
pub enum SchemaSource {
    /// A path, relative to the pipeline file.
    File(String),
    /// The schema itself.
    Inline(Map<String, Value>),
    /// `true` allows every value, `false` none.
    Always(bool),
}

/// Which keys may be changed.
#[config]
#[derive(Default)]
pub struct KeyRules {
    /// If not empty, only keys that match one of these globs.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Never keys that match one of these, even if they are allowed.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// What happens to a record that is not a change.
#[config]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnOther {
    /// It is rejected as `bad_message`.
    #[default]
    Reject,
    /// It passes unchecked.
    Pass,
}

impl ValidateConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_KEY_BYTES).contains(&(self.max_key_bytes as usize)) {
            let message = format!("`max_key_bytes` must lie between 1 and {MAX_KEY_BYTES}");
            return Err(Error::config(message).at("max_key_bytes"));
        }
        if self.max_value_bytes.0 == 0 {
            return Err(Error::config("`max_value_bytes` must be at least 1").at("max_value_bytes"));
        }
        Ok(())
    }
}

fn max_key_bytes() -> u32 {
    MAX_KEY_BYTES as u32
}

fn max_value_bytes() -> Size {
    Size(1 << 20)
}

//! What `plugin: validate` accepts under `config:`.

use crate::tenants::TenantPatterns;
use lockstep_plugin_api::{names::MAX_KEY_BYTES, prelude::*};
use serde_json::{Map, Value};
use std::time::Duration;

const SHORTEST_RELOAD: Duration = Duration::from_millis(100);

#[config]
pub struct ValidateConfig {
    /// Which schema a change's new value must match, by its key and its tenant; the first rule whose `match` and `tenant`
    /// fit counts.
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
    /// How often schema files are looked at; one that has changed takes the place of the last good one. At least 100 ms,
    /// or 0 to read them at the start alone.
    #[serde(default = "reload_interval")]
    pub reload_interval: Seconds,
}

/// A schema for the keys that match a glob, of some tenants or of all.
#[config]
pub struct SchemaRule {
    /// A glob over config keys, such as `app.database.*`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Whose changes: a tenant, a glob over tenants, or a list of them; `global` stands for changes without a tenant.
    /// Without it, everybody's.
    #[serde(default)]
    pub tenant: Option<TenantPatterns>,
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
    /// Other rules for some tenants: the first whose `tenant` fits counts in place of `allow` and `deny`.
    #[serde(default)]
    pub by_tenant: Vec<TenantKeys>,
}

/// Which keys some tenants may change.
#[config]
pub struct TenantKeys {
    /// Whose changes: a tenant, a glob over tenants, or a list of them; `global` stands for changes without a tenant.
    pub tenant: TenantPatterns,
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
    /// The keys whose values may be compared with a schema: a rule that takes every value or none looks at none.
    pub fn compared_keys(&self) -> Keys {
        let is_plain = |rule: &SchemaRule| matches!(rule.schema, SchemaSource::Always(_));
        // Where a plain rule is for some tenants alone, the next one may count.
        let deciding = self.schemas.iter().filter(|rule| !is_plain(rule) || rule.tenant.is_none());
        Keys::new(deciding.filter_map(|rule| Some((Glob::new(&rule.pattern).ok()?, !is_plain(rule)))))
    }

    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_KEY_BYTES).contains(&(self.max_key_bytes as usize)) {
            let message = format!("`max_key_bytes` must lie between 1 and {MAX_KEY_BYTES}");
            return Err(Error::config(message).at("max_key_bytes"));
        }
        if self.max_value_bytes.0 == 0 {
            return Err(Error::config("`max_value_bytes` must be at least 1").at("max_value_bytes"));
        }
        if !self.reload_interval.0.is_zero() && self.reload_interval.0 < SHORTEST_RELOAD {
            let message = "`reload_interval` must be at least 100ms, or 0 to read files at the start alone";
            return Err(Error::config(message).at("reload_interval"));
        }
        Ok(())
    }
}

fn reload_interval() -> Seconds {
    Seconds(Duration::from_secs(1))
}

fn max_key_bytes() -> u32 {
    MAX_KEY_BYTES as u32
}

fn max_value_bytes() -> Size {
    Size(1 << 20)
}

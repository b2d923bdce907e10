//! The transform: every change is checked by name, by size, by depth and by schema; the first thing found is the answer.

use crate::{
    config::{OnOther, ValidateConfig},
    names::{Detail, check_key, check_tenant},
    reason, schema,
};
use jsonschema::Validator;
use lockstep_plugin_api::{
    change::{Field, depth},
    prelude::*,
};
use serde_json::Value;

/// How deep JSON may be nested: what every reader of it takes.
const DEEPEST: usize = 120;

/// The `validate` transform.
pub struct Validate {
    rules: Vec<Rule>,
    require_schema: bool,
    allow: Vec<Glob>,
    deny: Vec<Glob>,
    max_key_bytes: u32,
    max_value_bytes: usize,
    on_other: OnOther,
    checked: Counter,
    rejected: Counter,
}

struct Rule {
    keys: Glob,
    schema: Validator,
}

impl Transform for Validate {
    type Config = ValidateConfig;

    fn check(config: &ValidateConfig) -> Result<()> {
        config.check()?;
        for (i, rule) in config.schemas.iter().enumerate() {
            glob(&rule.pattern, &format!("schemas.{i}.match"))?;
        }
        globs(&config.keys.allow, "keys.allow")?;
        globs(&config.keys.deny, "keys.deny").map(drop)
    }

    fn advise(config: &ValidateConfig, advice: &mut Advice) {
        let read = config.schemas.iter().filter_map(|rule| Glob::new(&rule.pattern).ok());
        advice.reads_values(Keys::new(read.map(|keys| (keys, true))), "to compare them with their schema");
    }

    fn new(config: ValidateConfig, context: &Context) -> Result<Self> {
        let mut rules = Vec::with_capacity(config.schemas.len());
        for (i, rule) in config.schemas.into_iter().enumerate() {
            let keys = glob(&rule.pattern, &format!("schemas.{i}.match"))?;
            let schema = schema::compile(rule.schema, context)
                .map_err(|error| error.at(format!("schemas.{i}.schema")))?;
            rules.push(Rule { keys, schema });
        }
        Ok(Self {
            rules,
            require_schema: config.require_schema,
            allow: globs(&config.keys.allow, "keys.allow")?,
            deny: globs(&config.keys.deny, "keys.deny")?,
            max_key_bytes: config.max_key_bytes,
            max_value_bytes: config.max_value_bytes.0 as usize,
            on_other: config.on_other,
            checked: context.counter("validate_checked"),
            rejected: context.counter("validate_rejected"),
        })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        let checked = match record.change() {
            Ok(change) => self.check(change),
            Err(_) if self.on_other == OnOther::Pass => Ok(()),
            Err(error) => Err(error),
        };
        self.checked.add(1);
        if checked.is_err() {
            self.rejected.add(1);
        } else {
            out.push(record);
        }
        checked
    }
}

impl Validate {
    fn check(&self, change: &Change) -> Result<()> {
        let key = change.config_key();
        check_key(key, self.max_key_bytes)?;
        self.check_allowed(key)?;
        if let Some(tenant) = change.tenant_id() {
            check_tenant(tenant)?;
        }
        self.check_size(change.new_value())?;
        check_depth(change)?;
        // A deletion has no value.
        if change.is_deletion() { Ok(()) } else { self.check_value(key, change.new_value()) }
    }

    fn check_allowed(&self, key: &str) -> Result<()> {
        let is_allowed = self.allow.is_empty() || self.allow.iter().any(|glob| glob.matches(key));
        if is_allowed && !self.deny.iter().any(|glob| glob.matches(key)) {
            return Ok(());
        }
        let detail = Detail {
            path: "/config_key",
            reason: "is not among the keys that may be changed here".to_owned(),
        };
        Err(Error::rejected("bad_key", "the config key may not be changed here").with_details(&[detail]))
    }

    fn check_size(&self, value: &Json) -> Result<()> {
        if value.as_str().len() <= self.max_value_bytes {
            return Ok(());
        }
        let detail =
            Detail { path: "/new_value", reason: format!("has more than {} bytes", self.max_value_bytes) };
        Err(Error::rejected("too_large", "the value is too large").with_details(&[detail]))
    }

    fn check_value(&self, key: &str, value: &Json) -> Result<()> {
        let Some(rule) = self.rules.iter().find(|rule| rule.keys.matches(key)) else {
            return if self.require_schema { Err(no_schema()) } else { Ok(()) };
        };
        let parsed: Value = value.read()?;
        if rule.schema.is_valid(&parsed) {
            return Ok(());
        }
        let reasons = reason::reasons(&rule.schema, &parsed, value.as_str().len());
        Err(Error::rejected("invalid_value", "the value does not match its schema").with_details(&reasons))
    }
}

fn no_schema() -> Error {
    let detail = Detail { path: "", reason: "no schema describes the values of this key".to_owned() };
    Error::rejected("invalid_value", "the value does not match its schema").with_details(&[detail])
}

/// Whoever reads the change after this one may do so recursively.
fn check_depth(change: &Change) -> Result<()> {
    let too_deep = |name: &&&str| matches!(change.field(name), Some(Field::Json(json)) if depth(json.as_str()) > DEEPEST);
    match Change::FIELDS.iter().find(too_deep) {
        None => Ok(()),
        Some(field) => {
            let (path, reason) = (format!("/{field}"), format!("is nested more than {DEEPEST} levels deep"));
            let details = [Detail { path: &path, reason }];
            Err(Error::rejected("bad_message", "the JSON is nested too deeply").with_details(&details))
        }
    }
}

fn glob(text: &str, at: &str) -> Result<Glob> {
    Glob::new(text).map_err(|error| Error::config(format!("`{text}` is not a glob: {error}")).at(at))
}

fn globs(texts: &[String], at: &str) -> Result<Vec<Glob>> {
    texts.iter().enumerate().map(|(i, text)| glob(text, &format!("{at}.{i}"))).collect()
}

#[cfg(test)]
mod tests;

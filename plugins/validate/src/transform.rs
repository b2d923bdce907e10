//! The transform: every change is checked by name, by size, by depth and by schema; the first thing found is the answer.

use crate::{
    config::{OnOther, ValidateConfig},
    library::{Library, Schemas, Shelf},
    names::{Detail, check_key, check_tenant},
    reason,
    rules::{KeyCheck, SchemaRules},
};
use lockstep_plugin_api::{
    change::{Field, depth},
    prelude::*,
    sealed::is_sealed,
};
use serde_json::Value;
use std::sync::Arc;
use tracing::{Instrument, info_span};

/// How deep JSON may be nested: what every reader of it takes.
const DEEPEST: usize = 120;

/// The `validate` transform.
pub struct Validate {
    keys: KeyCheck,
    rules: SchemaRules,
    shelf: Arc<Shelf>,
    /// Those of the record that is being checked: they change between records alone.
    schemas: Schemas,
    require_schema: bool,
    max_key_bytes: u32,
    max_value_bytes: usize,
    on_other: OnOther,
    checked: Counter,
    rejected: Counter,
    /// What watches files ends with it.
    _alive: Arc<()>,
}

impl Transform for Validate {
    type Config = ValidateConfig;

    fn check(config: &ValidateConfig) -> Result<()> {
        config.check()?;
        SchemaRules::check(&config.schemas)?;
        KeyCheck::new(&config.keys).map(drop)
    }

    fn advise(config: &ValidateConfig, advice: &mut Advice) {
        advice.reads_values(config.compared_keys(), "to compare them with their schema");
        SchemaRules::advise(&config.schemas, advice);
    }

    fn new(config: ValidateConfig, context: &Context) -> Result<Self> {
        let mut library = Library::new(context);
        let keys = KeyCheck::new(&config.keys)?;
        let rules = SchemaRules::new(&config.schemas, &mut library, context)?;
        let ((shelf, schemas), alive) = (library.shelf(), Arc::new(()));
        let interval = config.reload_interval.0;
        if !interval.is_zero() {
            let watching = library.watch(interval, context.clone(), Arc::downgrade(&alive));
            let span = info_span!("schemas", pipeline = context.pipeline(), component = context.component());
            context.spawn(watching.instrument(span));
        }
        Ok(Self {
            keys,
            rules,
            shelf,
            schemas,
            require_schema: config.require_schema,
            max_key_bytes: config.max_key_bytes,
            max_value_bytes: config.max_value_bytes.0 as usize,
            on_other: config.on_other,
            checked: context.counter("validate_checked"),
            rejected: context.counter("validate_rejected"),
            _alive: alive,
        })
    }

    fn apply(&mut self, mut record: Record, out: &mut Output) -> Result<()> {
        self.shelf.refresh(&mut self.schemas);
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
        if let Some(tenant) = change.tenant_id() {
            check_tenant(tenant)?;
        }
        self.keys.check(change.tenant_id(), key)?;
        self.check_size(change.new_value())?;
        check_depth(change)?;
        // A deletion has no value.
        if change.is_deletion() { Ok(()) } else { self.check_value(change) }
    }

    fn check_size(&self, value: &Json) -> Result<()> {
        if value.as_str().len() <= self.max_value_bytes {
            return Ok(());
        }
        let detail =
            Detail { path: "/new_value", reason: format!("has more than {} bytes", self.max_value_bytes) };
        Err(Error::rejected("too_large", "the value is too large").with_details(&[detail]))
    }

    fn check_value(&self, change: &Change) -> Result<()> {
        let Some(number) = self.rules.schema(change.tenant_id(), change.config_key()) else {
            return if self.require_schema { Err(no_schema()) } else { Ok(()) };
        };
        if change.is_unapplied() {
            return Err(not_shown());
        }
        let (schema, value) = (self.schemas.get(number), change.new_value());
        // One that has a dot was checked where it was made, before it was sealed; no one can look into it here.
        let is_checked = change.dot().is_some() && is_sealed(value.as_str()) && schema.verdict != Some(false);
        if is_checked || schema.verdict == Some(true) {
            return Ok(());
        }
        let parsed: Value = value.read().map_err(|_| incomparable())?;
        if schema.validator.is_valid(&parsed) {
            return Ok(());
        }
        let reasons = reason::reasons(&schema.validator, &parsed, value.as_str().len());
        Err(Error::rejected("invalid_value", "the value does not match its schema").with_details(&reasons))
    }
}

/// The value that operations make is not known here: `null` stands in its place, which is not what would be committed.
fn not_shown() -> Error {
    let reason = "is not said: send what `ops` make of the value, too, for it has a schema".to_owned();
    Error::rejected("invalid_value", "the value does not match its schema")
        .with_details(&[Detail { path: "", reason }])
}

/// It is JSON, and holds what no schema can be compared with.
fn incomparable() -> Error {
    let reason =
        "cannot be compared: it has a number beyond every double, or half of a surrogate pair".to_owned();
    Error::rejected("invalid_value", "the value does not match its schema")
        .with_details(&[Detail { path: "", reason }])
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

#[cfg(test)]
mod tests;

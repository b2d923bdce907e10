//! One pipeline file -> [`PipelineConfig`]: defaults filled in, names unique, references resolved.
//!
//! Every step reports what it finds and goes on while the next one still makes sense.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::format::{DeliveryFields, Item, OnErrorFields, PipelineFile, pipeline_schema};
use super::interpolate::{Environment, interpolate};
use super::pipeline::{
    BatchLimits, ComponentConfig, ComponentKind, Delivery, InFlightLimits, OnError, PipelineConfig,
    PluginRef, Retry, When,
};
use super::schema::violations;
use super::settings::SyncSettings;
use super::source_text::{Anchor, SourceText, path};
use super::yaml;
use crate::condition::Condition;

/// Reads one pipeline; without a pipeline there is at least one diagnostic.
pub(super) fn pipeline(
    file: &Path,
    text: String,
    environment: &Environment,
    defaults: &SyncSettings,
) -> (Option<PipelineConfig>, Vec<Diagnostic>) {
    let (source, mut problems) = SourceText::parse(file, text);
    if source.place("").is_none() {
        return (None, problems);
    }
    let mut value = match yaml::values(source.text()) {
        Ok(value) => value,
        Err((at, reason)) => {
            let at = at.iter().fold(String::new(), |at, segment| path::join(&at, segment));
            problems.push(source.diagnostic(&at, Anchor::Value, reason, None).code("syntax"));
            return (None, problems);
        }
    };
    let n_before = problems.len();
    for violation in violations(&value, pipeline_schema(), &|at| source.is_hidden(at)) {
        let at = &violation.path;
        problems.push(
            source.diagnostic(at, violation.anchor, violation.message, violation.help).code(violation.code),
        );
    }
    let is_sound = problems.len() == n_before;
    let mut decoder = Decoder { source, environment, defaults, problems, names: HashMap::new() };
    decoder.planned("", &value);
    if !is_sound {
        // The structure is refused already; what the variables lack can be told all the same.
        interpolate_configs(&mut value, "", &mut decoder);
        return (None, decoder.problems);
    }
    let file = match serde_json::from_value::<PipelineFile>(value) {
        Ok(file) => file,
        Err(error) => {
            let refused = decoder.source.diagnostic("", Anchor::Value, error.to_string(), None);
            decoder.problems.push(refused.code("wrong-value"));
            return (None, decoder.problems);
        }
    };
    let pipeline = decoder.decode(file);
    (Some(pipeline), decoder.problems)
}

/// Replaces `${...}` in whatever is called `config` under a list of components.
fn interpolate_configs(value: &mut Value, at: &str, decoder: &mut Decoder<'_>) {
    for list in ["sources", "transforms", "sinks"] {
        let Some(items) = value.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for (n, item) in items.iter_mut().enumerate() {
            let at = path::join(&path::join(at, list), &n.to_string());
            if let Some(config) = item.get_mut("config") {
                decoder.interpolate(&path::join(&at, "config"), config);
            }
            interpolate_configs(item, &at, decoder);
        }
    }
}

struct Decoder<'a> {
    source: Arc<SourceText>,
    environment: &'a Environment,
    defaults: &'a SyncSettings,
    problems: Vec<Diagnostic>,
    /// Where each name was given first.
    names: HashMap<(ComponentKind, String), String>,
}

impl Decoder<'_> {
    fn decode(&mut self, file: PipelineFile) -> PipelineConfig {
        let name = match file.name {
            Some(name) => self.checked_name("name", name),
            None => self.name_of_file(),
        };
        let sources = self.items("sources", ComponentKind::Source, file.sources);
        let transforms = self.items("transforms", ComponentKind::Transform, file.transforms);
        let sinks = self.items("sinks", ComponentKind::Sink, file.sinks);
        self.check_otherwise(&sinks);
        let delivery = self.delivery(file.delivery);
        PipelineConfig { name, source_text: self.source.clone(), sources, transforms, sinks, delivery }
    }

    fn report(
        &mut self,
        code: &'static str,
        at: &str,
        anchor: Anchor,
        message: String,
        help: Option<String>,
    ) {
        self.problems.push(self.source.diagnostic(at, anchor, message, help).code(code));
    }

    fn name_of_file(&mut self) -> String {
        let stem = self.source.file().file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if is_name(&stem) {
            return stem;
        }
        let message = format!("the file's name `{stem}` is not a valid pipeline name");
        self.report(
            "name",
            "",
            Anchor::Value,
            message,
            Some(format!("rename the file or give a `name`: {NAMES}")),
        );
        stem
    }

    fn checked_name(&mut self, at: &str, name: String) -> String {
        if !is_name(&name) {
            let message = format!("`{name}` is not a valid name");
            self.report("name", at, Anchor::Value, message, Some(NAMES.into()));
        }
        name
    }

    fn items(&mut self, list: &str, kind: ComponentKind, items: Vec<Item>) -> Vec<ComponentConfig> {
        let at = |n: usize| path::join(list, &n.to_string());
        items.into_iter().enumerate().map(|(n, item)| self.item(at(n), kind, item)).collect()
    }

    fn item(&mut self, at: String, kind: ComponentKind, item: Item) -> ComponentConfig {
        self.refuse_misplaced(&at, kind);
        let plugin = self.plugin(&path::join(&at, "plugin"), &item.plugin);
        let name = self.unique_name(&at, kind, item.name, &plugin);
        let when = item.when.and_then(|text| self.when(&path::join(&at, "when"), kind, text));
        let transforms =
            self.items(&path::join(&at, "transforms"), ComponentKind::Transform, item.transforms);
        let on_error = self.on_error(&path::join(&at, "on_error"), item.on_error);
        let mut config = if item.config.is_null() { Value::Object(Default::default()) } else { item.config };
        let interpolated = self.interpolate(&path::join(&at, "config"), &mut config);
        ComponentConfig { kind, name, plugin, when, transforms, on_error, config, path: at, interpolated }
    }

    fn interpolate(&mut self, at: &str, config: &mut Value) -> std::collections::BTreeSet<String> {
        interpolate(&self.source, at, config, self.environment, &mut self.problems)
    }

    /// Fields that every component has, on a kind for which they mean nothing.
    fn refuse_misplaced(&mut self, at: &str, kind: ComponentKind) {
        let refused: &[(&str, &str)] = match kind {
            ComponentKind::Source => &[
                ("when", "a source has no `when`: put it on a transform or a sink"),
                ("on_error", "a source has no `on_error`: put it on the transform or sink that may fail"),
            ],
            ComponentKind::Transform => {
                &[("transforms", "a transform has no chain of its own: list its steps one after the other")]
            }
            ComponentKind::Sink => &[],
        };
        for (field, message) in refused {
            let at = path::join(at, field);
            if self.source.place(&at).is_some() {
                self.report("misplaced-field", &at, Anchor::Key, (*message).into(), None);
            }
        }
    }

    /// Fields whose meaning is fixed and whose time has not come.
    fn planned(&mut self, at: &str, value: &Value) {
        for list in ["sources", "transforms", "sinks"] {
            for (n, item) in value.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
                let at = path::join(&path::join(at, list), &n.to_string());
                for (field, message, help) in PLANNED {
                    if item.get(field).is_some() {
                        let at = path::join(&at, field);
                        self.report("planned", &at, Anchor::Key, (*message).into(), Some((*help).into()));
                    }
                }
                self.planned(&at, item);
            }
        }
    }

    fn plugin(&mut self, at: &str, text: &str) -> PluginRef {
        if text.contains('/') || text.ends_with(".so") {
            let file = Path::new(text);
            // An absolute path replaces the folder when joined.
            let file = self.source.dir().join(file.strip_prefix(".").unwrap_or(file));

            return PluginRef::Path(file);
        }
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        if !is_name(name) {
            let help = "write `my_plugin`, `my_plugin@1.2`, or a path such as `./my_plugin.so`".to_owned();
            self.report(
                "plugin",
                at,
                Anchor::Value,
                format!("`{text}` is not the name of a plugin"),
                Some(help),
            );
        } else if version.is_some_and(|version| !is_version(version)) {
            let message = format!("`{}` is not a version", version.unwrap_or_default());
            let help =
                format!("write the number or its beginning: `{name}@1`, `{name}@1.2` or `{name}@1.2.3`");
            let offset = name.len() + 1;
            let refused = self.source.diagnostic_inside(at, offset, text.len() - offset, message, Some(help));
            self.problems.push(refused.code("plugin"));
        }
        PluginRef::Named { name: name.into(), version: version.map(str::to_owned) }
    }

    fn unique_name(
        &mut self,
        at: &str,
        kind: ComponentKind,
        given: Option<String>,
        plugin: &PluginRef,
    ) -> String {
        let (place, name) = match given {
            Some(name) => (path::join(at, "name"), name),
            None => (path::join(at, "plugin"), default_name(plugin)),
        };
        let name = self.checked_name(&place, name);
        if let Some(first) = self.names.get(&(kind, name.clone())).cloned() {
            let (line, _) = self.source.line_column(&first, Anchor::Value);
            let message = format!("two {kind}s are called `{name}`");
            let help = format!("the first is on line {line}; give one of them another `name`");
            self.report("duplicate-name", &place, Anchor::Value, message, Some(help));
        } else {
            self.names.insert((kind, name.clone()), place);
        }
        name
    }

    fn when(&mut self, at: &str, kind: ComponentKind, text: String) -> Option<When> {
        if text.trim() == "otherwise" {
            if kind == ComponentKind::Transform {
                let message =
                    "`otherwise` is what no other sink takes; a transform needs a condition".to_owned();
                self.report("condition", at, Anchor::Value, message, None);
            }
            return Some(When::Otherwise);
        }
        if let (Err(error), true) = (Condition::compile(&text), kind != ComponentKind::Source) {
            let refused =
                self.source.diagnostic_inside(at, error.offset, error.length, error.message, error.help);
            self.problems.push(refused.code("condition"));
        }
        Some(When::Expression(text))
    }

    fn check_otherwise(&mut self, sinks: &[ComponentConfig]) {
        let has_condition = sinks.iter().any(|sink| matches!(sink.when, Some(When::Expression(_))));
        for sink in sinks.iter().filter(|sink| sink.when == Some(When::Otherwise) && !has_condition) {
            let message = "`otherwise` needs another sink with a condition".to_owned();
            let help = Some("remove this line: without it the sink gets every record".into());
            self.report("condition", &path::join(&sink.path, "when"), Anchor::Value, message, help);
        }
    }

    fn on_error(&mut self, at: &str, fields: OnErrorFields) -> OnError {
        let backoff = fields.retry.backoff.map_or(self.defaults.retry_backoff, |text| text.0);
        let max = fields.retry.max.map_or(Duration::from_secs(8).max(backoff), |text| text.0);
        if max < backoff {
            let at = path::join(&path::join(at, "retry"), "max");
            let message = "the longest wait `max` is shorter than the first wait `backoff`".to_owned();
            self.report("out-of-range", &at, Anchor::Value, message, None);
        }
        let attempts = fields.retry.attempts.unwrap_or(self.defaults.retry_attempts);
        OnError { retry: Retry { attempts, backoff, max }, then: fields.then }
    }

    fn delivery(&mut self, fields: DeliveryFields) -> Delivery {
        let batch = BatchLimits {
            records: fields.batch.records.map_or(self.defaults.batch_size, |n| n as usize),
            linger: fields.batch.linger.map_or(Duration::ZERO, |text| text.0),
        };
        let in_flight = InFlightLimits {
            records: fields.in_flight.records.map_or(10_000, |n| n as usize),
            bytes: fields.in_flight.bytes.map_or(64 << 20, |text| text.0),
        };
        if batch.records > in_flight.records {
            let (batch, in_flight) = (batch.records, in_flight.records);
            let message = format!("a batch of {batch} records is more than may be in flight, {in_flight}");
            self.report("out-of-range", "delivery", Anchor::Value, message, None);
        }
        if in_flight.bytes == 0 {
            let message = "must be at least 1 byte".to_owned();
            self.report("out-of-range", "delivery.in_flight.bytes", Anchor::Value, message, None);
        }
        Delivery { batch, in_flight }
    }
}

const NAMES: &str = "a name has 1 to 64 of the characters A-Z a-z 0-9 . _ -";

const PLANNED: &[(&str, &str, &str)] = &[
    (
        "isolation",
        "`isolation` is planned: a child process per plugin; this version runs plugins in the host's process",
        "remove the line",
    ),
    (
        "tasks",
        "`tasks` is planned: several instances of one component; this version runs one",
        "remove the line",
    ),
];

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_version(text: &str) -> bool {
    let (number, suffix) = text.split_once(['-', '+']).unwrap_or((text, "0"));
    let parts: Vec<_> = number.split('.').collect();
    parts.len() <= 3 && !suffix.is_empty() && parts.iter().all(|part| part.parse::<u64>().is_ok())
}

/// The plugin's name; of `./liblockstep_plugin_rename.so` it is `rename`.
fn default_name(plugin: &PluginRef) -> String {
    match plugin {
        PluginRef::Named { name, .. } => name.clone(),
        PluginRef::Path(file) => {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            stem.strip_prefix("liblockstep_plugin_").unwrap_or(&stem).to_owned()
        }
    }
}

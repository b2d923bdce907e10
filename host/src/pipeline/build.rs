//! One pipeline's configuration -> [`Pipeline`], or everything that is wrong with it, each at its place in the file.

use super::{Gate, Pipeline, SinkStep, SourceStep, Step, TransformStep};
use crate::condition::Condition;
use crate::config::{
    Anchor, ComponentConfig, Diagnostic, Diagnostics, PipelineConfig, SourceText, When, check_against_schema,
    path,
};
use crate::registry::{Component, Registry};
use lockstep_plugin_api::Error;
use std::sync::Arc;

/// Finds every component, checks its configuration against its plugin, and compiles every condition. Opens nothing.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn build(config: &PipelineConfig, registry: &Registry) -> Result<Pipeline, Diagnostics> {
    let mut builder =
        Builder { source: &config.source_text, registry, n_steps: 0, problems: Diagnostics::new() };
    let sources: Vec<_> = config.sources.iter().map(|source| builder.source(source)).collect();
    let transforms = builder.chain(&config.transforms);
    let sinks: Vec<_> = config.sinks.iter().map(|sink| builder.sink(sink)).collect();
    if builder.problems.has_errors() {
        return Err(builder.problems);
    }
    Ok(Pipeline {
        name: config.name.clone(),
        file: config.source_text.file().to_owned(),
        sources: sources.into_iter().flatten().collect(),
        transforms,
        sinks: sinks.into_iter().flatten().collect(),
        delivery: config.delivery.clone(),
    })
}

struct Builder<'a> {
    source: &'a Arc<SourceText>,
    registry: &'a Registry,
    n_steps: usize,
    problems: Diagnostics,
}

impl Builder<'_> {
    fn source(&mut self, config: &ComponentConfig) -> Option<SourceStep> {
        let step = self.step(config);
        let chain = self.chain(&config.transforms);
        Some(SourceStep { step: step?, chain })
    }

    fn sink(&mut self, config: &ComponentConfig) -> Option<SinkStep> {
        let step = self.step(config);
        let when = match &config.when {
            Some(When::Otherwise) => Some(Gate::Otherwise),
            Some(When::Expression(text)) => self.condition(config, text).map(Box::new).map(Gate::If),
            None => None,
        };
        let chain = self.chain(&config.transforms);
        Some(SinkStep { step: step?, when, chain })
    }

    fn chain(&mut self, configs: &[ComponentConfig]) -> Vec<TransformStep> {
        let steps: Vec<_> = configs.iter().map(|config| self.transform(config)).collect();
        steps.into_iter().flatten().collect()
    }

    fn transform(&mut self, config: &ComponentConfig) -> Option<TransformStep> {
        let step = self.step(config);
        let when = match &config.when {
            Some(When::Expression(text)) => self.condition(config, text),
            // The configuration refuses `otherwise` on a transform.
            Some(When::Otherwise) | None => None,
        };
        Some(TransformStep { step: step?, when })
    }

    fn condition(&mut self, config: &ComponentConfig, text: &str) -> Option<Condition> {
        let at = path::join(&config.path, "when");
        Condition::compile(text)
            .map_err(|error| {
                let place = (error.offset, error.length);
                let diagnostic =
                    self.source.diagnostic_inside(&at, place.0, place.1, error.message, error.help);
                self.problems.push(diagnostic.code("condition"));
            })
            .ok()
    }

    fn step(&mut self, config: &ComponentConfig) -> Option<Step> {
        // Counted even if it is refused, so that the numbers are those of the file.
        let index = self.n_steps;
        self.n_steps += 1;
        let component = self.component(config)?;
        self.check_config(config, &component);
        Some(Step {
            index,
            name: config.name.clone(),
            component,
            config: config.config.clone(),
            base_dir: self.source.dir().to_owned(),
            on_error: config.on_error.clone(),
        })
    }

    fn component(&mut self, config: &ComponentConfig) -> Option<Component> {
        let at = path::join(&config.path, "plugin");
        let component = self.registry.component(config.kind, &config.plugin).map_err(|error| {
            let diagnostic = self.source.diagnostic(&at, Anchor::Value, error.to_string(), None);
            self.problems.push(diagnostic.code("plugin"));
        });
        let component = component.ok()?;
        if component.commits() {
            let message = format!(
                "`{}` commits to the log, and this version runs direct pipelines only",
                component.name()
            );
            let help =
                "pipelines through the log come with a later version; leave this transform out".to_owned();
            self.problems.push(self.source.diagnostic(&at, Anchor::Value, message, Some(help)).code("log"));
            return None;
        }
        Some(component)
    }

    /// First what the schema says, with its places; then what only the plugin's own type can say.
    fn check_config(&mut self, config: &ComponentConfig, component: &Component) {
        let at = path::join(&config.path, "config");
        let found = match component.schema() {
            Ok(schema) => check_against_schema(self.source, &at, &config.config, &schema),
            Err(error) => vec![self.refused(&at, &error)],
        };
        if !found.is_empty() {
            self.problems.extend(found);
        } else if let Err(error) = component.check_config(&config.config) {
            let at = error
                .detail()
                .split('.')
                .filter(|part| !part.is_empty())
                .fold(at, |at, part| path::join(&at, part));
            let refused =
                self.source.diagnostic(&at, Anchor::Value, without_hidden(config, error.message()), None);
            self.problems.push(refused.code("config"));
        }
    }

    fn refused(&self, at: &str, error: &Error) -> Diagnostic {
        self.source.diagnostic(at, Anchor::Value, error.message().to_owned(), None).code("config")
    }
}

/// What a plugin says about a configuration, without the values that came from variables and files.
fn without_hidden(config: &ComponentConfig, message: &str) -> String {
    let root = path::join(&config.path, "config");
    let hidden =
        config.interpolated.iter().filter_map(|at| value_at(&config.config, at.strip_prefix(&root)?));
    // Longest first: one value may be a part of another.
    let mut hidden: Vec<String> = hidden.filter(|text| !text.is_empty()).collect();
    hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
    hidden.iter().fold(message.to_owned(), |message, text| message.replace(text, "***"))
}

/// The scalar at a path such as `.ssl.0.file`, as text.
fn value_at(config: &serde_json::Value, at: &str) -> Option<String> {
    let step = |value: &serde_json::Value, segment: &str| match value {
        serde_json::Value::Array(items) => items.get(segment.parse::<usize>().ok()?).cloned(),
        other => other.get(segment.replace("~1", ".").replace("~0", "~")).cloned(),
    };
    let mut segments = at.split('.').filter(|segment| !segment.is_empty());
    let value = segments.try_fold(config.clone(), |value, segment| step(&value, segment))?;
    value.as_str().map(str::to_owned).or_else(|| (!value.is_null()).then(|| value.to_string()))
}

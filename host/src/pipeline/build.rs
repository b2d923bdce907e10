//! One pipeline's configuration -> [`Pipeline`], or everything that is wrong with it, each at its place in the file.
//!
//! A pipeline whose last transform commits goes through the log; a component that commits anywhere else is refused.

use super::{ADMIN_SOURCE, Gate, Pipeline, SinkStep, SourceStep, Step, TransformStep, merged, sealing};
use crate::condition::Condition;
use crate::config::{
    Anchor, ComponentConfig, Diagnostic, Diagnostics, PipelineConfig, SourceText, StateSettings, When,
    check_against_schema, path,
};
use crate::registry::{Component, Registry};
use lockstep_plugin_api::{Advice, Error, Way};
use std::sync::Arc;

/// Builds every pipeline of a host: those that are good, and everything that is wrong with the others or between them, with
/// the warnings about those that are good.
pub fn build_all(
    configs: &[PipelineConfig],
    registry: &Registry,
    state: &StateSettings,
) -> (Vec<Pipeline>, Diagnostics) {
    let (mut pipelines, mut problems) = (Vec::new(), Diagnostics::new());
    let mut first_through_log: Option<&PipelineConfig> = None;
    for config in configs {
        let mut pipeline = match build(config, registry) {
            Ok(pipeline) => pipeline,
            Err(refused) => {
                problems.extend(refused);
                continue;
            }
        };
        if !state.is_encrypted() {
            let warnings = sealing::warnings(&pipeline, config);
            pipeline.warnings.extend(warnings);
        }
        problems.extend(pipeline.warnings.iter().cloned());
        match first_through_log {
            Some(first) if pipeline.through_log => problems.push(second_through_log(config, first)),
            _ => {
                first_through_log = first_through_log.or(pipeline.through_log.then_some(config));
                pipelines.push(pipeline);
            }
        }
    }
    (pipelines, problems)
}

/// Finds every component, checks its configuration against its plugin, and compiles every condition. Opens nothing but
/// the files that plugins look into to say whether they can be used.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub fn build(config: &PipelineConfig, registry: &Registry) -> Result<Pipeline, Diagnostics> {
    let mut builder = Builder {
        source: &config.source_text,
        registry,
        way: way(config, registry),
        n_steps: 0,
        problems: Diagnostics::new(),
    };
    let sources: Vec<_> = config.sources.iter().map(|source| builder.source(source)).collect();
    let transforms = builder.transforms(&config.transforms);
    let sinks: Vec<_> = config.sinks.iter().map(|sink| builder.sink(sink)).collect();
    let through_log = transforms.last().is_some_and(|last| last.step.component.commits());
    if through_log {
        builder.refuse_source_of_the_host(&config.sources);
    }
    if builder.problems.has_errors() {
        return Err(builder.problems);
    }
    let mut pipeline = Pipeline {
        name: config.name.clone(),
        through_log,
        file: config.source_text.file().to_owned(),
        sources: sources.into_iter().flatten().collect(),
        transforms,
        sinks: sinks.into_iter().flatten().collect(),
        delivery: config.delivery.clone(),
        warnings: builder.problems,
    };
    let refused = sealing::refusals(&pipeline, config);
    if refused.has_errors() {
        return Err(refused);
    }
    pipeline.warnings.extend(refused);
    pipeline.warnings.extend(merged::warnings(&pipeline, config));
    Ok(pipeline)
}

/// There is one log, and what goes through it is one pipeline.
fn second_through_log(config: &PipelineConfig, first: &PipelineConfig) -> Diagnostic {
    let last = config.transforms.last().map_or(String::new(), |last| path::join(&last.path, "plugin"));
    let message = format!(
        "pipeline `{}` goes through the log, and so does `{}` ({}); a host has one pipeline through the log",
        config.name,
        first.name,
        first.source_text.file().display()
    );
    let help =
        "put the sources and sinks of both into one pipeline, or take the component that commits out of one"
            .to_owned();
    config.source_text.diagnostic(&last, Anchor::Value, message, Some(help)).code("log")
}

/// The way of a pipeline, which its last transform decides; unknown if that one is.
fn way(config: &PipelineConfig, registry: &Registry) -> Option<Way> {
    let Some(last) = config.transforms.last() else { return Some(Way::Direct) };
    let last = registry.component(last.kind, &last.plugin).ok()?;
    Some(if last.commits() { Way::ThroughLog } else { Way::Direct })
}

/// Whether a component may commit where it stands; if not, what to do about it.
#[derive(Clone, Copy)]
enum MayCommit {
    Yes,
    NotYet,
    NotHere,
}

struct Builder<'a> {
    source: &'a Arc<SourceText>,
    registry: &'a Registry,
    way: Option<Way>,
    n_steps: usize,
    problems: Diagnostics,
}

impl Builder<'_> {
    /// A pipeline through the log has a source of the host's own beside those of the file.
    fn refuse_source_of_the_host(&mut self, sources: &[ComponentConfig]) {
        for source in sources.iter().filter(|source| source.name == ADMIN_SOURCE) {
            let message =
                format!("`{ADMIN_SOURCE}` is the host's own source, by which commands make changes");
            let help = "give this source another `name`".to_owned();
            let at = path::join(&source.path, "name");
            self.problems.push(self.source.diagnostic(&at, Anchor::Value, message, Some(help)).code("name"));
        }
    }

    fn source(&mut self, config: &ComponentConfig) -> Option<SourceStep> {
        let step = self.step(config, MayCommit::NotHere);
        let chain = self.own_chain(&config.transforms);
        Some(SourceStep { step: step?, chain })
    }

    fn sink(&mut self, config: &ComponentConfig) -> Option<SinkStep> {
        let step = self.step(config, MayCommit::NotHere);
        let when = match &config.when {
            Some(When::Otherwise) => Some(Gate::Otherwise),
            Some(When::Expression(text)) => self.condition(config, text).map(Box::new).map(Gate::If),
            None => None,
        };
        let chain = self.own_chain(&config.transforms);
        Some(SinkStep { step: step?, when, chain })
    }

    /// The pipeline's own transforms, of which the last may commit.
    fn transforms(&mut self, configs: &[ComponentConfig]) -> Vec<TransformStep> {
        let Some((last, others)) = configs.split_last() else { return Vec::new() };
        let mut steps: Vec<_> =
            others.iter().map(|config| self.transform(config, MayCommit::NotYet)).collect();
        steps.push(self.transform(last, MayCommit::Yes));
        steps.into_iter().flatten().collect()
    }

    /// The transforms of one source or sink.
    fn own_chain(&mut self, configs: &[ComponentConfig]) -> Vec<TransformStep> {
        let steps: Vec<_> = configs.iter().map(|config| self.transform(config, MayCommit::NotHere)).collect();
        steps.into_iter().flatten().collect()
    }

    fn transform(&mut self, config: &ComponentConfig, may_commit: MayCommit) -> Option<TransformStep> {
        let step = self.step(config, may_commit);
        let when = match &config.when {
            Some(When::Expression(text)) => self.condition(config, text),
            // The configuration refuses `otherwise` on a transform.
            Some(When::Otherwise) | None => None,
        };
        let step = step?;
        if when.is_some() && step.component.commits() {
            self.refuse_bypass(config, step.component.name());
        }
        Some(TransformStep { step, when })
    }

    /// What passes by the component that commits would be in the log without having met what its key holds.
    fn refuse_bypass(&mut self, config: &ComponentConfig, name: &str) {
        let at = path::join(&config.path, "when");
        let message = format!("`{name}` commits to the log, so every change has to pass it");
        let help =
            "leave `when` out; what is not to be committed is dropped by a transform before it".to_owned();
        self.problems.push(self.source.diagnostic(&at, Anchor::Value, message, Some(help)).code("log"));
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

    fn step(&mut self, config: &ComponentConfig, may_commit: MayCommit) -> Option<Step> {
        // Counted even if it is refused, so that the numbers are those of the file.
        let index = self.n_steps;
        self.n_steps += 1;
        let component = self.component(config, may_commit)?;
        let advice = self.check_config(config, &component)?;
        Some(Step {
            index,
            name: config.name.clone(),
            component,
            config: config.config.clone(),
            advice,
            base_dir: self.source.dir().to_owned(),
            on_error: config.on_error.clone(),
        })
    }

    fn component(&mut self, config: &ComponentConfig, may_commit: MayCommit) -> Option<Component> {
        let at = path::join(&config.path, "plugin");
        let component = self.registry.component(config.kind, &config.plugin).map_err(|error| {
            let diagnostic = self.source.diagnostic(&at, Anchor::Value, error.to_string(), None);
            self.problems.push(diagnostic.code("plugin"));
        });
        let component = component.ok()?;
        if component.commits() && !self.may_commit(&at, component.name(), may_commit) {
            return None;
        }
        Some(component)
    }

    fn may_commit(&mut self, at: &str, name: &str, may_commit: MayCommit) -> bool {
        let (reason, help) = match may_commit {
            MayCommit::Yes => return true,
            MayCommit::NotYet => {
                ("has to be the last of the pipeline's transforms", "move it to the end of `transforms:`")
            }
            MayCommit::NotHere => (
                "can only end the pipeline's own transforms",
                "put it at the end of the pipeline's `transforms:`, which every change passes",
            ),
        };
        let message = format!("`{name}` commits to the log, so it {reason}");
        let refused = self.source.diagnostic(at, Anchor::Value, message, Some(help.to_owned()));
        self.problems.push(refused.code("log"));
        false
    }

    /// First what the schema says, with its places; then what only the plugin's own type can say.
    fn check_config(&mut self, config: &ComponentConfig, component: &Component) -> Option<Advice> {
        let at = path::join(&config.path, "config");
        let found = match component.schema() {
            Ok(schema) => check_against_schema(self.source, &at, &config.config, &schema),
            Err(error) => vec![self.refused(&at, &error)],
        };
        if !found.is_empty() {
            self.problems.extend(found);
            return None;
        }
        match component.check_config(&config.config, self.source.dir()) {
            Ok(advice) => {
                let warnings = advice.warnings().iter().map(|warning| self.said(config, warning).warning());
                let refusals = self.way.into_iter().flat_map(|way| advice.refusals(way));
                let refusals = refusals.map(|refusal| self.said(config, refusal));
                self.problems.extend(warnings.chain(refusals).collect::<Vec<_>>());
                Some(advice)
            }
            Err(error) => {
                self.problems.push(self.said(config, &error));
                None
            }
        }
    }

    /// What a component says about a field of its configuration, at that field.
    fn said(&self, config: &ComponentConfig, error: &Error) -> Diagnostic {
        let fields = error.detail().split('.').filter(|part| !part.is_empty());
        let at = fields.fold(path::join(&config.path, "config"), |at, part| path::join(&at, part));
        let message = without_hidden(config, error.message());
        self.source.diagnostic(&at, Anchor::Value, message, None).code("config")
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

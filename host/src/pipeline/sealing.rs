//! Values that a component seals: what may not stand behind it, and which records failed before it.
//!
//! Everything here is known from what components say about their configuration. Invariant: whether a value is sealed
//! where it fails is answered for every way through the pipeline; in doubt it is not.

use super::{Pipeline, SinkStep, SourceStep, Step};
use crate::config::{Anchor, ComponentConfig, Diagnostic, Diagnostics, PipelineConfig, path};
use lockstep_plugin_api::keys::Keys;
use std::collections::BTreeSet;

/// A component that seals values, and what is opened again of them further on.
struct Sealed<'a> {
    by: &'a Step,
    still: Vec<Keys>,
}

impl Pipeline {
    /// Every way of a record through the pipeline, in the order in which it meets the components.
    fn ways(&self) -> impl Iterator<Item = Vec<&Step>> {
        let pairs = self.sources.iter().flat_map(|source| self.sinks.iter().map(move |sink| (source, sink)));
        pairs.map(|(source, sink)| self.way(source, sink))
    }

    fn way<'a>(&'a self, source: &'a SourceStep, sink: &'a SinkStep) -> Vec<&'a Step> {
        let common = self.transforms.iter().map(|transform| &transform.step);
        let own = sink.chain.iter().map(|transform| &transform.step);
        source.steps().chain(common).chain(own).chain([&sink.step]).collect()
    }

    /// The keys whose values may not be written down as they are when a record fails at this component: those that it
    /// seals itself, or that are sealed further on. `is_before_chain` says that a sink's own chain has not been met yet.
    pub fn sealed_from(&self, step: usize, is_before_chain: bool) -> Vec<&Keys> {
        let sink = self.sinks.iter().find(|sink| sink.step.index == step && is_before_chain);
        let first = sink.and_then(|sink| sink.chain.first()).map_or(step, |first| first.step.index);
        let (mut counted, mut keys) = (BTreeSet::new(), Vec::new());
        for way in self.ways() {
            let further = way.iter().skip_while(|other| other.index != first);
            let sealing = further.filter(|other| *other.advice.sealed_keys() != Keys::default());
            keys.extend(
                sealing.filter(|other| counted.insert(other.index)).map(|other| other.advice.sealed_keys()),
            );
        }
        keys
    }
}

/// Components that look into values which one before them has sealed.
pub(super) fn refusals(pipeline: &Pipeline, config: &PipelineConfig) -> Vec<Diagnostic> {
    let (mut refused, mut found) = (BTreeSet::new(), Vec::new());
    for way in pipeline.ways() {
        let mut sealed: Vec<Sealed<'_>> = Vec::new();
        for step in way {
            for before in &sealed {
                if refused.contains(&(before.by.index, step.index)) {
                    continue;
                }
                if let Some(key) = before.is_read_by(step) {
                    refused.insert((before.by.index, step.index));
                    found.push(refusal(config, before.by, step, &key));
                }
            }
            let unopened = step.advice.opened_keys().inverted();
            sealed.iter_mut().for_each(|before| before.still.push(unopened.clone()));
            if *step.advice.sealed_keys() != Keys::default() {
                sealed.push(Sealed { by: step, still: vec![step.advice.sealed_keys().clone()] });
            }
        }
    }
    found
}

impl Sealed<'_> {
    /// A key whose value is sealed here and looked into there.
    fn is_read_by(&self, step: &Step) -> Option<String> {
        let (read, _) = step.advice.read_keys();
        Keys::common(&self.still.iter().chain([read]).collect::<Vec<_>>())
    }
}

fn refusal(config: &PipelineConfig, sealing: &Step, reading: &Step, key: &str) -> Diagnostic {
    let (sealing_at, reading_at) = (place(config, sealing.index), place(config, reading.index));
    let (_, why) = reading.advice.read_keys();
    let message = format!(
        "`{}` reads the values of keys such as `{key}` {why}, but `{}` before it ({sealing_at}) seals them",
        reading.name, sealing.name
    );
    let help = format!(
        "put `{}` behind `{}`, or let one of them leave these keys alone",
        sealing.name, reading.name
    );
    let at = path::join(reading_at, "plugin");
    config.source_text.diagnostic(&at, Anchor::Value, message, Some(help)).code("sealed")
}

/// What becomes of records that fail before they are sealed, said where they would be.
pub(super) fn warnings(pipeline: &Pipeline, config: &PipelineConfig) -> Diagnostics {
    let sealing = pipeline.steps().filter(|step| *step.advice.sealed_keys() != Keys::default());
    let warnings = sealing.map(|step| {
        let message = format!(
            "a record that fails before `{}` has sealed it becomes a dead letter without its value, and cannot be \
             tried again",
            step.name
        );
        let help = "with `state.encryption`, dead letters keep their values".to_owned();
        let at = path::join(place(config, step.index), "plugin");
        config.source_text.diagnostic(&at, Anchor::Value, message, Some(help)).code("sealed").warning()
    });
    warnings.collect()
}

/// Where a component stands in the file; steps are numbered in the order of the file.
fn place(config: &PipelineConfig, index: usize) -> &str {
    let all = config.sources.iter().chain(&config.transforms).chain(&config.sinks);
    all.flat_map(with_own).nth(index).map_or("", |component| component.path.as_str())
}

fn with_own(component: &ComponentConfig) -> impl Iterator<Item = &ComponentConfig> {
    std::iter::once(component).chain(&component.transforms)
}

//! Values that a component seals: what may not stand behind it, and which records failed before it or behind one that opens
//! them again.
//!
//! Everything here is known from what components say about their configuration. Invariant: whether a value is sealed
//! where it fails is answered for every way through the pipeline; in doubt it is not.

use super::{Gate, Pipeline, SinkStep, Step};
use crate::condition::Condition;
use crate::config::{Anchor, ComponentConfig, Diagnostic, Diagnostics, PipelineConfig, path};
use lockstep_plugin_api::keys::{Keys, Search};

/// A component that seals values, and which of them are sealed still further on: these sets have them in common.
#[derive(Clone)]
struct Sealed<'a> {
    by: &'a Step,
    still: Vec<&'a Keys>,
}

/// What a record has met when it fails, and what it would have met from there on, over every way through the pipeline.
struct Around<'a> {
    met: Vec<&'a Step>,
    to_come: Vec<&'a Step>,
}

impl Pipeline {
    /// The keys whose values may not be written down as they are when a record fails at this component: those that it or
    /// one further on seals, and those that one before it has opened. `is_before_chain` says that a sink's own chain has
    /// not been met yet.
    pub fn sealed_from(&self, step: usize, is_before_chain: bool) -> Vec<&Keys> {
        let Around { met, to_come } = self.around(step, is_before_chain);
        let opened = met.into_iter().filter(|step| self.opens_for_itself(step)).flat_map(opened_keys);
        let sealed = to_come.into_iter().map(|step| step.advice.sealed_keys());
        sealed.chain(opened).filter(|keys| is_some(keys)).collect()
    }

    /// Whether what a component opens is written down by nobody else: before the log, the log holds it open as well.
    fn opens_for_itself(&self, step: &Step) -> bool {
        opened_keys(step).into_iter().any(is_some) && !(self.through_log && self.is_before_log(step))
    }

    fn around(&self, index: usize, is_before_chain: bool) -> Around<'_> {
        let is_it = |step: &&Step| step.index == index;
        let common: Vec<&Step> = self.transforms.iter().map(|transform| &transform.step).collect();
        let of_sources = || self.sources.iter().flat_map(|source| source.steps());
        let of_sinks = || self.sinks.iter().flat_map(SinkStep::way);
        for source in &self.sources {
            let way: Vec<&Step> = source.steps().collect();
            if let Some(at) = way.iter().position(is_it) {
                let (met, rest) = way.split_at(at);
                let to_come = rest.iter().copied().chain(common).chain(of_sinks());
                return Around { met: met.to_vec(), to_come: to_come.collect() };
            }
        }
        if let Some(at) = common.iter().position(is_it) {
            let (met, rest) = common.split_at(at);
            let met = of_sources().chain(met.iter().copied()).collect();
            return Around { met, to_come: rest.iter().copied().chain(of_sinks()).collect() };
        }
        let mut ways = self.sinks.iter().map(|sink| sink.way().collect::<Vec<_>>());
        let (way, at) = ways
            .find_map(|way| way.iter().position(is_it).map(|at| (way, at)))
            .expect("every component stands at a source, between or at a sink");
        let is_sink = at + 1 == way.len();
        let (met, to_come) = way.split_at(if is_sink && is_before_chain { 0 } else { at });
        let before = of_sources().chain(common);
        Around { met: before.chain(met.iter().copied()).collect(), to_come: to_come.to_vec() }
    }
}

impl SinkStep {
    fn condition(&self) -> Option<&Condition> {
        match &self.when {
            Some(Gate::If(condition)) => Some(condition),
            Some(Gate::Otherwise) | None => None,
        }
    }

    /// In the order in which a record meets them: its own transforms, then the sink.
    fn way(&self) -> impl Iterator<Item = &Step> {
        self.chain.iter().map(|transform| &transform.step).chain([&self.step])
    }
}

/// The keys of which it opens sealed values, always or where it can.
fn opened_keys(step: &Step) -> [&Keys; 2] {
    [step.advice.opened_keys(), step.advice.may_open_keys()]
}

fn is_some(keys: &Keys) -> bool {
    *keys != Keys::default()
}

/// Components that look into values which one before them has sealed. If there are too many globs to tell, that is said.
pub(super) fn refusals(pipeline: &Pipeline, config: &PipelineConfig) -> Diagnostics {
    let steps = pipeline.steps();
    let unopened: Vec<Keys> = steps.map(|step| step.advice.opened_keys().inverted()).collect();
    let mut pass = Pass { config, unopened: &unopened, search: Search::default(), found: Diagnostics::new() };
    let mut sealed = Vec::new();
    for source in &pipeline.sources {
        let mut here = Vec::new();
        pass.through(&source.step, &mut here);
        for transform in &source.chain {
            pass.condition(&transform.step, transform.when.as_ref(), &here);
            pass.through(&transform.step, &mut here);
        }
        sealed.append(&mut here);
    }
    for transform in &pipeline.transforms {
        pass.condition(&transform.step, transform.when.as_ref(), &sealed);
        pass.through(&transform.step, &mut sealed);
    }
    for sink in &pipeline.sinks {
        let mut sealed = sealed.clone();
        pass.condition(&sink.step, sink.condition(), &sealed);
        for transform in &sink.chain {
            pass.condition(&transform.step, transform.when.as_ref(), &sealed);
            pass.through(&transform.step, &mut sealed);
        }
        pass.through(&sink.step, &mut sealed);
    }
    let first_sealing = pipeline.steps().find(|step| is_some(step.advice.sealed_keys()));
    if let Some(step) = first_sealing.filter(|_| pass.search.gave_up()) {
        pass.found.push(not_told_apart(config, step));
    }
    pass.found
}

/// Values on their way through the pipeline. Where ways part, each goes on with what is sealed up to there; so every pair of
/// a component that seals and one behind it is looked at once.
struct Pass<'a> {
    config: &'a PipelineConfig,
    /// By the index of a step: what is still sealed behind it.
    unopened: &'a [Keys],
    search: Search,
    found: Diagnostics,
}

impl<'a> Pass<'a> {
    /// The host's own readers: which records a component is given.
    fn condition(&mut self, step: &Step, when: Option<&Condition>, sealed: &[Sealed<'a>]) {
        let Some(when) = when.filter(|when| when.reads_values()) else { return };
        for before in sealed {
            if let Some(key) = self.search.common(&before.still) {
                self.found.push(refusal_of_condition(self.config, before.by, step, when, &key));
            }
        }
    }

    fn through(&mut self, step: &'a Step, sealed: &mut Vec<Sealed<'a>>) {
        let (read, _) = step.advice.read_keys();
        for before in sealed.iter().filter(|_| is_some(read)) {
            let sets: Vec<&Keys> = before.still.iter().copied().chain([read]).collect();
            if let Some(key) = self.search.common(&sets) {
                self.found.push(refusal(self.config, before.by, step, &key));
            }
        }
        if is_some(step.advice.opened_keys()) {
            sealed.iter_mut().for_each(|before| before.still.push(&self.unopened[step.index]));
        }
        if is_some(step.advice.sealed_keys()) {
            sealed.push(Sealed { by: step, still: vec![step.advice.sealed_keys()] });
        }
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

/// Which keys a condition leaves alone is not known; one that asks for them may leave alone the right ones.
fn refusal_of_condition(
    config: &PipelineConfig,
    sealing: &Step,
    given: &Step,
    when: &Condition,
    key: &str,
) -> Diagnostic {
    let at = path::join(place(config, given.index), "when");
    let message = format!(
        "`when` of `{}` looks into the values of keys such as `{key}`, but `{}` before it ({}) seals them",
        given.name,
        sealing.name,
        place(config, sealing.index)
    );
    let help = "a sealed value has none of its fields: a record for which a condition has no answer fails; ask for \
                something that is not sealed, such as `change.config_key`, or leave these keys out with `!(...) &&`";
    let found =
        config.source_text.diagnostic(&at, Anchor::Value, message, Some(help.to_owned())).code("sealed");
    if when.asks_for_key() { found.warning() } else { found }
}

fn not_told_apart(config: &PipelineConfig, sealing: &Step) -> Diagnostic {
    let message =
        "there are too many globs to tell whether every component reads only values that are not sealed";
    let help = "a component that reads a sealed value fails or leaves it alone; use fewer or simpler globs"
        .to_owned();
    let at = path::join(place(config, sealing.index), "plugin");
    config.source_text.diagnostic(&at, Anchor::Value, message, Some(help)).code("sealed").warning()
}

/// What becomes of records that fail before they are sealed, or after they were opened, said where that is.
pub(super) fn warnings(pipeline: &Pipeline, config: &PipelineConfig) -> Diagnostics {
    let mut warnings = Diagnostics::new();
    for step in pipeline.steps() {
        let where_it_fails = if is_some(step.advice.sealed_keys()) {
            format!("before `{}` has sealed it", step.name)
        } else if pipeline.opens_for_itself(step) {
            format!("behind `{}`, which opens it,", step.name)
        } else {
            continue;
        };
        let message = format!(
            "a record that fails {where_it_fails} becomes a dead letter without its value, and cannot be tried again"
        );
        let help = "with `state.encryption`, dead letters keep their values".to_owned();
        let at = path::join(place(config, step.index), "plugin");
        warnings.push(
            config.source_text.diagnostic(&at, Anchor::Value, message, Some(help)).code("sealed").warning(),
        );
    }
    warnings
}

/// Where a component stands in the file; steps are numbered in the order of the file.
pub(super) fn place(config: &PipelineConfig, index: usize) -> &str {
    let all = config.sources.iter().chain(&config.transforms).chain(&config.sinks);
    all.flat_map(with_own).nth(index).map_or("", |component| component.path.as_str())
}

fn with_own(component: &ComponentConfig) -> impl Iterator<Item = &ComponentConfig> {
    std::iter::once(component).chain(&component.transforms)
}

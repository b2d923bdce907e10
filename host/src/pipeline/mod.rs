//! Config + Registry -> [`Pipeline`]: every component found, its configuration checked, every condition compiled.
//!
//! Nothing is opened here: a pipeline is a plan, and a run of it can be started again and again.

mod build;
mod guarantee;
mod merged;
mod sealing;
mod view;

pub use build::{build, build_all};
pub use guarantee::{Guarantee, Promise};
pub use view::View;

use crate::condition::Condition;
use crate::config::{Delivery, Diagnostics, OnError};
use crate::registry::Component;
use lockstep_plugin_api::Advice;
use std::path::PathBuf;

/// What the host's own source of a pipeline through the log is called.
pub const ADMIN_SOURCE: &str = "admin";

/// A pipeline that could be started.
#[derive(Debug)]
pub struct Pipeline {
    pub name: String,
    /// Whether its last transform commits: then records go into the log, and from there to the sinks.
    pub through_log: bool,
    /// The file it was read from.
    pub file: PathBuf,
    pub sources: Vec<SourceStep>,
    pub transforms: Vec<TransformStep>,
    pub sinks: Vec<SinkStep>,
    pub delivery: Delivery,
    /// What its components say about configurations that can be used.
    pub warnings: Diagnostics,
}

/// One component in its place.
#[derive(Debug)]
pub struct Step {
    /// Its place among all components of the pipeline, in the order of [`Pipeline::steps`].
    pub index: usize,
    pub name: String,
    pub component: Component,
    pub config: serde_json::Value,
    /// What it says about this configuration.
    pub advice: Advice,
    /// Where relative paths of its configuration start.
    pub base_dir: PathBuf,
    pub on_error: OnError,
}

/// A source and the transforms of its own.
#[derive(Debug)]
pub struct SourceStep {
    pub step: Step,
    pub chain: Vec<TransformStep>,
}

/// A transform and the records it is given.
#[derive(Debug)]
pub struct TransformStep {
    pub step: Step,
    /// Records for which this is false pass by.
    pub when: Option<Condition>,
}

/// A sink, the records it is given, and the transforms of its own.
#[derive(Debug)]
pub struct SinkStep {
    pub step: Step,
    pub when: Option<Gate>,
    pub chain: Vec<TransformStep>,
}

/// Which records a sink is given.
#[derive(Debug)]
pub enum Gate {
    If(Box<Condition>),
    /// Those that no other sink's condition took.
    Otherwise,
}

impl Pipeline {
    /// Every component: sources, transforms and sinks, each source's and sink's own transforms right after it.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let sources = self.sources.iter().flat_map(SourceStep::steps);
        let transforms = self.transforms.iter().map(|transform| &transform.step);
        let sinks = self.sinks.iter().flat_map(SinkStep::steps);
        sources.chain(transforms).chain(sinks)
    }

    /// Whether a component belongs to what is before the log, if the pipeline goes through it.
    pub fn is_before_log(&self, step: &Step) -> bool {
        self.sinks.iter().all(|sink| sink.steps().all(|other| other.index != step.index))
    }

    pub fn n_steps(&self) -> usize {
        self.steps().count()
    }
}

impl SourceStep {
    /// The source, then its own transforms.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        with_chain(&self.step, &self.chain)
    }
}

impl SinkStep {
    /// The sink, then its own transforms.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        with_chain(&self.step, &self.chain)
    }
}

fn with_chain<'a>(step: &'a Step, chain: &'a [TransformStep]) -> impl Iterator<Item = &'a Step> {
    std::iter::once(step).chain(chain.iter().map(|transform| &transform.step))
}

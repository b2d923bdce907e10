//! Values that a component makes of what several authors wrote, and the components before it that look into values: they
//! see what each author wrote, and never what is made of it.
//!
//! Known from what components say about their configuration; nothing is refused for it.

use super::{Pipeline, SourceStep, Step, sealing::place};
use crate::config::{Anchor, Diagnostic, Diagnostics, PipelineConfig, path};
use lockstep_plugin_api::keys::{Keys, Search};

/// Says of every component that looks into values what it does not see.
pub(super) fn warnings(pipeline: &Pipeline, config: &PipelineConfig) -> Diagnostics {
    let (mut found, mut search) = (Diagnostics::new(), Search::default());
    let mut before: Vec<&Step> = pipeline.sources.iter().flat_map(SourceStep::steps).collect();
    for transform in &pipeline.transforms {
        let making = &transform.step;
        let made = making.advice.made_keys();
        if *made != Keys::default() {
            for reading in &before {
                let key = search.common(&[reading.advice.read_keys().0, made]);
                found.extend(key.map(|key| unseen(config, reading, making, &key)));
            }
        }
        before.push(making);
    }
    found
}

fn unseen(config: &PipelineConfig, reading: &Step, making: &Step, key: &str) -> Diagnostic {
    let (_, why) = reading.advice.read_keys();
    let message = format!(
        "`{}` behind it ({}) makes values of keys such as `{key}` that no author wrote, and `{}`, which reads values {why}, \
         does not see them",
        making.name,
        place(config, making.index),
        reading.name
    );
    let help = format!(
        "where this must hold for what is shown, let `{}` choose one author's value for these keys",
        making.name
    );
    let at = path::join(place(config, reading.index), "plugin");
    config.source_text.diagnostic(&at, Anchor::Value, message, Some(help)).code("merged").warning()
}

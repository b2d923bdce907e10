//! What a pipeline promises between each of its sources and each of its sinks, told before anything is started.

use super::{Pipeline, SinkStep, SourceStep, Step, with_chain};
use crate::config::Then;
use crate::registry::Replays;
use lockstep_plugin_api::advice;
use serde::Serialize;
use std::fmt;

/// What becomes of the records of one source at one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Guarantee {
    pub source: String,
    pub sink: String,
    pub delivery: Promise,
    /// The author of a record is told what became of it.
    pub answered: bool,
    /// The sink is told whether what it writes arrives.
    pub confirmed: bool,
    /// The record is committed to the host's log first, and reaches the sink from there whatever happens to either.
    pub through_log: bool,
    /// A component on the way gives up records that fail (`on_error: skip`).
    pub skips: bool,
}

/// How often a record arrives when hosts and endpoints may fail in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    AtLeastOnce,
    /// At least once if the source's configuration lets it read again, else at most once.
    ByConfig,
    AtMostOnce,
}

impl Pipeline {
    /// One for each pair of a source and a sink, in the order of the file.
    pub fn guarantees(&self) -> Vec<Guarantee> {
        let pairs = self.sources.iter().flat_map(|source| self.sinks.iter().map(move |sink| (source, sink)));
        pairs.map(|(source, sink)| self.guarantee(source, sink)).collect()
    }

    fn guarantee(&self, source: &SourceStep, sink: &SinkStep) -> Guarantee {
        let component = &source.step.component;
        let common = self.transforms.iter().map(|transform| &transform.step);
        let is_behind_log = |step: &Step| self.through_log && step.index >= sink.step.index;
        let mut way =
            with_chain(&source.step, &source.chain).chain(common).chain(with_chain(&sink.step, &sink.chain));
        let answered = component.answers();
        let confirmed = sink.step.advice.promise() != Some(advice::Promise::AtMostOnce);
        let read = promise(source.step.advice.promise(), component.replays(), answered);
        Guarantee {
            source: source.step.name.clone(),
            sink: sink.step.name.clone(),
            delivery: if confirmed { read } else { Promise::AtMostOnce },
            answered,
            confirmed,
            through_log: self.through_log,
            // Whoever can be told is told, whatever `on_error` says; behind the log everybody has been told.
            skips: way
                .any(|step: &Step| step.on_error.then == Then::Skip && (!answered || is_behind_log(step))),
        }
    }
}

/// What a source promises with its configuration, or else by its metadata. An author who hears nothing sends again, which
/// is as good as reading again.
fn promise(advised: Option<advice::Promise>, replays: Replays, answered: bool) -> Promise {
    match (advised, replays) {
        _ if answered => Promise::AtLeastOnce,
        (Some(advice::Promise::AtLeastOnce), _) | (None, Replays::Always) => Promise::AtLeastOnce,
        (None, Replays::ByConfig) => Promise::ByConfig,
        (Some(advice::Promise::AtMostOnce), _) | (None, Replays::Unsaid) => Promise::AtMostOnce,
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: ", self.source, self.sink)?;
        if self.through_log {
            f.write_str("through the log, ")?;
        }
        f.write_str(match (self.delivery, self.answered) {
            _ if !self.confirmed => "at most once: this sink is not told whether what it writes arrives",
            (_, true) if self.through_log => {
                "at least once what was answered as applied; unanswered means not known"
            }
            (_, true) => "at least once; unanswered means not accepted",
            (Promise::AtLeastOnce, _) => "at least once",
            (Promise::ByConfig, _) => {
                "at least once where the source can read again (its README says when), else at most once"
            }
            (Promise::AtMostOnce, _) => {
                "at most once: what is in flight when the host ends is not read again by this source"
            }
        })?;
        if self.skips {
            f.write_str("; records that fail are left out (`on_error: skip`)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNDECIDED: Option<advice::Promise> = None;

    fn check(delivery: Promise, answered: bool, confirmed: bool, expected: &str) {
        let guarantee = Guarantee {
            source: "in".into(),
            sink: "out".into(),
            delivery,
            answered,
            confirmed,
            through_log: false,
            skips: false,
        };
        assert!(guarantee.to_string().starts_with(&format!("in -> out: {expected}")), "{guarantee}");
    }

    #[test]
    fn what_is_guaranteed_follows_from_what_the_source_can_do() {
        let by_metadata = |replays, answered| promise(UNDECIDED, replays, answered);
        check(by_metadata(Replays::Always, false), false, true, "at least once");
        let answered = by_metadata(Replays::Unsaid, true);
        check(answered, true, true, "at least once; unanswered means not accepted");
        let undecided = by_metadata(Replays::ByConfig, false);
        check(undecided, false, true, "at least once where the source can read again");
        check(by_metadata(Replays::Unsaid, false), false, true, "at most once: what is in flight");
    }

    #[test]
    fn what_a_configuration_decides_wins_over_metadata() {
        for replays in [Replays::Always, Replays::ByConfig, Replays::Unsaid] {
            let advised = |advice| promise(Some(advice), replays, false);
            assert_eq!(advised(advice::Promise::AtMostOnce), Promise::AtMostOnce);
            assert_eq!(advised(advice::Promise::AtLeastOnce), Promise::AtLeastOnce);
        }
        check(Promise::AtMostOnce, true, false, "at most once: this sink is not told");
    }
}

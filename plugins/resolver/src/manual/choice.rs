//! What somebody can decide: what one of the authors wants, what a strategy makes of all of them, or another value.
//!
//! Looking at it changes nothing. A decision is a value like any other, so that other hosts need not come to it by the same
//! way.

use super::case::{Wanted, Withheld, withheld};
use crate::{
    config::Strategies,
    conflict::Conflict,
    draft::written,
    ot::diff::diff,
    siblings::{Sibling, Siblings},
    strategy::{Contender, Resolution, Strategy, common_base},
    value::Value,
};
use lockstep_plugin_api::prelude::*;
use serde::Serialize;
use serde_json::value::RawValue;

/// One of several ways to decide.
#[derive(Debug, Clone)]
pub enum Choice {
    /// What one author wants, by the place among them, which counts from 0.
    Change(usize),
    Strategy(Strategy),
    /// Something else; `None` removes the key.
    Value(Option<Text>),
}

/// A decision that can be made, and what it makes of the key.
#[derive(Debug, Serialize)]
pub struct Outlook {
    /// As an author's change: its place, which counts from 1, and who wants it.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub change: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution_method: Option<&'static str>,
    pub new_value: Option<Box<RawValue>>,
    /// Why the values are not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
    /// Whether the key is removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Where not everybody has their way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts: Option<Vec<Conflict>>,
}

impl Choice {
    /// What it makes of the key, as JSON text, and how; `None` removes the key.
    ///
    /// # Errors
    /// `Rejected("bad_message")` if it cannot be chosen here.
    pub fn value(&self, siblings: &Siblings) -> Result<Option<Text>> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Change(at) => {
                let changes = siblings.contenders();
                let none = || bad(format!("there are {} changes to choose from", changes.len()));
                changes.get(*at).map(|change| change.value.clone()).ok_or_else(none)
            }
            Self::Strategy(strategy) => match resolve(strategy, siblings) {
                Some(resolution) => Ok(resolution.value),
                None => Err(bad(format!("`{}` comes to no result here", strategy.name()))),
            },
        }
    }
}

fn bad(message: String) -> Error {
    Error::rejected("bad_message", message)
}

/// Everything that can be decided without thinking of another value.
pub fn outlooks(siblings: &Siblings, key: &str, strategies: &Strategies) -> Vec<Outlook> {
    let changes = siblings.contenders();
    let wanted = changes.iter().enumerate().map(|(at, change)| of_change(at, change));
    let ways = [
        Strategy::LastWriteWins,
        Strategy::FirstWriteWins,
        strategies.merging(key),
        Strategy::OperationalTransform,
    ];
    let made = ways.iter().filter_map(|strategy| Some(of_strategy(strategy, resolve(strategy, siblings)?)));
    let outlooks = wanted.chain(made);
    // What is sealed is for those who have its key, here as where the conflict is shown.
    match withheld(siblings, usize::MAX) {
        Some(why) => outlooks.map(|outlook| outlook.withholding(why)).collect(),
        None => outlooks.collect(),
    }
}

impl Outlook {
    /// The same without a value of anybody.
    fn withholding(self, why: Withheld) -> Self {
        let place = |conflict: Conflict| Conflict { base: None, values: Vec::new(), ..conflict };
        let conflicts = self.conflicts.map(|conflicts| conflicts.into_iter().map(place).collect());
        Self { new_value: None, withheld: Some(why), conflicts, ..self }
    }
}

fn of_change(at: usize, change: &Sibling) -> Outlook {
    let wanted = Wanted::of(change);
    Outlook {
        change: Some(at + 1),
        strategy: None,
        event_id: Some(wanted.event_id),
        user_id: wanted.user_id,
        resolution_method: None,
        new_value: wanted.new_value,
        withheld: None,
        deleted: change.value.is_none(),
        conflicts: None,
    }
}

fn of_strategy(strategy: &Strategy, resolution: Resolution) -> Outlook {
    Outlook {
        change: None,
        strategy: Some(strategy.name()),
        event_id: None,
        user_id: None,
        resolution_method: Some(resolution.method.name()),
        new_value: resolution.value.as_ref().and_then(|text| serde_json::from_str(text).ok()),
        withheld: None,
        deleted: resolution.value.is_none(),
        conflicts: Some(resolution.conflicts),
    }
}

/// What a strategy makes of the siblings; `None` if it has nothing to say about these.
fn resolve(strategy: &Strategy, siblings: &Siblings) -> Option<Resolution> {
    let changes = siblings.contenders();
    let seen: Vec<Contender<'_>> = changes.iter().map(|change| change.contender()).collect();
    let resolution = match strategy {
        Strategy::ManualResolution => None,
        Strategy::OperationalTransform => {
            let ops = operations(&seen)?;
            let operated: Vec<_> =
                seen.iter().zip(&ops).map(|(one, ops)| Contender { ops: ops.as_ref(), ..*one }).collect();
            strategy.resolve(&operated)
        }
        _ => strategy.resolve(&seen),
    };
    // Whoever is asked is not helped by being told to ask.
    resolution.filter(|resolution| !resolution.is_pending())
}

/// What each author did to the value that all of them saw; `None` unless several changed a part of it.
fn operations(seen: &[Contender<'_>]) -> Option<Vec<Option<Text>>> {
    let base = common_base(seen)?;
    let of = |one: &Contender<'_>| match one.ops {
        Some(ops) => Some(ops.clone()),
        None => written(&diff(Some(&base), Some(&Value::parse(one.value?).ok()?))),
    };
    let ops: Vec<Option<Text>> = seen.iter().map(of).collect();
    (ops.iter().flatten().count() > 1).then_some(ops)
}

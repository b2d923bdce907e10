//! What `plugin: resolver` accepts under `config:`, and which strategy a key has.

use crate::{
    merge::{Numbers, Policy},
    strategy::Strategy,
};
use lockstep_plugin_api::prelude::*;
use std::time::Duration;

#[config]
pub struct ResolverConfig {
    /// How concurrent changes of a key are resolved.
    #[serde(default)]
    pub strategy: Strategy,
    /// How `merge_strategies` merges the parts of a value.
    #[serde(default)]
    pub merge: Policy,
    /// Other strategies for some keys; the first rule whose `match` fits counts.
    #[serde(default)]
    pub strategies: Vec<StrategyRule>,
    /// How far ahead of this host's clock a stamp from elsewhere may move its own stamps.
    #[serde(default = "max_clock_ahead")]
    pub max_clock_ahead: Seconds,
    /// After how long an undecided conflict of `manual_resolution` is told once more as urgent; less than 7 days, when its
    /// record in Redis ends. Default: 6 days.
    #[serde(default = "escalate_after")]
    pub escalate_after: Seconds,
    /// How often an undecided conflict is told again, at least 1 s. Default: 1 day.
    #[serde(default = "remind_every")]
    pub remind_every: Seconds,
    /// How long a decided conflict can still be looked up; one that is not decided is kept without end. Default: 90 days.
    #[serde(default = "keep_decided")]
    pub keep_decided: Seconds,
}

/// A strategy for the keys that match a glob.
#[config]
pub struct StrategyRule {
    /// A glob over config keys, such as `app.features.*`.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The strategy for them.
    pub strategy: Strategy,
    /// How their parts are merged, if that differs; for `merge_strategies` alone.
    #[serde(default)]
    pub merge: Option<Policy>,
}

/// The longest `max_clock_ahead`: stamps are for ordering, and a day is no skew any more.
const FURTHEST: Duration = Duration::from_secs(86_400);

impl ResolverConfig {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        for (i, rule) in self.strategies.iter().enumerate() {
            rule.glob(i)?;
            if rule.merge.is_some() && !matches!(rule.strategy, Strategy::MergeStrategies(_)) {
                let message = format!(
                    "`merge` says how `merge_strategies` merges; the strategy here is `{}`",
                    rule.strategy
                );
                return Err(Error::config(message).at(format!("strategies.{i}.merge")));
            }
        }
        if self.max_clock_ahead.0 > FURTHEST {
            return Err(Error::config("`max_clock_ahead` is at most one day").at("max_clock_ahead"));
        }
        if self.escalate_after.0.is_zero() || self.escalate_after.0 >= RECORD_LASTS {
            let message =
                "`escalate_after` must lie above 0 and below 7 days, when the record of a conflict ends";
            return Err(Error::config(message).at("escalate_after"));
        }
        if self.remind_every.0 < Duration::from_secs(1) {
            return Err(Error::config("`remind_every` must be at least 1s").at("remind_every"));
        }
        Ok(())
    }

    /// When undecided conflicts are told again, and decided ones forgotten.
    pub fn patience(&self) -> Patience {
        Patience {
            remind_every: self.remind_every.0,
            escalate_after: self.escalate_after.0,
            keep_decided: self.keep_decided.0,
        }
    }

    /// The keys whose strategy makes a value of parts of others.
    pub fn merged_keys(&self) -> Keys {
        let rules = self.strategies.iter().enumerate();
        let rules = rules.filter_map(|(i, rule)| Some((rule.glob(i).ok()?, rule.strategy.reads_values())));
        let otherwise = Glob::new("*").ok().map(|every| (every, self.strategy.reads_values()));
        Keys::new(rules.chain(otherwise))
    }
}

/// How long the record of an undecided conflict lasts in Redis, by the contract.
pub const RECORD_LASTS: Duration = Duration::from_secs(7 * 86_400);

/// When undecided conflicts are told again, and decided ones forgotten.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub remind_every: Duration,
    pub escalate_after: Duration,
    pub keep_decided: Duration,
}

impl StrategyRule {
    fn glob(&self, i: usize) -> Result<Glob> {
        let named = |error| Error::config(format!("`{}` is not a glob: {error}", self.pattern));
        Glob::new(&self.pattern).map_err(|error| named(error).at(format!("strategies.{i}.match")))
    }
}

/// Which strategy a key has.
#[derive(Debug)]
pub struct Strategies {
    rules: Vec<(Glob, Strategy, Policy)>,
    otherwise: (Strategy, Policy),
}

impl Strategies {
    /// The rules of a configuration, compiled.
    ///
    /// # Errors
    /// `Config` if a `match` is no glob.
    pub fn new(config: &ResolverConfig) -> Result<Self> {
        let merged = |strategy: &Strategy, policy: &Policy| match strategy {
            Strategy::MergeStrategies(_) => (Strategy::MergeStrategies(policy.clone()), policy.clone()),
            other => (other.clone(), policy.clone()),
        };
        let rule = |(i, rule): (usize, &StrategyRule)| {
            let policy = rule.merge.as_ref().unwrap_or(&config.merge);
            let (strategy, policy) = merged(&rule.strategy, policy);
            Ok((rule.glob(i)?, strategy, policy))
        };
        let rules = config.strategies.iter().enumerate().map(rule).collect::<Result<_>>()?;
        Ok(Self { rules, otherwise: merged(&config.strategy, &config.merge) })
    }

    /// The strategy of the first rule that fits the key.
    pub fn of(&self, key: &str) -> Strategy {
        match self.rule(key).0 {
            Strategy::MergeStrategies(policy) => {
                Strategy::MergeStrategies(without_mean_of_names(key, policy))
            }
            strategy => strategy,
        }
    }

    /// How the key's values would be merged, whatever its strategy is.
    pub fn merging(&self, key: &str) -> Strategy {
        Strategy::MergeStrategies(without_mean_of_names(key, self.rule(key).1))
    }

    fn rule(&self, key: &str) -> (Strategy, Policy) {
        let found = self.rules.iter().find(|(keys, ..)| keys.matches(key));
        found.map_or_else(
            || self.otherwise.clone(),
            |(_, strategy, policy)| (strategy.clone(), policy.clone()),
        )
    }
}

/// Numbers that name something have no mean.
fn without_mean_of_names(key: &str, policy: Policy) -> Policy {
    let is_name = key.rsplit('.').next().is_some_and(|last| NAMES.contains(&last));
    match policy.numbers {
        None if is_name => Policy { numbers: Some(Numbers::LastWriteWins), ..policy },
        _ => policy,
    }
}

/// The last segments of keys whose numbers name something.
pub const NAMES: [&str; 3] = ["port", "id", "version"];

fn max_clock_ahead() -> Seconds {
    Seconds(Duration::from_millis(500))
}

fn escalate_after() -> Seconds {
    Seconds(Duration::from_secs(6 * 86_400))
}

fn remind_every() -> Seconds {
    Seconds(Duration::from_secs(86_400))
}

fn keep_decided() -> Seconds {
    Seconds(Duration::from_secs(90 * 86_400))
}

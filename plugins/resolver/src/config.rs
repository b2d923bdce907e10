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
        check_strategy(self.strategy, "strategy")?;
        for (i, rule) in self.strategies.iter().enumerate() {
            check_strategy(rule.strategy, &format!("strategies.{i}.strategy"))?;
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
        Ok(())
    }

    /// The keys whose strategy makes a value of parts of others.
    pub fn merged_keys(&self) -> Keys {
        let rules = self.strategies.iter().enumerate();
        let rules = rules.filter_map(|(i, rule)| Some((rule.glob(i).ok()?, rule.strategy.reads_values())));
        let otherwise = Glob::new("*").ok().map(|every| (every, self.strategy.reads_values()));
        Keys::new(rules.chain(otherwise))
    }
}

impl StrategyRule {
    fn glob(&self, i: usize) -> Result<Glob> {
        let named = |error| Error::config(format!("`{}` is not a glob: {error}", self.pattern));
        Glob::new(&self.pattern).map_err(|error| named(error).at(format!("strategies.{i}.match")))
    }
}

fn check_strategy(strategy: Strategy, at: &str) -> Result<()> {
    refuse_missing(strategy).map_err(|error| error.at(at))
}

/// Refuses a strategy whose room is still empty.
///
/// # Errors
/// `Config`, with the strategies that there are.
pub fn refuse_missing(strategy: Strategy) -> Result<()> {
    if strategy.in_force() == strategy {
        return Ok(());
    }
    Err(Error::config(format!(
        "`{strategy}` comes with the next version of the resolver; this one has `last_write_wins`, `first_write_wins`, \
         `operational_transform` and `merge_strategies`"
    )))
}

/// Which strategy a key has.
#[derive(Debug)]
pub struct Strategies {
    rules: Vec<(Glob, Strategy)>,
    otherwise: Strategy,
}

impl Strategies {
    /// The rules of a configuration, compiled.
    ///
    /// # Errors
    /// `Config` if a `match` is no glob.
    pub fn new(config: &ResolverConfig) -> Result<Self> {
        let merged = |strategy: Strategy, policy: Policy| match strategy {
            Strategy::MergeStrategies(_) => Strategy::MergeStrategies(policy),
            other => other,
        };
        let rule = |(i, rule): (usize, &StrategyRule)| {
            Ok((rule.glob(i)?, merged(rule.strategy, rule.merge.unwrap_or(config.merge))))
        };
        let rules = config.strategies.iter().enumerate().map(rule).collect::<Result<_>>()?;
        Ok(Self { rules, otherwise: merged(config.strategy, config.merge) })
    }

    /// The strategy of the first rule that fits the key. Numbers that name something have no average.
    pub fn of(&self, key: &str) -> Strategy {
        let found = self.rules.iter().find(|(keys, _)| keys.matches(key));
        let is_name = || key.rsplit('.').next().is_some_and(|last| NAMES.contains(&last));
        match found.map_or(self.otherwise, |(_, strategy)| *strategy) {
            Strategy::MergeStrategies(policy) if policy.numbers.is_none() && is_name() => {
                Strategy::MergeStrategies(Policy { numbers: Some(Numbers::LastWriteWins), ..policy })
            }
            strategy => strategy,
        }
    }
}

/// The last segments of keys whose numbers name something.
const NAMES: [&str; 3] = ["port", "id", "version"];

fn max_clock_ahead() -> Seconds {
    Seconds(Duration::from_millis(500))
}

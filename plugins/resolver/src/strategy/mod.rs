//! The strategies by name, and how each makes one value of concurrent changes.
//!
//! What is shown depends on the changes and on the order of their stamps alone: never on the order in which they came, nor
//! on anything this host remembers.

mod contender;
mod resolution;
mod standing;
mod operational_transform;
mod merge_strategies;
mod manual_resolution;

pub use contender::{Contender, common_base, hash_of};
pub use resolution::{Method, Resolution};
pub use standing::stands;

use crate::merge::Policy;
use lockstep_plugin_api::{
    Text,
    schemars::{JsonSchema, Schema, SchemaGenerator, json_schema},
};
use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// How concurrent changes of a key become the one value that is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Strategy {
    #[default]
    LastWriteWins,
    FirstWriteWins,
    OperationalTransform,
    MergeStrategies(Policy),
    ManualResolution,
}

/// No strategy has this name.
#[derive(Debug, thiserror::Error)]
#[error("Unknown conflict resolution strategy: {0}")]
pub struct UnknownStrategy(String);

impl Strategy {
    /// Every strategy, in the order of the numbers they are stored as.
    pub const ALL: [Self; 5] = [
        Self::LastWriteWins,
        Self::FirstWriteWins,
        Self::OperationalTransform,
        Self::MergeStrategies(Policy::DEFAULT),
        Self::ManualResolution,
    ];

    /// The other names a configuration may use.
    const ALIASES: [(&str, Self); 3] = [
        ("ot", Self::OperationalTransform),
        ("merge", Self::MergeStrategies(Policy::DEFAULT)),
        ("manual", Self::ManualResolution),
    ];

    /// The name. Changes are stamped with more than it: see `Display`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LastWriteWins => "last_write_wins",
            Self::FirstWriteWins => "first_write_wins",
            Self::OperationalTransform => "operational_transform",
            Self::MergeStrategies(_) => "merge_strategies",
            Self::ManualResolution => "manual_resolution",
        }
    }

    /// The strategy by its name, or another name of it.
    fn named(name: &str) -> Option<Self> {
        let names = Self::ALL.into_iter().map(|strategy| (strategy.name(), strategy));
        names.chain(Self::ALIASES).find(|(known, _)| *known == name).map(|(_, strategy)| strategy)
    }

    /// As one number, for the store; `None` if it says more than that. 5 is none of them.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::LastWriteWins => Some(0),
            Self::FirstWriteWins => Some(1),
            Self::OperationalTransform => Some(2),
            Self::MergeStrategies(policy) => policy.bits().map(|bits| 3 | bits << 3),
            Self::ManualResolution => Some(4),
        }
    }

    /// Reads what [`Strategy::number`] gave; `None` if another version wrote it.
    pub fn from_number(number: u64) -> Option<Self> {
        match (number & 7, number >> 3) {
            (3, policy) => Policy::from_bits(policy).map(Self::MergeStrategies),
            (plain, 0) => Self::ALL.get(plain as usize).cloned(),
            _ => None,
        }
    }

    /// Whether what it shows depends on what the authors had seen, so that changes name it.
    pub fn needs_base(&self) -> bool {
        matches!(self, Self::OperationalTransform | Self::MergeStrategies(_) | Self::ManualResolution)
    }

    /// Whether it looks into values, beside telling equal ones.
    pub fn reads_values(&self) -> bool {
        matches!(self, Self::OperationalTransform | Self::MergeStrategies(_))
    }

    /// Whether it may leave a conflict to a person.
    pub fn may_ask(&self) -> bool {
        match self {
            Self::ManualResolution => true,
            Self::MergeStrategies(policy) => policy.paths.may_ask(),
            _ => false,
        }
    }

    /// What is shown of several changes, which are in the order of their stamps; `None` if there are none.
    pub fn value(&self, contenders: &[Contender<'_>]) -> Option<Text> {
        match self {
            Self::FirstWriteWins => contenders.first()?.value.cloned(),
            Self::LastWriteWins | Self::ManualResolution => contenders.last()?.value.cloned(),
            Self::OperationalTransform | Self::MergeStrategies(_) => self.resolve(contenders)?.value,
        }
    }

    /// The same, with how it came about.
    pub fn resolve(&self, contenders: &[Contender<'_>]) -> Option<Resolution> {
        let last = contenders.len().checked_sub(1)?;
        let is_sealed = || contenders.iter().any(Contender::is_sealed);
        let together = match self {
            // Nobody sees the parts that it would be made of.
            strategy if strategy.reads_values() && is_sealed() => None,
            Self::LastWriteWins => None,
            Self::FirstWriteWins => Some(Resolution::won_by(0, Method::FirstWriteWins, contenders)),
            Self::OperationalTransform => operational_transform::resolve(contenders),
            Self::MergeStrategies(policy) => merge_strategies::resolve(contenders, policy),
            Self::ManualResolution => manual_resolution::resolve(contenders),
        };
        Some(together.unwrap_or_else(|| Resolution::won_by(last, Method::LastWriteWins, contenders)))
    }
}

/// As it is stamped on changes: the name, and what is merged in another way than usual.
impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MergeStrategies(policy) if *policy != Policy::DEFAULT => {
                write!(f, "{}({policy})", self.name())
            }
            _ => f.write_str(self.name()),
        }
    }
}

/// Reads what `Display` wrote, and the other names.
impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        let merging = || {
            let policy = text.strip_prefix("merge_strategies(")?.strip_suffix(')')?;
            Policy::parse(policy).map(Self::MergeStrategies)
        };
        Self::named(text).or_else(merging).ok_or_else(|| UnknownStrategy(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Strategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| de::Error::custom(UnknownStrategy(name.into_owned())))
    }
}

impl JsonSchema for Strategy {
    fn schema_name() -> Cow<'static, str> {
        "Strategy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Self::ALL.into_iter().map(|strategy| strategy.name());
        let names: Vec<&str> = names.chain(Self::ALIASES.map(|(alias, _)| alias)).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

#[cfg(test)]
mod tests;

//! The strategies by name, and how each chooses among concurrent changes.
//!
//! A choice depends on the stamps alone: never on the order in which changes came, nor on anything this host remembers.

mod last_write_wins;
mod first_write_wins;

use lockstep_plugin_api::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// How concurrent changes of a key become the one value that is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    #[default]
    LastWriteWins,
    FirstWriteWins,
    OperationalTransform,
    MergeStrategies,
    ManualResolution,
}

/// No strategy has this name.
#[derive(Debug, thiserror::Error)]
#[error("Unknown conflict resolution strategy: {0}")]
pub struct UnknownStrategy(String);

/// There is nothing to choose from.
#[derive(Debug, thiserror::Error)]
#[error("there are no changes to resolve")]
pub struct NoChanges;

impl Strategy {
    /// Every strategy, in the order of the numbers they are stored as.
    pub const ALL: [Self; 5] = [
        Self::LastWriteWins,
        Self::FirstWriteWins,
        Self::OperationalTransform,
        Self::MergeStrategies,
        Self::ManualResolution,
    ];

    /// The other names a configuration may use.
    const ALIASES: [(&str, Self); 3] = [
        ("ot", Self::OperationalTransform),
        ("merge", Self::MergeStrategies),
        ("manual", Self::ManualResolution),
    ];

    /// The name, as it is stamped on changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastWriteWins => "last_write_wins",
            Self::FirstWriteWins => "first_write_wins",
            Self::OperationalTransform => "operational_transform",
            Self::MergeStrategies => "merge_strategies",
            Self::ManualResolution => "manual_resolution",
        }
    }

    /// The strategy that this version resolves by. A change that a later version stamped with one that does not exist
    /// here yet is kept as it is, and shown by the last write.
    pub fn in_force(self) -> Self {
        if self == Self::FirstWriteWins { self } else { Self::LastWriteWins }
    }

    /// Chooses among changes by their stamps, which differ.
    ///
    /// # Errors
    /// [`NoChanges`] if there are none. One change wins alone.
    pub fn choose<S: Ord>(self, stamps: &[S]) -> Result<Choice, NoChanges> {
        let winner = match self.in_force() {
            Self::FirstWriteWins => first_write_wins::winner(stamps),
            _ => last_write_wins::winner(stamps),
        };
        let winner = winner.ok_or(NoChanges)?;
        // By place and not by equality: an equal change of somebody else was discarded all the same.
        Ok(Choice { winner, discarded: (0..stamps.len()).filter(|at| *at != winner).collect() })
    }
}

/// Which of several changes is shown and which are not, by their places.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    pub winner: usize,
    pub discarded: Vec<usize>,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        let names = Self::ALL.into_iter().map(|strategy| (strategy.name(), strategy));
        let found = names.chain(Self::ALIASES).find(|(known, _)| *known == name);
        found.map(|(_, strategy)| strategy).ok_or_else(|| UnknownStrategy(name.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Strategy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Strategy {
    fn schema_name() -> Cow<'static, str> {
        "Strategy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = Self::ALL.into_iter().map(Self::name);
        let names: Vec<&str> = names.chain(Self::ALIASES.map(|(alias, _)| alias)).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_and_first_write_win_by_stamp_wherever_they_stand() {
        let chosen = |strategy: Strategy, stamps: &[u32]| {
            let choice = strategy.choose(stamps).expect("changes");
            (choice.winner, choice.discarded)
        };
        assert_eq!(chosen(Strategy::LastWriteWins, &[5, 9, 1]), (1, vec![0, 2]));
        assert_eq!(chosen(Strategy::FirstWriteWins, &[5, 9, 1]), (2, vec![0, 1]));
        assert_eq!(chosen(Strategy::FirstWriteWins, &[5]), (0, vec![]), "one change wins alone");
        assert!(Strategy::LastWriteWins.choose::<u32>(&[]).is_err());
    }

    #[test]
    fn every_name_and_alias_is_read_and_others_are_named() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.name().parse::<Strategy>().expect("a strategy"), strategy);
        }
        assert_eq!("merge".parse::<Strategy>().expect("an alias"), Strategy::MergeStrategies);
        let error = "newest".parse::<Strategy>().expect_err("unknown");
        assert_eq!(error.to_string(), "Unknown conflict resolution strategy: newest");
    }
}

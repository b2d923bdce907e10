//! What is merged how. A policy is stamped on each change together with its strategy, so that every host merges alike.

use super::paths::{Here, PathRule, Paths};
use lockstep_plugin_api::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::fmt;

/// How the parts of a value are merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What becomes of different numbers. Without it the last write wins if the value before is known, and the average
    /// is taken otherwise.
    #[serde(skip_serializing_if = "is_usual")]
    pub numbers: Option<Numbers>,
    /// What becomes of different lists.
    #[serde(skip_serializing_if = "is_usual")]
    pub lists: Lists,
    /// What becomes of different strings.
    #[serde(skip_serializing_if = "is_usual")]
    pub strings: Strings,
    /// How far down objects are merged.
    #[serde(skip_serializing_if = "is_usual")]
    pub depth: Depth,
    /// What holds at some places of the value instead, at most 32 of them; the first rule whose `match` fits counts.
    #[serde(skip_serializing_if = "is_usual")]
    #[schemars(with = "Vec<PathRule>")]
    pub paths: Paths,
}

/// What becomes of different numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// The one with the greatest stamp.
    LastWriteWins,
    /// What each author added to the value before, together.
    Delta,
    Average,
    Max,
    Min,
}

/// What becomes of different lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lists {
    /// Lists whose items are all different are sets in an order: what somebody removed is gone, what somebody added is there.
    #[default]
    Set,
    /// The one with the greatest stamp.
    Atomic,
}

/// What becomes of different strings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strings {
    /// The one with the greatest stamp.
    #[default]
    LastWriteWins,
    /// What each author changed in the text before, together.
    Text,
}

/// How far down objects are merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Depth {
    /// Field by field, on every level.
    #[default]
    Deep,
    /// Field by field on the first level; what is in a field is one value.
    Shallow,
}

impl Policy {
    /// What is merged how unless somebody says otherwise.
    pub const DEFAULT: Self = Self {
        numbers: None,
        lists: Lists::Set,
        strings: Strings::LastWriteWins,
        depth: Depth::Deep,
        paths: Paths::NONE,
    };

    /// What holds at one place of the value.
    pub fn at(&self, path: &str) -> Here {
        self.paths.at(path, self.numbers)
    }

    /// As one number below 64, for the store; `None` if it says more than that.
    pub fn bits(&self) -> Option<u64> {
        let numbers = self.numbers.map_or(0, |rule| 1 + rule as u64);
        let bits = numbers | (self.lists as u64) << 3 | (self.strings as u64) << 4 | (self.depth as u64) << 5;
        self.paths.is_none().then_some(bits)
    }

    /// Reads what [`Policy::bits`] wrote; `None` if another version wrote it.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let numbers = match bits & 7 {
            0 => None,
            rule => Some(*Numbers::ALL.get(rule as usize - 1)?),
        };
        let is = |bit: u32| bits >> bit & 1 == 1;
        (bits < 64).then_some(Self {
            numbers,
            lists: if is(3) { Lists::Atomic } else { Lists::Set },
            strings: if is(4) { Strings::Text } else { Strings::LastWriteWins },
            depth: if is(5) { Depth::Shallow } else { Depth::Deep },
            paths: Paths::NONE,
        })
    }

    /// Reads what [`Policy`]'s `Display` wrote; `None` if it is no policy.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('{') {
            return serde_json::from_str(text).ok();
        }
        let mut fields = Map::new();
        for field in text.split(',') {
            let (name, rule) = field.split_once('=')?;
            fields.insert(name.to_owned(), Json::from(rule));
        }
        serde_json::from_value(Json::Object(fields)).ok()
    }

    /// What differs from the usual, by name.
    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let usual = Self::DEFAULT;
        [
            ("numbers", self.numbers.map(|rule| name(&rule))),
            ("lists", (self.lists != usual.lists).then(|| name(&self.lists))),
            ("strings", (self.strings != usual.strings).then(|| name(&self.strings))),
            ("depth", (self.depth != usual.depth).then(|| name(&self.depth))),
        ]
        .into_iter()
        .filter_map(|(field, rule)| Some((field, rule?)))
    }
}

impl Numbers {
    /// Every rule, in the order of the numbers they are stored as.
    const ALL: [Self; 5] = [Self::LastWriteWins, Self::Delta, Self::Average, Self::Max, Self::Min];
}

/// The name that configurations use.
fn name(rule: &impl Serialize) -> String {
    let name = serde_json::to_value(rule).ok();
    name.as_ref().and_then(Json::as_str).expect("a rule is written as its name").to_owned()
}

fn is_usual<T: Default + PartialEq>(rule: &T) -> bool {
    *rule == T::default()
}

/// `numbers=delta,lists=atomic`: what differs from the usual; as JSON if some places have rules of their own.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.paths.is_none() {
            return f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?);
        }
        for (i, (field, rule)) in self.fields().enumerate() {
            write!(f, "{}{field}={rule}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_read_as_it_is_written() {
        let policies: Vec<Policy> = (0..64).filter_map(Policy::from_bits).collect();
        assert_eq!(policies.len(), 6 * 8);
        for policy in policies {
            assert_eq!(policy.bits().and_then(Policy::from_bits).as_ref(), Some(&policy));
            if policy != Policy::DEFAULT {
                assert_eq!(Policy::parse(&policy.to_string()).as_ref(), Some(&policy), "{policy}");
            }
        }
        let policy = Policy { numbers: Some(Numbers::Delta), depth: Depth::Shallow, ..Policy::DEFAULT };
        assert_eq!(policy.to_string(), "numbers=delta,depth=shallow");
        let placed = r#"{"numbers":"max","paths":[{"match":"/a,(b)","type":"integer","x-merge":"lww"}]}"#;
        let policy = Policy::parse(placed).expect("a policy");
        assert_eq!((policy.to_string().as_str(), policy.bits()), (placed, None));
        for text in ["", "numbers", "numbers=sum", "colour=red", "numbers=delta,", "{", r#"{"paths":[5]}"#] {
            assert_eq!(Policy::parse(text), None, "{text}");
        }
        assert_eq!((Policy::from_bits(6), Policy::from_bits(64)), (None, None));
    }
}

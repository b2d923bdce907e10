//! Rules of their own for some places of a value (contract D-44): a JSON Schema in small, place by place.
//!
//! They are stamped on every change with the rest of the policy, so there are not many of them, and they are short.

use super::Numbers;
use lockstep_plugin_api::schemars::{self, JsonSchema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::sync::Arc;

/// How many places may have a rule of their own.
const MOST_RULES: usize = 32;

/// How long their pointers may be together, in bytes.
const MOST_BYTES: usize = 1024;

/// The rules; the first one whose `match` fits a place counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths(Option<Arc<[PathRule]>>);

/// How some places of a value are merged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathRule {
    /// A JSON pointer (RFC 6901) into the value, such as `/pool/max`; `*` as a step is any field, and nothing at all the
    /// whole value.
    #[serde(rename = "match")]
    pattern: String,
    /// Absent: any number.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// What becomes of different values; absent: what becomes of them elsewhere.
    #[serde(rename = "x-merge", default, skip_serializing_if = "Option::is_none")]
    merge: Option<Way>,
}

/// What a place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A mean is rounded to a whole number; one that lies between two becomes the even one.
    Integer,
}

/// What becomes of different values at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// The one with the greatest stamp, as one value, whatever it is.
    Lww,
    /// The greatest number.
    Max,
    /// The smallest number.
    Min,
    /// What each author added to the number before, together.
    Sum,
    /// The mean of the numbers.
    Average,
    /// A person decides about the key, as under `manual_resolution`.
    Manual,
}

/// What holds at one place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Here {
    pub numbers: Option<Numbers>,
    /// Whether a mean is a whole number.
    pub is_integer: bool,
    /// Whether what is there is one value, of which nothing is put together.
    pub is_one_value: bool,
    /// Whether a person decides between different values.
    pub is_left: bool,
}

/// The rules cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("there are {0} rules, and {MOST_RULES} at most")]
    TooMany(usize),
    #[error("their `match`es are {0} bytes long together, and {MOST_BYTES} at most")]
    TooLong(usize),
    #[error(
        "`{0}` is no JSON pointer (RFC 6901): it is empty or begins with `/`, and `~` stands before `0` or `1`"
    )]
    NoPointer(String),
}

impl Paths {
    /// No place has a rule of its own.
    pub const NONE: Self = Self(None);

    /// Whether no place has one.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether one of them leaves something to a person.
    pub fn may_ask(&self) -> bool {
        self.rules().iter().any(|rule| rule.merge == Some(Way::Manual))
    }

    /// What holds at a place, given what becomes of numbers elsewhere.
    pub fn at(&self, path: &str, numbers: Option<Numbers>) -> Here {
        let rule = self.rules().iter().find(|rule| fits(&rule.pattern, path));
        rule.map_or(Here { numbers, ..Here::default() }, |rule| rule.here(numbers))
    }

    fn rules(&self) -> &[PathRule] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl PathRule {
    fn here(&self, elsewhere: Option<Numbers>) -> Here {
        let numbers = match self.merge {
            None => elsewhere,
            Some(Way::Lww | Way::Manual) => Some(Numbers::LastWriteWins),
            Some(Way::Max) => Some(Numbers::Max),
            Some(Way::Min) => Some(Numbers::Min),
            Some(Way::Sum) => Some(Numbers::Delta),
            Some(Way::Average) => Some(Numbers::Average),
        };
        Here {
            numbers,
            is_integer: self.kind == Some(Kind::Integer),
            is_one_value: matches!(self.merge, Some(Way::Lww | Way::Manual)),
            is_left: self.merge == Some(Way::Manual),
        }
    }
}

/// Whether a pattern fits a place; both are pointers, in which every name is written in one way only.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut steps, mut names) = (pattern.split('/'), path.split('/'));
    loop {
        match (steps.next(), names.next()) {
            (None, None) => return true,
            (Some(step), Some(name)) if step == name || step == "*" => {}
            _ => return false,
        }
    }
}

fn is_pointer(text: &str) -> bool {
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(is_escape)
}

impl TryFrom<Vec<PathRule>> for Paths {
    type Error = Unfit;

    fn try_from(rules: Vec<PathRule>) -> Result<Self, Unfit> {
        if rules.len() > MOST_RULES {
            return Err(Unfit::TooMany(rules.len()));
        }
        let n_bytes = rules.iter().map(|rule| rule.pattern.len()).sum();
        if n_bytes > MOST_BYTES {
            return Err(Unfit::TooLong(n_bytes));
        }
        if let Some(rule) = rules.iter().find(|rule| !is_pointer(&rule.pattern)) {
            return Err(Unfit::NoPointer(rule.pattern.clone()));
        }
        Ok(Self(Some(rules).filter(|rules| !rules.is_empty()).map(Arc::from)))
    }
}

impl Serialize for Paths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rules().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn paths(rules: Json) -> Result<Paths, serde_json::Error> {
        serde_json::from_value(rules)
    }

    #[test]
    fn the_first_rule_that_fits_a_place_counts() {
        let paths = paths(json!([
            {"match": "/pool/max", "x-merge": "max"},
            {"match": "/pool/plain"},
            {"match": "/*/a~1b", "type": "integer"},
            {"match": "/pool/*", "x-merge": "manual"},
            {"match": "", "x-merge": "lww"},
        ]))
        .expect("rules");
        let here = |path| paths.at(path, Some(Numbers::Average));
        let usual = Here { numbers: Some(Numbers::Average), ..Here::default() };
        let last = Here { numbers: Some(Numbers::LastWriteWins), is_one_value: true, ..Here::default() };
        assert_eq!(here("/pool/max"), Here { numbers: Some(Numbers::Max), ..usual });
        assert_eq!(here("/pool/plain"), usual);
        assert_eq!(here("/pool/a~1b"), Here { is_integer: true, ..usual });
        assert_eq!(here("/pool/min"), Here { is_left: true, ..last });
        assert_eq!((here(""), here("/pool"), here("/pool/min/x")), (last, usual, usual));
        assert!(paths.may_ask() && !Paths::NONE.may_ask());
    }

    #[test]
    fn rules_that_cannot_be_meant_or_kept_are_refused_with_the_reason() {
        let many = Json::Array(vec![json!({"match": "/a"}); MOST_RULES + 1]);
        for (rules, reason) in [
            (json!([{"match": "pool/max"}]), "`pool/max` is no JSON pointer"),
            (json!([{"match": "/a~2"}]), "`/a~2` is no JSON pointer"),
            (json!([{"match": "/a", "x-merge": "newest"}]), "`newest`"),
            (json!([{"match": "/a", "type": "string"}]), "`string`"),
            (json!([{"match": "/a", "merge": "max"}]), "`merge`"),
            (many, "33 rules, and 32 at most"),
            (json!([{"match": format!("/{}", "x".repeat(MOST_BYTES))}]), "1025 bytes"),
        ] {
            let error = paths(rules).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(paths(json!([])).expect("none"), Paths::NONE);
    }
}

//! A place in the history of a host, as it is written in a query, in a body and on the command line.

use lockstep_plugin_api::time;
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// `42`, `EPOCH:42`, or a time such as `2026-01-31T12:00:00Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// After this revision of the log; of the host's own one, if no epoch is said.
    Revision { epoch: Option<String>, revision: u64 },
    /// In microseconds since 1970, by the clock of the host when it committed.
    Time(i64),
}

/// It is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a revision (`42`, `EPOCH:42`) or a time (`2026-01-31T12:00:00Z`) is expected")]
pub struct NoMoment;

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        if let Ok(revision) = text.parse() {
            return Ok(Self::Revision { epoch: None, revision });
        }
        if let Ok(at_us) = time::parse_us(text) {
            return Ok(Self::Time(at_us));
        }
        let is_epoch = |epoch: &str| !epoch.is_empty() && !begins_as_a_date(epoch);
        let (epoch, revision) = text.rsplit_once(':').filter(|(epoch, _)| is_epoch(epoch)).ok_or(NoMoment)?;
        let revision = revision.parse().map_err(|_| NoMoment)?;
        Ok(Self::Revision { epoch: Some(epoch.to_owned()), revision })
    }
}

/// `2026-02-30T12:00`: a time that there is not, and no revision 0 of another log.
fn begins_as_a_date(text: &str) -> bool {
    matches!(text.as_bytes(), [_, _, _, _, b'-', _, _, b'-', ..])
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision { epoch: None, revision } => write!(f, "{revision}"),
            Self::Revision { epoch: Some(epoch), revision } => write!(f, "{epoch}:{revision}"),
            Self::Time(at_us) => f.write_str(&time::format_us(*at_us)),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written<'a> {
            Number(u64),
            Text(Cow<'a, str>),
        }
        match Written::deserialize(deserializer).map_err(|_| de::Error::custom(NoMoment))? {
            Written::Number(revision) => Ok(Self::Revision { epoch: None, revision }),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_revision_or_a_time() {
        let at =
            |epoch: Option<&str>, revision| Moment::Revision { epoch: epoch.map(str::to_owned), revision };
        for (text, expected) in [
            ("42", at(None, 42)),
            ("0198-a:42", at(Some("0198-a"), 42)),
            ("1970-01-01T00:00:01Z", Moment::Time(1_000_000)),
            ("1970-01-01T00:00:01.5+00:00", Moment::Time(1_500_000)),
            ("1970-01-01T00:01", Moment::Time(60_000_000)),
        ] {
            let moment: Moment = text.parse().expect(text);
            assert_eq!(moment, expected, "{text}");
            assert_eq!(moment.to_string().parse(), Ok(expected), "{text}");
        }
        for text in
            ["", ":42", "-1", "yesterday", "e:", "e:x", "2026-02-30T12:00", "2026-13-01T12:00:00+01:00"]
        {
            assert_eq!(text.parse::<Moment>(), Err(NoMoment), "{text}");
        }
        assert_eq!(serde_json::from_str::<Moment>("7").expect("a number"), at(None, 7));
        assert_eq!(serde_json::from_str::<Moment>("\"e:7\"").expect("a text"), at(Some("e"), 7));
    }
}

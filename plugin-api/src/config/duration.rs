//! `30s`, `250ms`, or a bare number in the field's own unit.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt, time::Duration};

/// A duration whose bare numbers are seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

/// A duration whose bare numbers are milliseconds; for fields whose name ends in `_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub Duration);

/// Reads `1h30m`, `30s`, `250ms`, `100us`: whole or decimal numbers, each with its unit.
///
/// # Errors
/// A sentence that says which forms are read.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = number.parse::<f64>().ok().zip(unit_seconds(unit)).map(|(number, unit)| number * unit);
        let part = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| format!("`{text}` is not a duration: write `30s`, `250ms` or `1h30m`"))?;
        rest = after.trim_start();
    }
    if text.trim().is_empty() {
        Err("a duration must not be empty: write `30s`".to_owned())
    } else {
        Ok(total)
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    })
}

struct Visitor {
    /// What a bare number counts.
    unit: Duration,
}

impl de::Visitor<'_> for Visitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `30s` or `250ms`, or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(number * self.unit.as_secs_f64())
            .map_err(|_| E::custom(format!("`{number}` is not a duration")))
    }
}

fn schema(unit: &str) -> Schema {
    json_schema!({
        "description": format!("A duration such as `30s` or `250ms`; a bare number counts {unit}."),
        "anyOf": [
            { "type": "number", "minimum": 0 },
            { "type": "string", "pattern": r"^\s*([0-9.]+(us|ms|s|min|m|h|d)\s*)+$" },
        ],
    })
}

macro_rules! duration {
    ($name:ident, $unit:expr, $unit_name:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Visitor { unit: $unit }).map(Self)
            }
        }
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schema($unit_name)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{:?}", self.0))
            }
        }
        impl From<$name> for Duration {
            fn from(duration: $name) -> Self {
                duration.0
            }
        }
    };
}
duration!(Seconds, Duration::from_secs(1), "seconds");
duration!(Millis, Duration::from_millis(1), "milliseconds");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_form() {
        let cases =
            [("30s", 30_000), ("250ms", 250), ("1h30m", 5_400_000), ("1.5s", 1500), ("2min", 120_000)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "30 parsecs", "-1s", "1e400s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_has_the_fields_unit() {
        assert_eq!(serde_json::from_str::<Seconds>("2").expect("read").0, Duration::from_secs(2));
        assert_eq!(serde_json::from_str::<Millis>("2").expect("read").0, Duration::from_millis(2));
        assert!(serde_json::from_str::<Seconds>("-2").is_err());
    }
}

//! How durations, sizes and lists of folders are written: `5s`, `250ms`, `64MiB`, `/a:/b`.
//!
//! Read as plugins read theirs, by the same code. Written back, a value reads the same: `config show` prints what may be pasted into a file.

use std::borrow::Cow;
use std::path::PathBuf;

use lockstep_plugin_api::config::{parse_duration, parse_size};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de};

/// A number, or a number with a unit, as both YAML and the environment give them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(u64),
    Fraction(f64),
    Text(String),
}

/// Durations: `5s`, `250ms`, `2m`, `1h`, `1d`; a bare number is in seconds.
pub mod duration {
    use super::*;
    use std::time::Duration;

    const UNITS: [(&str, u128); 5] =
        [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

    /// A duration as a file gives it; also stands for one in the schema.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub struct Text(pub Duration);

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserialize(deserializer).map(Self)
        }
    }

    /// Reads `5s`, `1.5s`, `250ms`, `1h30m` or `5` (seconds).
    pub fn parse(text: &str) -> Result<Duration, String> {
        let number = text.trim().parse::<f64>().ok().map(Duration::try_from_secs_f64);
        match number {
            Some(seconds) => seconds.map_err(|_| format!("`{text}` is not a duration: {EXPECTED}")),
            None => parse_duration(text),
        }
    }

    /// Writes the largest unit that loses nothing.
    pub fn format(value: Duration) -> String {
        let micros = value.as_micros();
        let fits = |unit: u128| micros.is_multiple_of(unit) && micros >= unit;
        match UNITS.iter().rev().find(|(_, unit)| fits(*unit)) {
            None => "0s".into(),
            // Minutes only from ten on: `60s` says more than `1m` beside fields in seconds.
            Some(("m", unit)) if micros / unit < 10 => format!("{}s", micros / 1_000_000),
            Some((name, unit)) => format!("{}{name}", micros / unit),
        }
    }

    pub(crate) const EXPECTED: &str = "write `30s`, `250ms`, `1h30m` or a number of seconds";

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&super::written(deserializer, EXPECTED)?).map_err(de::Error::custom)
    }

    impl JsonSchema for Text {
        fn schema_name() -> Cow<'static, str> {
            "Duration".into()
        }
        fn schema_id() -> Cow<'static, str> {
            "lockstep::duration".into()
        }
        fn inline_schema() -> bool {
            true
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": ["string", "number"], "format": "duration-text", "minimum": 0 })
        }
    }
}

/// Sizes in bytes: `64MiB`, `10KiB`, `1GB`; a bare number is in bytes.
pub mod size {
    use super::*;

    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

    /// A size as a file gives it; also stands for one in the schema.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub struct Text(pub u64);

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserialize(deserializer).map(Self)
        }
    }

    /// Reads `64MiB`, `10KB` or `1000`.
    pub fn parse(text: &str) -> Result<u64, String> {
        parse_size(text)
    }

    /// Writes the largest binary unit that loses nothing.
    pub fn format(bytes: u64) -> String {
        match UNITS.iter().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale)) {
            Some((name, scale)) => format!("{}{name}", bytes / scale),
            None => bytes.to_string(),
        }
    }

    pub(crate) const EXPECTED: &str = "write `64MiB`, `10KB` or a number of bytes";

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        parse(&super::written(deserializer, EXPECTED)?).map_err(de::Error::custom)
    }

    impl JsonSchema for Text {
        fn schema_name() -> Cow<'static, str> {
            "Size".into()
        }
        fn schema_id() -> Cow<'static, str> {
            "lockstep::size".into()
        }
        fn inline_schema() -> bool {
            true
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": ["string", "integer"], "format": "size-text", "minimum": 0 })
        }
    }
}

/// Stands for a list of folders in the schema.
pub struct PathListText;

impl JsonSchema for PathListText {
    fn schema_name() -> Cow<'static, str> {
        "PathList".into()
    }
    fn schema_id() -> Cow<'static, str> {
        "lockstep::path-list".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["array", "string"], "items": { "type": "string" } })
    }
}

/// Reads a list of folders, or one string with `:` between them as in `PATH`.
pub fn path_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Folders {
        List(Vec<PathBuf>),
        Joined(String),
    }
    Ok(match Folders::deserialize(deserializer)? {
        Folders::List(folders) => folders,
        Folders::Joined(text) => std::env::split_paths(&text).filter(|p| !p.as_os_str().is_empty()).collect(),
    })
}

fn written<'de, D: Deserializer<'de>>(deserializer: D, expected: &str) -> Result<String, D::Error> {
    match Written::deserialize(deserializer) {
        Ok(Written::Whole(number)) => Ok(number.to_string()),
        Ok(Written::Fraction(number)) => Ok(number.to_string()),
        Ok(Written::Text(text)) => Ok(text),
        Err(_) => Err(de::Error::custom(expected)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn durations_are_read_with_their_unit_and_bare_numbers_are_seconds() {
        for (text, millis) in
            [("5s", 5_000), ("250ms", 250), ("5", 5_000), ("1.5", 1_500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration::parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5 lightyears", "s", "-5s", "1e400", "9999999999999999999999h"] {
            assert!(duration::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit_and_bare_numbers_are_bytes() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("10KiB", 10 << 10),
            ("1000", 1000),
            ("1GB", 1_000_000_000),
            ("2 KiB", 2048),
        ] {
            assert_eq!(size::parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1 pound", "-1", "99999999999GiB"] {
            assert!(size::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for micros in [
            0,
            1,
            999,
            1_000,
            250_000,
            1_000_000,
            1_500_000,
            60_000_000,
            300_000_000,
            3_600_000_000,
            86_400_000_000,
        ] {
            let value = Duration::from_micros(micros);
            assert_eq!(duration::parse(&duration::format(value)), Ok(value), "{}", duration::format(value));
        }
        for bytes in [0, 1, 1000, 1024, 1536, 1 << 20, 1 << 30, 3 << 30] {
            assert_eq!(size::parse(&size::format(bytes)), Ok(bytes), "{}", size::format(bytes));
        }
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let written: Vec<_> = [30_000, 300_000, 250, 0, 1_500, 7_200_000, 600_000]
            .map(|millis| duration::format(Duration::from_millis(millis)))
            .into();
        assert_eq!(written, ["30s", "300s", "250ms", "0s", "1500ms", "2h", "10m"]);
    }
}

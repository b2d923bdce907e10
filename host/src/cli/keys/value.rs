//! What `set` is given: a value, as JSON in the command line or in a file, or as text that becomes a JSON string; or
//! operations on the value that is there.

use super::super::live::CommandError;
use clap::Args;
use serde_json::value::RawValue;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct GivenValue {
    /// The value as JSON: 5432, true, '"text"', '{"a": 1}'
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
    /// The value is this text, as a JSON string
    #[arg(long, value_name = "TEXT", alias = "json-string", allow_hyphen_values = true)]
    string: Option<String>,
    /// The value is the JSON in this file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What is done to the value instead of a value: operations as JSON, in a file (`@FILE`), or on standard input (`-`)
    #[arg(long, value_name = "JSON|@FILE|-")]
    ops: Option<String>,
}

/// What becomes of the key.
#[derive(Debug)]
pub(super) enum Given {
    Value(Box<RawValue>),
    Operations(Box<RawValue>),
}

impl GivenValue {
    /// What is sent.
    pub fn read(&self) -> Result<Given, CommandError> {
        match &self.ops {
            Some(ops) => operations(ops).map(Given::Operations),
            None => self.value().map(Given::Value),
        }
    }

    /// The value: JSON, byte for byte as it was given.
    fn value(&self) -> Result<Box<RawValue>, CommandError> {
        if let Some(text) = &self.string {
            let text = serde_json::value::to_raw_value(text);
            return Ok(text.expect("text can be written as JSON"));
        }
        if let Some(file) = &self.file {
            return json_in(file);
        }
        let given = self.value.as_deref().unwrap_or_default();
        json(given).map_err(|place| {
            CommandError::BadArgument(format!(
                "VALUE is JSON, and this is not ({place}); for text, quote it for the shell and for JSON, as \
                 '\"text\"', or use `--string text`"
            ))
        })
    }
}

/// What an option that takes JSON was given.
pub(in crate::cli) fn given_json(option: &str, text: &str) -> Result<Box<RawValue>, CommandError> {
    json(text).map_err(|place| {
        CommandError::BadArgument(format!(
            "{option} takes JSON, and this is not ({place}); for text, quote it for the shell and for JSON, as '\"text\"'"
        ))
    })
}

fn operations(given: &str) -> Result<Box<RawValue>, CommandError> {
    match given.strip_prefix('@') {
        Some(file) => json_in(Path::new(file)),
        None if given == "-" => json_in(Path::new(given)),
        None => json(given).map_err(|place| {
            let text = format!("--ops takes operations as JSON, `@FILE` or `-`, and this is none ({place})");
            CommandError::BadArgument(text)
        }),
    }
}

fn json_in(file: &Path) -> Result<Box<RawValue>, CommandError> {
    let name = file.display();
    let text =
        read(file).map_err(|error| CommandError::BadArgument(format!("{name} cannot be read: {error}")))?;
    json(&text).map_err(|place| CommandError::BadArgument(format!("{name} is not one JSON value ({place})")))
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        return io::stdin().read_to_string(&mut text).map(|_| text);
    }
    std::fs::read_to_string(file)
}

/// Nothing of the text is in the error: it may be a secret.
fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text).map_err(|error| format!("line {}, column {}", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: GivenValue, expected: Result<&str, &str>) {
        match (value.read(), expected) {
            (Ok(Given::Value(found)), Ok(expected)) => assert_eq!(found.get(), expected),
            (Err(error), Err(part)) => {
                assert!(error.is_refusal() && error.to_string().contains(part), "{error}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    fn given(value: &str) -> GivenValue {
        GivenValue { value: Some(value.to_owned()), ..nothing() }
    }

    fn nothing() -> GivenValue {
        GivenValue { value: None, string: None, file: None, ops: None }
    }

    #[test]
    fn a_value_is_json_and_stays_as_it_was_written() {
        for json in ["1.10", "-5", "null", r#""text""#, r#"{"a": [1, 1e400]}"#] {
            check(given(json), Ok(json));
        }
    }

    #[test]
    fn text_that_is_no_json_is_refused_with_the_two_ways_to_say_it() {
        for text in ["db1.example", "hunter2", "", "1 2", "{a: 1}"] {
            check(given(text), Err("--string"));
            let error = given(text).read().expect_err("no JSON").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn text_and_files_are_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("value.json");
        std::fs::write(&file, "[1,\n 2]\n").expect("written");
        check(GivenValue { file: Some(file.clone()), ..nothing() }, Ok("[1,\n 2]"));
        std::fs::write(&file, "[1,").expect("written");
        check(GivenValue { file: Some(file.clone()), ..nothing() }, Err("value.json"));
        check(GivenValue { ops: Some(format!("@{}", file.display())), ..nothing() }, Err("value.json"));
        let none = folder.path().join("none");
        check(GivenValue { file: Some(none), ..nothing() }, Err("cannot be read"));
        check(GivenValue { string: Some("5".into()), ..nothing() }, Ok(r#""5""#));
    }

    #[test]
    fn operations_are_json_in_the_command_line_or_in_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ops.json");
        std::fs::write(&file, r#"[5, "x"]"#).expect("written");
        for ops in [r#"[5, "x"]"#.to_owned(), format!("@{}", file.display())] {
            let read = GivenValue { ops: Some(ops), ..nothing() }.read().expect("operations");
            assert!(matches!(read, Given::Operations(ops) if ops.get() == r#"[5, "x"]"#));
        }
        check(GivenValue { ops: Some("hunter2".into()), ..nothing() }, Err("--ops takes"));
    }
}

//! From a line to a record: its key, or why it cannot be read.

use crate::{config::Format, lines::Line};
use lockstep_plugin_api::prelude::*;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// The only part of a change that a line is read for; everything else is checked to be JSON and left alone.
#[derive(Deserialize)]
struct Keyed<'a> {
    #[serde(borrow, default)]
    config_key: Option<&'a RawValue>,
}

/// Makes the record of a line; one that cannot be read carries its error.
pub fn read(line: &Line, format: Format) -> Record {
    let record = Record::new(line.content.clone());
    if line.is_oversize {
        let details = serde_json::json!({ "offset": line.end, "bytes": line.length });
        let error = Error::rejected("too_large", "the line is longer than `max_line_bytes`");
        return record.with_error(error.with_details(&details));
    }
    if format == Format::Lines {
        return record;
    }
    match key_of(&line.content) {
        Ok(Some(key)) => record.with_key(key),
        Ok(None) => record,
        Err(error) => record.with_error(error),
    }
}

/// The `config_key` of a JSON object, sharing the line's buffer if it has no escapes.
fn key_of(content: &Bytes) -> Result<Option<Bytes>> {
    // serde_json does not look at the bytes of strings it skips.
    let text = std::str::from_utf8(content).map_err(|error| {
        let at = error.valid_up_to() + 1;
        Error::rejected("bad_message", format!("the line is not UTF-8 (column {at})"))
    })?;
    if !text.trim_ascii_start().starts_with('{') {
        return serde_json::from_str::<IgnoredAny>(text).map(|_| None).map_err(not_json);
    }
    let keyed: Keyed<'_> = serde_json::from_str(text).map_err(not_json)?;
    Ok(keyed.config_key.and_then(|raw| string_of(content, raw.get())))
}

fn string_of(content: &Bytes, json: &str) -> Option<Bytes> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str::<String>(json).ok().map(Bytes::from);
    }
    content.slice_of(inner.as_bytes())
}

/// Says where, never what: the line may hold a secret.
fn not_json(error: serde_json::Error) -> Error {
    let what =
        if error.is_eof() { "the line ends in the middle of its JSON" } else { "the line is not JSON" };
    Error::rejected("bad_message", format!("{what} (column {})", error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;

    fn read_text(text: &[u8], format: Format) -> Record {
        let mut lines = Lines::at(0, 1000);
        lines.feed(text);
        read(&lines.finish().expect("a line"), format)
    }

    #[test]
    fn the_key_is_the_config_key() {
        for (text, key) in [
            (r#"{"config_key":"app.x","new_value":{"config_key":"no"}}"#, Some("app.x")),
            (r#"  {"a":1, "config_key" : "a\u002eb"}"#, Some("a.b")),
            (r#"{"config_key":5}"#, None),
            (r#"{"config_key":null}"#, None),
            (r#"["config_key"]"#, None),
            ("17", None),
        ] {
            let record = read_text(text.as_bytes(), Format::Json);
            assert_eq!((record.key_str(), record.error().is_none()), (key, true), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_a_failed_record_and_its_error_does_not_quote_it() {
        let deep = "[".repeat(100_000);
        let cases: [&[u8]; 7] = [
            b"hunter2",
            br#"{"config_key":"hunter2""#,
            br#"{"config_key":"a"} hunter2"#,
            b"{\"a\":\"hunter2\xff\"}",
            br#"{"a":"hunter2", "config_key":"a", "config_key":"b"}"#,
            br#"{'hunter2':1}"#,
            deep.as_bytes(),
        ];
        for text in cases {
            let mut lines = Lines::at(0, 1 << 20);
            lines.feed(text);
            let record = read(&lines.finish().expect("a line"), Format::Json);
            let error = record.error().expect("an error");
            assert_eq!(error.code(), Some("bad_message"));
            assert!(!error.message().contains("hunter2"), "{error}");
            assert_eq!(record.raw_value().map(|value| value.len()), Some(text.len()), "the content is kept");
        }
    }

    #[test]
    fn as_lines_anything_is_a_record() {
        assert!(read_text(b"not JSON \xff", Format::Lines).error().is_none());
    }
}

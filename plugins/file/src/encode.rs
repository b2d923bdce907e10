//! One record, one line.

use lockstep_plugin_api::prelude::*;
use serde::de::IgnoredAny;

/// Appends the record's value and a newline to `buffer`.
///
/// # Errors
/// `Rejected` if the record has no value, or one that cannot be told apart as a line.
pub fn push_line(buffer: &mut Vec<u8>, record: &Record) -> Result<()> {
    let value =
        record.value().ok_or_else(|| Error::rejected("bad_message", "the record has no value to write"))?;
    if memchr::memchr(b'\n', &value).is_none() {
        buffer.extend_from_slice(&value);
    } else {
        push_compact(buffer, &value)?;
    }
    buffer.push(b'\n');
    Ok(())
}

/// JSON on several lines is the same JSON without the whitespace between its tokens.
fn push_compact(buffer: &mut Vec<u8>, value: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(value).map_err(|_| not_a_line())?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| not_a_line())?;
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if !in_string && matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        }
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
        buffer.push(byte);
    }
    Ok(())
}

fn not_a_line() -> Error {
    Error::rejected(
        "bad_message",
        "the value has a newline and is not JSON, so it cannot be written as one line",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: &str) -> Result<String> {
        let mut buffer = Vec::new();
        push_line(&mut buffer, &Record::new(value))?;
        Ok(String::from_utf8(buffer).expect("text"))
    }

    #[test]
    fn a_value_is_written_as_it_is_if_it_is_one_line() {
        assert_eq!(line("{ \"a\" : 1 }").expect("a line"), "{ \"a\" : 1 }\n");
        assert_eq!(line("not json").expect("a line"), "not json\n");
    }

    #[test]
    fn json_on_several_lines_becomes_one_and_keeps_its_strings() {
        let pretty = "{\n  \"a \\\" b\" : [ 1,\r\n\t2 ],\n  \"c\\\\\" : \" d \"\n}";
        assert_eq!(line(pretty).expect("a line"), "{\"a \\\" b\":[1,2],\"c\\\\\":\" d \"}\n");
    }

    #[test]
    fn what_cannot_be_one_line_is_rejected() {
        for value in ["two\nlines", "{\"a\":\n", "\"raw\nnewline\""] {
            assert_eq!(line(value).expect_err(value).code(), Some("bad_message"));
        }
        let mut empty = Record::new("x");
        empty.set_value(None);
        assert_eq!(push_line(&mut Vec::new(), &empty).expect_err("no value").kind(), ErrorKind::REJECTED);
    }
}

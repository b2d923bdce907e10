//! Where a byte of a scalar's value stands in the text: quotes, escapes and folded lines make the two differ.

use std::ops::Range;

use super::yaml::Style;

/// The place in `text` of byte `offset` of the value that is written at `written`.
///
/// Follows value and text side by side; where they cannot be followed, the answer is the start of the scalar.
pub(super) fn in_text(text: &str, written: &Range<usize>, style: Style, offset: usize) -> usize {
    let slice = &text[written.clone()];
    let start = match style {
        Style::SingleQuoted | Style::DoubleQuoted => 1,
        Style::Block if slice.starts_with(['|', '>']) => slice.find('\n').map_or(0, |newline| newline + 1),
        Style::Plain | Style::Block | Style::Collection => 0,
    };
    written.start + walk(slice, start, style, offset).unwrap_or(0)
}

/// `offset` counts bytes of the value, the result bytes of its text.
fn walk(slice: &str, start: usize, style: Style, offset: usize) -> Option<usize> {
    let (mut at, mut value) = (start, 0);
    if style == Style::Block {
        at += indentation(&slice[at..]);
    }
    while value < offset {
        let rest = slice.get(at..)?;
        let c = rest.chars().next()?;
        let (text_bytes, value_bytes) = match (style, c) {
            // A line break in the text is one space or line break in the value, the indentation after it nothing.
            (_, '\n') => (1 + indentation(&rest[1..]), 1),
            (Style::SingleQuoted, '\'') => (2, 1),
            (Style::DoubleQuoted, '\\') => escape(rest)?,
            _ => (c.len_utf8(), c.len_utf8()),
        };
        at += text_bytes;
        value += value_bytes;
    }
    (at <= slice.len()).then_some(at)
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Length of an escape in the text and in the value.
fn escape(rest: &str) -> Option<(usize, usize)> {
    let digits = match rest.as_bytes().get(1)? {
        b'x' => 2,
        b'u' => 4,
        b'U' => 8,
        _ => return Some((2, 1)),
    };
    let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
    Some((2 + digits, char::from_u32(code)?.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, style: Style, offset: usize, expect: &str) {
        let at = in_text(text, &(0..text.len()), style, offset);
        assert_eq!(&text[at..at + expect.len()], expect, "{text}");
    }

    #[test]
    fn offsets_survive_quotes_escapes_and_line_breaks() {
        check("key == x", Style::Plain, 7, "x");
        check("'it''s == x'", Style::SingleQuoted, 8, "x");
        check(r#""a \"b\" == x""#, Style::DoubleQuoted, 9, "x");
        check(r#""\u2603 == x""#, Style::DoubleQuoted, 7, "x");
        check("ñ == x", Style::Plain, 6, "x");
        check("a &&\n      b == x", Style::Plain, 10, "x");
        check("|\n    a &&\n    b == x\n", Style::Block, 10, "x");
    }

    #[test]
    fn an_offset_past_the_end_is_the_start() {
        check("abc", Style::Plain, 99, "abc");
    }
}

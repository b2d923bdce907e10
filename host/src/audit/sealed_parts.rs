//! Where sealed values lie in a JSON text, however deep: found in one pass over its bytes.
//!
//! Invariant: nothing outside of them is looked at as more than brackets, strings and names, so no number is rounded and no
//! depth is too much.

use std::ops::Range;

/// The name of the one field of a sealed value.
const SEALED: &str = "$enc";

/// The longest way to write it, quoted: every letter as an escape.
const LONGEST: usize = 2 + 6 * SEALED.len();

/// An object or list that is not at its end yet.
struct Open {
    begin: usize,
    /// No field of it has another name.
    holds_no_other: bool,
    /// One that has the name is an object.
    holds_sealed: bool,
}

/// The sealed values of a JSON text, in order, and none that lies in another one. What is sealed is an object that has no
/// field but `$enc`, itself an object.
pub(super) fn sealed_parts(json: &str) -> Vec<Range<usize>> {
    let bytes = json.as_bytes();
    let (mut open, mut found): (Vec<Open>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                if let (Some(value), Some(object)) = (value_of_name(bytes, end), open.last_mut()) {
                    let is_sealed = is_name_of_sealed(&json[at..end]);
                    object.holds_no_other &= is_sealed;
                    object.holds_sealed |= is_sealed && bytes.get(value) == Some(&b'{');
                }
                at = end;
                continue;
            }
            b'{' | b'[' => open.push(Open { begin: at, holds_no_other: true, holds_sealed: false }),
            b'}' | b']' => {
                let sealed = open.pop().filter(|object| object.holds_no_other && object.holds_sealed);
                if let Some(Open { begin, .. }) = sealed {
                    found.truncate(found.partition_point(|inner| inner.start < begin));
                    found.push(begin..at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Behind the quote that ends the string beginning at `begin`.
fn string_end(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where the value begins, if the string that ends here is a field's name.
fn value_of_name(bytes: &[u8], end: usize) -> Option<usize> {
    let next =
        |from: usize| Some(from + bytes.get(from..)?.iter().position(|byte| !byte.is_ascii_whitespace())?);
    let colon = next(end).filter(|at| bytes[*at] == b':')?;
    next(colon + 1)
}

fn is_name_of_sealed(quoted: &str) -> bool {
    quoted.len() <= LONGEST && serde_json::from_str::<String>(quoted).is_ok_and(|name| name == SEALED)
}

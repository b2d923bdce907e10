//! What a source of the ring holds -> its keys: one, or lines `name: key`.
//!
//! What is wrong is said without what was read.

use crate::{cipher::KeyBytes, config::id_problem};
use lockstep_plugin_api::key_material::of_text;

/// What a key has to be.
const EXPECTED: &str = "a key is 32 bytes, as 64 hex digits or 44 characters of base64";

/// A key and its name, as a source without `id` lists them.
pub type Line = (String, KeyBytes);

/// Reads the one key of a source, as it is written there.
///
/// # Errors
/// A sentence that says what a key has to be.
pub fn one_key(raw: &[u8], written: fn(&[u8]) -> Result<KeyBytes, &'static str>) -> Result<KeyBytes, String> {
    written(raw).map_err(|what| {
        let lines =
            if raw.contains(&b':') { "; a source with lines `name: key` is one without `id`" } else { "" };
        format!("{EXPECTED}; {what}{lines}")
    })
}

/// Reads lines `name: key`; empty ones and those that begin with `#` are left out.
///
/// # Errors
/// A sentence that names the line.
pub fn lines(raw: &[u8]) -> Result<Vec<Line>, String> {
    let text =
        std::str::from_utf8(raw).map_err(|_| "not UTF-8; without `id` a source has lines `name: key`")?;
    let mut keys: Vec<Line> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (id, key) = line.split_once(':').ok_or_else(|| format!("line {number} is not `name: key`"))?;
        let id = id.trim_ascii_end();
        if let Some(problem) = id_problem(id) {
            return Err(format!("line {number}: the name of a key {problem}"));
        }
        if keys.iter().any(|(known, _)| known == id) {
            return Err(format!("line {number}: two keys are called `{id}`"));
        }
        let key = of_text(key.as_bytes()).map_err(|what| format!("line {number}: {EXPECTED}; {what}"))?;
        keys.push((id.to_owned(), key));
    }
    if keys.is_empty() { Err("there is no key in it: write lines `name: key`".to_owned()) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_plugin_api::key_material::of_file;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        // The last two are a password and half of a key, both of 32 characters.
        for text in ["", "hunter2", &HEX[1..], &"hunter2 ".repeat(8), &"hunter2.".repeat(4), &HEX[..32]] {
            for written in [of_text, of_file] {
                let error = one_key(text.as_bytes(), written).expect_err(text);
                assert!(error.contains("32 bytes") && !error.contains("hunter2"), "{error}");
            }
        }
        let error = one_key(format!("k1: {TEXT}").as_bytes(), of_text).expect_err("lines");
        assert!(error.contains("without `id`"), "{error}");
    }

    #[test]
    fn lines_are_keys_by_name_in_their_order() {
        let text = format!("# ours\n\nk2: {HEX}\n k1 : {TEXT}\n");
        let keys = lines(text.as_bytes()).expect("two keys");
        let names: Vec<&str> = keys.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["k2", "k1"]);
        assert!(keys.iter().all(|(_, key)| key[..2] == [0, 1] && key[31] == 31));
    }

    #[test]
    fn what_is_wrong_in_lines_is_named_by_its_line() {
        for (text, says) in [
            (String::new(), "no key"),
            ("hunter2".into(), "line 1 is not"),
            (format!("k1: {HEX}\nk1: {TEXT}"), "line 2: two keys"),
            (format!("a b: {HEX}"), "line 1: the name"),
            ("k1: hunter2".into(), "line 1: a key is 32 bytes"),
        ] {
            let error = lines(text.as_bytes()).expect_err(&text);
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
    }
}

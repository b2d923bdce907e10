//! The text that holds a key -> its bytes: base64 or hex, or the 32 bytes themselves.
//!
//! What is wrong is said without what was read.

use crate::{
    cipher::{KEY_BYTES, KeyBytes},
    config::id_problem,
};
use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

const HOW: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, HOW);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, HOW);

/// What a key has to be.
const EXPECTED: &str = "a key is 32 bytes: 64 hex digits, 44 characters of base64, or the bytes themselves";

/// A key and its name, as a source without `id` lists them.
pub type Line = (String, KeyBytes);

/// Reads the one key of a source.
///
/// # Errors
/// A sentence that says what a key has to be.
pub fn one_key(raw: &[u8]) -> Result<KeyBytes, String> {
    let text = std::str::from_utf8(raw).map(str::trim_ascii).unwrap_or_default();
    if let Some(key) = decoded(text) {
        return Ok(key);
    }
    match <[u8; KEY_BYTES]>::try_from(raw) {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(_) if text.contains(':') => {
            Err(format!("{EXPECTED}; a source with lines `name: key` is one without `id`"))
        }
        Err(_) => Err(EXPECTED.to_owned()),
    }
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
        let key = decoded(key.trim_ascii()).ok_or_else(|| {
            format!("line {number}: a key is 32 bytes, as 64 hex digits or 44 characters of base64")
        })?;
        keys.push((id.to_owned(), key));
    }
    if keys.is_empty() { Err("there is no key in it: write lines `name: key`".to_owned()) } else { Ok(keys) }
}

fn decoded(text: &str) -> Option<KeyBytes> {
    if text.len() == 2 * KEY_BYTES {
        return hex(text);
    }
    let engine = if text.contains(['-', '_']) { BASE64_URL } else { BASE64 };
    // Room for what a longer text would give, so that nothing of a key is left behind by growing.
    let mut bytes = Zeroizing::new([0; KEY_BYTES + 4]);
    let n_bytes = engine.decode_slice(text, &mut *bytes).ok()?;
    let mut key = KeyBytes::default();
    (n_bytes == KEY_BYTES).then(|| key.copy_from_slice(&bytes[..KEY_BYTES]))?;
    Some(key)
}

fn hex(text: &str) -> Option<KeyBytes> {
    let mut key = KeyBytes::default();
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn expected() -> KeyBytes {
        Zeroizing::new(std::array::from_fn(|i| i as u8))
    }

    #[test]
    fn a_key_is_read_in_every_form_a_generator_writes() {
        let unpadded = TEXT.trim_end_matches('=');
        for text in [HEX, TEXT, unpadded, &format!("{TEXT}\n"), &format!(" {HEX}\r\n")] {
            assert_eq!(one_key(text.as_bytes()).expect(text), expected());
        }
        assert_eq!(one_key(&*expected()).expect("raw"), expected());
        let url = one_key(b"-_______________________________________-_8=").expect("URL-safe");
        assert_eq!(
            url,
            one_key(b"+/++++++++++++++++++++++++++++++++++++++//8=").map(|_| url.clone()).expect("plain")
        );
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        for text in [
            "",
            "hunter2",
            &HEX[1..],
            &format!("{TEXT}AAAA"),
            "AAECAwQFBgcICQoLDA0ODw==",
            &"hunter2 ".repeat(8),
        ] {
            let error = one_key(text.as_bytes()).expect_err(text);
            assert!(error.contains("32 bytes") && !error.contains("hunter2"), "{error}");
        }
        let error = one_key(format!("k1: {TEXT}").as_bytes()).expect_err("lines");
        assert!(error.contains("without `id`"), "{error}");
    }

    #[test]
    fn lines_are_keys_by_name_in_their_order() {
        let text = format!("# ours\n\nk2: {HEX}\n k1 : {TEXT}\n");
        let keys = lines(text.as_bytes()).expect("two keys");
        let names: Vec<&str> = keys.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["k2", "k1"]);
        assert!(keys.iter().all(|(_, key)| *key == expected()));
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

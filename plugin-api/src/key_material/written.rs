//! What was read -> 32 bytes: base64 or hex, and of a file also the bytes themselves.
//!
//! Invariant: a password is never taken for a key, however long it is.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// 256 bits, in one place of the memory: who moves them leaves no copy behind.
pub type Secret = Box<Zeroizing<[u8; KEY_BYTES]>>;

const HOW: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, HOW);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, HOW);

/// Longer than any text of 32 bytes: what is decoded beyond them goes here, and is overwritten too.
const MOST_DECODED: usize = 256;

/// The key that a variable holds or a program prints: base64 or hex of 32 bytes, with space around it.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn of_text(bytes: &[u8]) -> Result<Secret, &'static str> {
    let text = bytes.trim_ascii();
    match text.len() {
        0 => Err("it is empty"),
        64 if text.iter().all(u8::is_ascii_hexdigit) => Ok(of_hex(text)),
        _ => of_base64(text),
    }
}

/// The key that a file holds: as in [`of_text`], or the 32 bytes themselves.
///
/// # Errors
/// As [`of_text`]. 32 bytes that are all text are somebody's password, or a part of a key that was cut off.
pub fn of_file(bytes: &[u8]) -> Result<Secret, &'static str> {
    let is_text = || bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    match bytes.len() {
        KEY_BYTES if is_text() => Err("these are 32 characters of text, not 32 random bytes"),
        KEY_BYTES => Ok(secret(bytes)),
        _ => of_text(bytes),
    }
}

fn secret(bytes: &[u8]) -> Secret {
    let mut secret = Secret::default();
    secret.copy_from_slice(bytes);
    secret
}

fn of_hex(text: &[u8]) -> Secret {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap_or_default() as u8;
    let mut key = Secret::default();
    let (pairs, _) = text.as_chunks();
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        *byte = digit(*high) << 4 | digit(*low);
    }
    key
}

fn of_base64(text: &[u8]) -> Result<Secret, &'static str> {
    const ANOTHER_LENGTH: &str = "decoded it has another length than 32 bytes";
    if text.len() > MOST_DECODED {
        return Err(ANOTHER_LENGTH);
    }
    let engine = if text.iter().any(|c| matches!(c, b'-' | b'_')) { BASE64_URL } else { BASE64 };
    let mut decoded = Zeroizing::new([0; MOST_DECODED]);
    match engine.decode_slice(text, &mut *decoded) {
        Ok(KEY_BYTES) => Ok(secret(&decoded[..KEY_BYTES])),
        Ok(_) => Err(ANOTHER_LENGTH),
        Err(_) => Err("it is neither base64 nor 64 hexadecimal digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key() -> [u8; 32] {
        std::array::from_fn(|n| n as u8)
    }

    #[test]
    fn a_key_is_hexadecimal_or_base64_of_either_alphabet_with_space_around_it() {
        for written in [HEX, TEXT, TEXT.trim_end_matches('='), &format!("  {TEXT}\r\n")] {
            assert_eq!(of_text(written.as_bytes()).map(|key| **key), Ok(key()), "{written}");
            assert_eq!(of_file(written.as_bytes()).map(|key| **key), Ok(key()), "{written}");
        }
        let [url, plain] = [format!("{}_-8", "_".repeat(40)), format!("{}/+8", "/".repeat(40))];
        assert_eq!(of_text(url.as_bytes()), of_text(plain.as_bytes()));
        assert_eq!(of_text(url.as_bytes()).map(|key| key[0]), Ok(255));
    }

    #[test]
    fn what_is_no_key_is_told_by_what_it_is() {
        for (written, expected) in [
            ("", "it is empty"),
            ("\n", "it is empty"),
            (&HEX[1..], "it is neither base64 nor 64 hexadecimal digits"),
            (&HEX[4..], "decoded it has another length than 32 bytes"),
            ("no key!", "it is neither base64 nor 64 hexadecimal digits"),
            ("AAEC", "decoded it has another length than 32 bytes"),
            (&"AAEC".repeat(1000), "decoded it has another length than 32 bytes"),
            // Half of a key, as it is written or cut off.
            (&HEX[..32], "decoded it has another length than 32 bytes"),
            (&TEXT[..32], "decoded it has another length than 32 bytes"),
            ("correct horse battery staple 123", "it is neither base64 nor 64 hexadecimal digits"),
        ] {
            assert_eq!(of_text(written.as_bytes()), Err(expected), "{written}");
        }
    }

    #[test]
    fn only_a_file_may_hold_the_bytes_themselves_and_no_password() {
        assert_eq!(of_file(&key()).map(|key| **key), Ok(key()));
        assert!(of_text(&key()).is_err());
        for text in ["correct horse battery staple 123", "correct horse battery staple 12\n", &HEX[..32]] {
            let expected = Err("these are 32 characters of text, not 32 random bytes");
            assert_eq!(of_file(text.as_bytes()), expected, "{text}");
        }
    }
}

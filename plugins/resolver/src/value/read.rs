//! Reading JSON text into a [`Value`].

use super::{Number, Value, n_plain};
use std::collections::BTreeMap;

/// How deeply values may be nested: what recurses over them must not run out of stack.
const MAX_DEPTH: usize = 128;

/// The text cannot be read as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("not JSON (byte {0})")]
    NotJson(usize),
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// Reads one value, and nothing after it.
pub fn read(text: &str) -> Result<Value, Unreadable> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at == text.len() { Ok(value) } else { Err(reader.not_json()) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Unreadable> {
        if depth > MAX_DEPTH {
            return Err(Unreadable::TooDeep);
        }
        match self.peek().ok_or_else(|| self.not_json())? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => self.text().map(Value::Text),
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut fields = BTreeMap::new();
        self.at += 1;
        if self.eat(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.not_json());
            }
            let key = self.text()?;
            self.expect(b':')?;
            fields.insert(key, self.value(depth + 1)?);
            if !self.eat(b',') {
                self.expect(b'}')?;
                return Ok(Value::Object(fields));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut items = Vec::new();
        self.at += 1;
        if self.eat(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if !self.eat(b',') {
                self.expect(b']')?;
                return Ok(Value::List(items));
            }
        }
    }

    /// A string; the reader stands at its opening quote.
    fn text(&mut self) -> Result<String, Unreadable> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let (mut end, mut is_plain) = (start + 1, true);
        loop {
            end += n_plain(bytes.get(end..).unwrap_or_default());
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    end += 2;
                }
                Some(_) | None => return Err(self.not_json()),
            }
        }
        self.at = end + 1;
        if is_plain {
            return Ok(self.text[start + 1..end].to_owned());
        }
        serde_json::from_str(&self.text[start..=end]).map_err(|_| Unreadable::NotJson(start))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Unreadable> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.not_json());
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, Unreadable> {
        let rest = &self.text[self.at..];
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let text = &rest[..rest.bytes().take_while(|byte| is_part(byte)).count()];
        if !is_number(text) {
            return Err(self.not_json());
        }
        self.at += text.len();
        Ok(Value::Number(Number::of_text(text)))
    }

    fn skip_space(&mut self) {
        let rest = self.text[self.at..].bytes();
        self.at += rest.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.eat(byte) { Ok(()) } else { Err(self.not_json()) }
    }

    fn not_json(&self) -> Unreadable {
        Unreadable::NotJson(self.at)
    }
}

/// Whether the text has JSON's form of a number: digits without a leading zero, then a fraction, then an exponent.
fn is_number(text: &str) -> bool {
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) =
        text.split_once(['e', 'E']).map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) =
        mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    are_digits(whole)
        && !has_leading_zero
        && fraction.is_none_or(are_digits)
        && exponent.is_none_or(are_digits)
}

//! A number that keeps its own digits.

use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;
use std::{borrow::Cow, cmp::Ordering, fmt};

/// A JSON number as it was written; compared as a number.
#[derive(Clone)]
pub struct Number(String);

impl Number {
    /// A number from its JSON text, which the caller has checked.
    pub(super) fn of_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The nearest number to `value`; `None` if it is none.
    pub fn of_f64(value: f64) -> Option<Self> {
        let text = serde_json::Number::from_f64(value)?.to_string();
        Some(Self(text.strip_suffix(".0").unwrap_or(&text).to_owned()))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A text that only equal numbers share: digits without zeros at either end, and an exponent.
    pub fn canonical(&self) -> Cow<'_, str> {
        let text = self.0.as_str();
        if is_plain(text) {
            return text.into();
        }
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let Ok(exponent) = exponent.parse::<i64>() else { return text.into() };
        let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let short = digits.trim_end_matches('0');
        if short.is_empty() {
            return "0".into();
        }
        let n_zeros = (digits.len() - short.len()) as i64;
        let exponent = exponent.saturating_sub(fraction.len() as i64).saturating_add(n_zeros);
        match exponent {
            0 => format!("{sign}{short}").into(),
            _ => format!("{sign}{short}e{exponent}").into(),
        }
    }

    /// The number as a whole one; `None` if it is none, or too large.
    pub fn as_whole(&self) -> Option<i128> {
        let canonical = self.canonical();
        let (digits, exponent) = canonical.split_once('e').unwrap_or((&canonical, "0"));
        let power = 10_i128.checked_pow(exponent.parse().ok()?)?;
        digits.parse::<i128>().ok()?.checked_mul(power)
    }

    /// The nearest double; infinite if it is too large for one.
    pub fn as_f64(&self) -> f64 {
        self.0.parse().expect("JSON's numbers are Rust's")
    }

    /// The sum: exact for whole numbers, otherwise as doubles add; `None` if there is no such double.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let whole = self.as_whole().zip(other.as_whole()).and_then(|(a, b)| a.checked_add(b));
        whole.map(Self::from).or_else(|| Self::of_f64(self.as_f64() + other.as_f64()))
    }

    /// Which of two is greater, whatever their size.
    pub fn compare(&self, other: &Self) -> Ordering {
        let (own, others) = (self.canonical(), other.canonical());
        match (Magnitude::of(&own), Magnitude::of(&others)) {
            (Some(own), Some(other)) => own.compare(other),
            _ => self.as_f64().total_cmp(&other.as_f64()),
        }
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(&self) -> Self {
        match self.0.strip_prefix('-') {
            Some(positive) => Self(positive.to_owned()),
            None if self.canonical() == "0" => self.clone(),
            None => Self(format!("-{}", self.0)),
        }
    }
}

/// A number as 0.ddd times a power of ten.
#[derive(Clone, Copy)]
struct Magnitude<'a> {
    /// -1, 0 or 1.
    sign: i8,
    power: i64,
    digits: &'a str,
}

impl<'a> Magnitude<'a> {
    /// Of a canonical text; `None` if its exponent is beyond every number.
    fn of(canonical: &'a str) -> Option<Self> {
        let (mantissa, exponent) = canonical.split_once(['e', 'E']).unwrap_or((canonical, "0"));
        let (sign, digits) = mantissa.strip_prefix('-').map_or((1, mantissa), |digits| (-1, digits));
        let power = exponent.parse::<i64>().ok()?.checked_add(digits.len() as i64)?;
        Some(if digits == "0" { Self { sign: 0, power: 0, digits } } else { Self { sign, power, digits } })
    }

    fn compare(self, other: Self) -> Ordering {
        let size = self.power.cmp(&other.power).then_with(|| self.digits.cmp(other.digits));
        self.sign.cmp(&other.sign).then(if self.sign < 0 { size.reverse() } else { size })
    }
}

/// Whether the text is canonical already: a whole number that ends in no zero.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.ends_with('0')
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.canonical() == other.canonical()
    }
}

impl Eq for Number {}

impl From<i128> for Number {
    fn from(number: i128) -> Self {
        Self(number.to_string())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = RawValue::from_string(self.0.clone()).map_err(ser::Error::custom)?;
        text.serialize(serializer)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if cfg!(test) { &self.0 } else { "Number" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Number::of_text(text).canonical().into_owned()
    }

    #[test]
    fn one_number_has_one_canonical_text() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.0e5", "0"),
            ("10", "1e1"),
            ("1E+1", "1e1"),
            ("1.50", "15e-1"),
            ("-0.015e2", "-15e-1"),
            ("7", "7"),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_exact_and_others_add_as_doubles() {
        let number = |text: &str| Number::of_text(text);
        let sum = |one: &str, other: &str| number(one).plus(&number(other));
        assert_eq!(sum("9007199254740993", "1"), Some(number("9007199254740994")));
        assert_eq!(sum("1.5", "1.5"), Some(number("3")));
        assert_eq!((sum("1e400", "0.5"), sum("1e308", "1e308")), (None, None), "nobody could write it");
        assert_eq!((number("12e2").as_whole(), number("1.5").as_whole()), (Some(1200), None));
        assert_eq!(number("-5").negated(), number("5"));
        assert_eq!(number("0").negated().as_str(), "0");
    }

    #[test]
    fn numbers_of_every_size_have_an_order() {
        let sorted = [
            "-1e500", "-1e400", "-12", "-1.5", "0", "1e-400", "0.2", "0.21", "1", "1e308", "1e400", "1.1e400",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                let order = Number::of_text(one).compare(&Number::of_text(other));
                assert_eq!(order, at.cmp(&other_at), "{one} {other}");
            }
        }
    }
}

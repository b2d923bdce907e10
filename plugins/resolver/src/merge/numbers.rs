//! Several numbers as one.

use super::{Numbers, paths::Here};
use crate::value::Number;

/// What the rule makes of the numbers; `None` if it needs a value from before and there is none, if they are none, or if
/// it is a number that nobody could write.
pub fn together(rule: Numbers, here: Here, base: Option<&Number>, numbers: &[Number]) -> Option<Number> {
    match rule {
        Numbers::LastWriteWins => numbers.last().cloned(),
        Numbers::Delta => {
            let base = base?;
            let less = base.negated();
            numbers.iter().try_fold(base.clone(), |sum, number| sum.plus(&number.plus(&less)?))
        }
        Numbers::Average => average(numbers, here.is_integer),
        Numbers::Max => bounds(numbers).map(|(_, max)| max),
        Numbers::Min => bounds(numbers).map(|(min, _)| min),
    }
}

/// The smallest and the greatest.
pub fn bounds(numbers: &[Number]) -> Option<(Number, Number)> {
    let min = numbers.iter().min_by(|a, b| a.compare(b))?;
    let max = numbers.iter().max_by(|a, b| a.compare(b))?;
    Some((min.clone(), max.clone()))
}

/// Exact where whole numbers have a whole mean, or are to have one.
fn average(numbers: &[Number], is_integer: bool) -> Option<Number> {
    let n = i128::try_from(numbers.len()).ok().filter(|n| *n > 0)?;
    let whole: Option<i128> =
        numbers.iter().try_fold(0_i128, |sum, number| sum.checked_add(number.as_whole()?));
    match whole {
        Some(sum) if is_integer || sum % n == 0 => return Some(Number::from(half_even(sum, n))),
        _ => {}
    }
    let mean = whole.map_or_else(|| mean(numbers), |sum| sum as f64 / n as f64);
    Number::of_f64(if is_integer { mean.round_ties_even() } else { mean })
}

/// The quotient as a whole number; the even one if it lies in the middle between two.
fn half_even(sum: i128, n: i128) -> i128 {
    let (below, rest) = (sum.div_euclid(n), sum.rem_euclid(n));
    let is_more = rest > n - rest || (rest == n - rest && below % 2 != 0);
    below + i128::from(is_more)
}

/// Of doubles; their sum may be greater than every double where their mean is not.
fn mean(numbers: &[Number]) -> f64 {
    let n = numbers.len() as f64;
    let sum: f64 = numbers.iter().map(Number::as_f64).sum();
    if sum.is_finite() { sum / n } else { numbers.iter().map(|number| number.as_f64() / n).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn number(text: &str) -> Number {
        Value::parse(text).ok().and_then(|value| value.as_number().cloned()).expect("a number")
    }

    fn mean_of(texts: &[&str], is_integer: bool) -> Option<Number> {
        let numbers: Vec<Number> = texts.iter().map(|text| number(text)).collect();
        together(Numbers::Average, Here { is_integer, ..Here::default() }, None, &numbers)
    }

    #[test]
    fn d_44_the_mean_of_integers_is_rounded_half_to_even() {
        for (texts, mean) in [
            (&["1", "2"][..], "2"),
            (&["2", "3"], "2"),
            (&["-1", "-2"], "-2"),
            (&["-2", "-3"], "-2"),
            (&["1", "1", "2"], "1"),
            (&["9007199254740993", "9007199254740994"], "9007199254740994"),
            (&["0.5", "0.5"], "0"),
            (&["1.5", "2"], "2"),
        ] {
            assert_eq!(mean_of(texts, true), Some(number(mean)), "{texts:?}");
        }
        assert_eq!(mean_of(&["1", "2"], false), Some(number("1.5")));
    }

    #[test]
    fn a_mean_of_great_numbers_is_right_and_one_beyond_every_double_is_none() {
        assert_eq!(mean_of(&["1e308", "1.7e308"], false), Some(number("1.35e308")));
        assert_eq!(mean_of(&["-1.7e308", "-1.7e308"], false), Some(number("-1.7e308")));
        assert_eq!(mean_of(&["1e400", "1"], false), None);
    }

    #[test]
    fn a_sum_beyond_every_double_is_none() {
        let sum = |base: &str, texts: &[&str]| {
            let numbers: Vec<Number> = texts.iter().map(|text| number(text)).collect();
            together(Numbers::Delta, Here::default(), Some(&number(base)), &numbers)
        };
        assert_eq!(sum("1e308", &["1.5e308", "1.5e308"]), None);
        assert_eq!(sum("10", &["12", "12", "5"]), Some(number("9")));
    }

    #[test]
    fn the_greatest_and_the_smallest_are_found_whatever_their_size() {
        let numbers = ["1e401", "-1e500", "1e400", "-3", "0.2"].map(number);
        assert_eq!(bounds(&numbers), Some((number("-1e500"), number("1e401"))));
    }
}

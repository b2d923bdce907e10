//! Several numbers as one.

use super::Numbers;
use crate::value::Number;
use std::cmp::Ordering;

/// What the rule makes of the numbers; `None` if it needs a value from before and there is none, or they are none.
pub fn together(rule: Numbers, base: Option<&Number>, numbers: &[Number]) -> Option<Number> {
    match rule {
        Numbers::LastWriteWins => numbers.last().cloned(),
        Numbers::Delta => {
            let base = base?;
            let less = base.negated();
            Some(numbers.iter().fold(base.clone(), |sum, number| sum.plus(&number.plus(&less))))
        }
        Numbers::Average => average(numbers),
        Numbers::Max => bounds(numbers).map(|(_, max)| max),
        Numbers::Min => bounds(numbers).map(|(min, _)| min),
    }
}

/// The smallest and the greatest.
pub fn bounds(numbers: &[Number]) -> Option<(Number, Number)> {
    let min = numbers.iter().min_by(|a, b| compare(a, b))?;
    let max = numbers.iter().max_by(|a, b| compare(a, b))?;
    Some((min.clone(), max.clone()))
}

fn compare(one: &Number, other: &Number) -> Ordering {
    match (one.as_whole(), other.as_whole()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => one.as_f64().total_cmp(&other.as_f64()),
    }
}

/// Exact where whole numbers have a whole mean.
fn average(numbers: &[Number]) -> Option<Number> {
    let n = numbers.len();
    let first = numbers.first()?;
    let whole: Option<i128> =
        numbers.iter().try_fold(0_i128, |sum, number| sum.checked_add(number.as_whole()?));
    if let Some(sum) = whole.filter(|sum| sum % n as i128 == 0) {
        return Some(Number::from(sum / n as i128));
    }
    let sum: f64 = whole.map_or_else(|| numbers.iter().map(Number::as_f64).sum(), |sum| sum as f64);
    // Where the mean is beyond every double, one of the numbers is near enough.
    Some(Number::of_f64(sum / n as f64).unwrap_or_else(|| first.clone()))
}

//! What everybody made of the value before, together: a merge whose ways and whose reports are the guide's.

use super::{
    contender::{Contender, common_base, values},
    resolution::{Method, Range, Resolution},
};
use crate::{
    merge::{self, Numbers, Policy, Shape},
    value::Value,
};

/// What becomes of the changes; `None` if one of them cannot be read.
pub fn resolve(contenders: &[Contender<'_>], policy: &Policy) -> Option<Resolution> {
    let base = common_base(contenders);
    let values = values(contenders)?;
    let wanted: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    let merged = merge::merge(base.as_ref(), &wanted, policy);
    if merged.is_left {
        return Some(Resolution::left_to_a_person(contenders, merged.conflicts));
    }
    let (method, winner) = match merged.shape {
        Shape::One(winner) => (Method::LastWriteWins, Some(winner)),
        shape => (method(shape), None),
    };
    let applied = merged.applied;
    let discarded = (0..values.len()).filter(|at| !applied.contains(at)).collect();
    let value = match winner {
        // With its own digits and spaces.
        Some(winner) => contenders[winner].value.cloned(),
        None => merged.value.map(|value| value.to_json().into()),
    };
    Some(Resolution { value, method, winner, applied, discarded, conflicts: merged.conflicts })
}

fn method(shape: Shape) -> Method {
    match shape {
        Shape::One(_) => Method::LastWriteWins,
        Shape::Objects { merged_sources } => Method::DictionaryMerge { merged_sources },
        Shape::Lists { original_length, deduplicated_length } => {
            Method::ListMerge { original_length, deduplicated_length }
        }
        Shape::Numbers { rule, original_values, min, max } => {
            let range = Range { original_values, min_value: min, max_value: max };
            match rule {
                Numbers::LastWriteWins => Method::LastWriteWins,
                Numbers::Delta => Method::NumericDelta(range),
                Numbers::Average => Method::NumericAverage(range),
                Numbers::Max => Method::NumericMax(range),
                Numbers::Min => Method::NumericMin(range),
            }
        }
        Shape::Text { operations_applied } => Method::TextMerge { operations_applied },
    }
}

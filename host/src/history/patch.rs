//! Differences as a JSON patch (RFC 6902), for programs.
//!
//! Applied to the old value, in order, it makes the new one. It is more than the RFC says in one place: a key that has no
//! value yet gets one by `add` at the path "", and loses it by `remove` there.

use super::difference::Difference;
use serde::Serialize;
use serde_json::value::RawValue;

/// One operation of a patch.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation<'t> {
    Add { path: &'t str, value: &'t RawValue },
    Remove { path: &'t str },
    Replace { path: &'t str, value: &'t RawValue },
}

/// The operations that make these differences.
pub fn patch<'t>(differences: &'t [Difference<'t>]) -> Vec<Operation<'t>> {
    differences.iter().map(operation).collect()
}

fn operation<'t>(difference: &'t Difference<'t>) -> Operation<'t> {
    let path = difference.place.as_str();
    match difference.new {
        None => Operation::Remove { path },
        Some(new) => {
            let value = serde_json::from_str(new.raw()).unwrap_or(RawValue::NULL);
            match difference.old {
                None => Operation::Add { path, value },
                Some(_) => Operation::Replace { path, value },
            }
        }
    }
}

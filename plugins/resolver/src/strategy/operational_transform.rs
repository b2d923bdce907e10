//! Everybody's operations, one after the other by their stamps, each as it has to be after the ones before it.
//!
//! A change that puts another value in the place of the whole one is no operation that others could be fitted to: the last
//! write wins between it and the rest. Whoever edits wins over whoever deletes. Where that would be too much work, the last
//! write wins.

use super::{
    contender::{Contender, common_base, values},
    resolution::{Method, Resolution},
    standing::stands,
};
use crate::{
    conflict::Conflict,
    ot::{
        replay::{is_affordable, replay},
        tree::TreeOp,
    },
    value::Value,
};
use lockstep_plugin_api::Text;

/// What becomes of the changes; `None` if they were not made from one value, or are too much.
pub fn resolve(contenders: &[Contender<'_>]) -> Option<Resolution> {
    let n_bytes = |text: &Text| text.len();
    let value = contenders.iter().filter_map(|one| one.old_value.map(n_bytes)).max().unwrap_or(0);
    let ops = contenders.iter().filter_map(|one| one.ops.map(n_bytes)).sum();
    if !is_affordable(contenders.len(), value, ops) {
        return None;
    }
    let base = common_base(contenders)?;
    let values = values(contenders)?;
    let ops = contenders.iter().zip(&values).map(|(one, value)| one.operation(&base, value.as_ref()));
    let ops: Vec<TreeOp> = ops.collect();
    let mut applied = applied(&ops, &values);
    let mut discarded: Vec<usize> = (0..ops.len()).filter(|at| !applied.contains(at)).collect();
    let mut conflicts: Vec<Conflict> = left_out(&base, &values, &applied, &discarded).into_iter().collect();
    let (value, winner) = match applied.as_slice() {
        [alone] => (contenders[*alone].value.cloned(), Some(*alone)),
        // All of them make the same of it.
        [.., last] if ops[*last].is_whole() => (contenders[*last].value.cloned(), None),
        several => {
            let placed = replay(&base, several.iter().map(|at| ops[*at].clone()).collect()).ok()?;
            let is_gone = |(at, place): &(usize, usize)| {
                let (made, shown) = (values[*place].as_ref(), placed.value.as_ref());
                placed.lost.contains(at) && !stands(Some(&base), made, shown)
            };
            let gone = several.iter().copied().enumerate().filter(is_gone);
            discarded.extend(gone.map(|(_, place)| place));
            discarded.sort_unstable();
            conflicts.extend(placed.conflicts);
            (placed.value.map(|value| value.to_json().into()), None)
        }
    };
    applied.retain(|at| !discarded.contains(at));
    let operations_applied = applied.len();
    let method = Method::OperationalTransform { operations_applied, base_value: Some(base) };
    Some(Resolution { value, method, winner, applied, discarded, conflicts })
}

/// The changes that are in the result, by their places.
fn applied(ops: &[TreeOp], values: &[Option<Value>]) -> Vec<usize> {
    let all = || 0..ops.len();
    match all().rfind(|at| values[*at].is_some()) {
        // Everybody deletes.
        None => all().collect(),
        Some(last) if ops[last].is_whole() => all().filter(|at| values[*at] == values[last]).collect(),
        Some(_) => all().filter(|at| !ops[*at].is_whole()).collect(),
    }
}

/// The conflict that some changes are not in the result at all.
fn left_out(
    base: &Value,
    values: &[Option<Value>],
    applied: &[usize],
    discarded: &[usize],
) -> Option<Conflict> {
    let wanted = |at: &usize| values[*at].as_ref();
    discarded.first()?;
    let mut places: Vec<usize> = discarded.iter().chain(applied.last()).copied().collect();
    places.sort_unstable();
    Conflict::of_whole(Some(base), &places.iter().map(wanted).collect::<Vec<_>>())
}

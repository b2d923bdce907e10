//! Operations that were all made from one value, one after the other.

use super::{
    Mismatch, Side,
    tree::{Clash, TreeOp},
};
use crate::{conflict::Conflict, value::Value};
use std::collections::BTreeSet;

/// How much work is done for one value: whoever sends many changes must not keep a host busy with each further one.
const MOST_WORK: usize = 64 << 20;

/// How many bytes comparing two operations is like, however little they do.
const PER_PAIR: usize = 256;

/// Whether so many operations are replayed, given how many bytes the value has that they were made from, and all of them
/// together. Each is compared with every other one, on top of the value. Every host has the same answer.
pub fn is_affordable(n_ops: usize, n_bytes_value: usize, n_bytes_ops: usize) -> bool {
    let n_bytes = n_ops.saturating_mul(n_bytes_value.saturating_add(PER_PAIR)).saturating_add(n_bytes_ops);
    n_ops.saturating_mul(n_bytes) <= MOST_WORK
}

/// What is left of operations, each as it has to be after the ones before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The value after all of them.
    pub value: Option<Value>,
    pub conflicts: Vec<Conflict>,
    /// The operations that had to give way and of which nothing is left, by their places.
    pub lost: BTreeSet<usize>,
}

/// Applies operations in the order that is given: each is transformed against those before it, one by one, as they were
/// placed. Where not all can have their way, the earlier one sets a key, and what is removed stays removed.
///
/// # Errors
/// [`Mismatch`] if they were not all made from this value.
pub fn replay(base: &Value, ops: Vec<TreeOp>) -> Result<Replayed, Mismatch> {
    // Each operation with the value before it.
    let mut placed: Vec<(Option<Value>, TreeOp)> = Vec::with_capacity(ops.len());
    let mut replayed = Replayed { value: Some(base.clone()), conflicts: Vec::new(), lost: BTreeSet::new() };
    for (at, mut op) in ops.into_iter().enumerate() {
        for (earlier_at, (before, earlier)) in placed.iter().enumerate() {
            let transformed = op.transformed(earlier, Side::Right)?;
            if !transformed.clashes.is_empty() {
                // One of them may have done all it did within what the other one removed.
                replayed.lost.extend(Some(at).filter(|_| transformed.op.is_noop()));
                let is_undone = earlier.transformed(&op, Side::Left)?.op.is_noop();
                replayed.lost.extend(Some(earlier_at).filter(|_| is_undone));
                replayed.conflicts.extend(conflicts(transformed.clashes, before.clone(), earlier, &op)?);
            }
            op = transformed.op;
        }
        let after = op.apply(replayed.value.clone())?;
        placed.push((std::mem::replace(&mut replayed.value, after), op));
    }
    Ok(replayed)
}

/// The clashes of an operation with an earlier one, with what each of the two wanted; both were made from `before`.
///
/// # Errors
/// [`Mismatch`] if they were not.
pub fn conflicts(
    clashes: Vec<Clash>,
    before: Option<Value>,
    earlier: &TreeOp,
    own: &TreeOp,
) -> Result<Vec<Conflict>, Mismatch> {
    let theirs = earlier.apply(before.clone())?;
    let own = own.apply(before.clone())?;
    let before = before.ok_or(Mismatch::NotThere)?;
    let told = |clash| Conflict::of_clash(clash, &before, theirs.as_ref(), own.as_ref());
    Ok(clashes.into_iter().map(told).collect())
}

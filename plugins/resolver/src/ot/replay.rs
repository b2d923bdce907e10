//! Operations that were all made from one value, one after the other.

use super::{
    Mismatch, Side,
    tree::{Clash, TreeOp},
};
use crate::{conflict::Conflict, value::Value};

/// What is left of operations, each as it has to be after the ones before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The value after all of them.
    pub value: Option<Value>,
    pub conflicts: Vec<Conflict>,
}

/// Applies operations in the order that is given: each is transformed against those before it, one by one, as they were
/// placed. Where not all can have their way, the earlier one sets a key, and what is removed stays removed.
///
/// # Errors
/// [`Mismatch`] if they were not all made from this value.
pub fn replay(base: &Value, ops: Vec<TreeOp>) -> Result<Replayed, Mismatch> {
    let mut placed: Vec<TreeOp> = Vec::with_capacity(ops.len());
    let mut replayed = Replayed { value: Some(base.clone()), conflicts: Vec::new() };
    for mut op in ops {
        for (at, earlier) in placed.iter().enumerate() {
            let transformed = op.transformed(earlier, Side::Right)?;
            if !transformed.clashes.is_empty() {
                let before = placed[..at].iter().try_fold(Some(base.clone()), |value, op| op.apply(value))?;
                replayed.conflicts.extend(conflicts(transformed.clashes, before, earlier, &op)?);
            }
            op = transformed.op;
        }
        replayed.value = op.apply(replayed.value)?;
        placed.push(op);
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

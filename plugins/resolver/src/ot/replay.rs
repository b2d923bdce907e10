//! Operations that were all made from one value, one after the other.

use super::{
    Mismatch, Side,
    tree::{Clash, TreeOp},
};
use crate::value::Value;

/// The operations as they have to be, each after the ones before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    pub ops: Vec<TreeOp>,
    pub clashes: Vec<Clash>,
}

/// Places operations in the order that is given: each is transformed against those before it, one by one, as they were
/// placed. Where not all can have their way, the earlier one sets a key, and what is removed stays removed.
///
/// # Errors
/// [`Mismatch`] if they cannot have been made from one value.
pub fn replay(ops: Vec<TreeOp>) -> Result<Replayed, Mismatch> {
    let mut replayed = Replayed { ops: Vec::with_capacity(ops.len()), clashes: Vec::new() };
    for op in ops {
        let placed = replayed.ops.iter().try_fold(op, |op, earlier| {
            let transformed = op.transformed(earlier, Side::Right)?;
            replayed.clashes.extend(transformed.clashes);
            Ok(transformed.op)
        })?;
        replayed.ops.push(placed);
    }
    Ok(replayed)
}

impl Replayed {
    /// The value after all of them.
    ///
    /// # Errors
    /// [`Mismatch`] if they were not made for this value.
    pub fn apply(&self, value: Option<Value>) -> Result<Option<Value>, Mismatch> {
        self.ops.iter().try_fold(value, |value, op| op.apply(value))
    }
}

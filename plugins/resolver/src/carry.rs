//! A change that was made from an older value of this host's log is carried forward: fitted, operation by operation, to
//! what became of the value since then, and made from what is current.
//!
//! Done once, where the change is taken in. The author's edit and everything committed before it are both in the result,
//! or what is not is named; a change that cannot be fitted stands beside the others.

use crate::{
    conflict::Conflict,
    draft::{Draft, written},
    ot::{Mismatch, Side, diff::diff, replay::conflicts, tree::TreeOp},
    siblings::Siblings,
    strategy::{hash_of, stands},
    value::Value,
};
use lockstep_plugin_api::prelude::*;

/// How many entries of the log a change is carried over at most, and how much they may weigh.
const MOST_ENTRIES: usize = 1000;
const MOST_BYTES: usize = 8 << 20;

/// A change as it has to be on top of what is current.
#[derive(Debug)]
pub struct Carried {
    pub draft: Draft,
    /// The value that the author saw.
    pub base_value: Value,
    /// The event ids of the changes it was carried over, oldest first.
    pub over: Vec<Text>,
    pub conflicts: Vec<Conflict>,
    /// Whether nothing of what its author did is left.
    pub is_lost: bool,
}

/// One value of the key, and how it came about.
struct Step {
    event_id: Text,
    /// JSON text; `None` if the key was removed.
    value: Option<Text>,
    /// What was done to the value before, if the entry says so.
    ops: Option<Text>,
}

/// Carries a change forward from what its author saw at `revision` to what is current; `None` if that cannot be done.
///
/// # Errors
/// What the log says.
pub fn forward(
    context: &Context,
    change: &Change,
    (seen, revision): (Option<&str>, u64),
    current: &Siblings,
    draft: &Draft,
) -> Result<Option<Carried>> {
    let (Some(seen), Some(ops)) = (seen, &draft.ops) else { return Ok(None) };
    // Nobody closes a conflict that it has not seen.
    if current.is_conflict()
        && current.outcome().is_none_or(|outcome| !outcome.resolution.conflicts.is_empty())
    {
        return Ok(None);
    }
    let Some(steps) = steps(context, change, revision, current)? else { return Ok(None) };
    let read = |text: &str| Value::parse(text).ok();
    let own = read(ops).and_then(|ops| TreeOp::parse(&ops).ok());
    let (Some(seen), Some(own)) = (read(seen), own) else { return Ok(None) };
    let Some(carried) = fitted(seen, own, steps).ok().flatten() else { return Ok(None) };
    let [made, shown] =
        [&draft.value, &carried.draft.value].map(|text| text.as_ref().and_then(|text| read(text)));
    let is_lost = carried.is_lost && !stands(Some(&carried.base_value), made.as_ref(), shown.as_ref());
    Ok(Some(Carried { is_lost, ..carried }))
}

/// Every value of the key after `revision`, oldest first; `None` if they are too many, or history no longer has them.
fn steps(context: &Context, change: &Change, revision: u64, current: &Siblings) -> Result<Option<Vec<Step>>> {
    let mut steps = Vec::new();
    let (mut upto, mut n_bytes) = (u64::MAX, 0);
    loop {
        let mut entry = match context.entry_at(change.tenant_id(), change.config_key(), upto)? {
            EntryAt::Entry(entry) => entry,
            EntryAt::Absent => break,
            EntryAt::Compacted => return Ok(None),
        };
        let entry = entry.change()?;
        let Some(at) = entry.revision().filter(|at| *at > revision) else { break };
        steps.push(Step::of(entry));
        n_bytes += entry.new_value().as_str().len();
        if steps.len() > MOST_ENTRIES || n_bytes > MOST_BYTES {
            return Ok(None);
        }
        upto = at - 1;
    }
    steps.reverse();
    // What the batch that is being applied did is not in the log yet.
    let value = current.value();
    if steps.last().is_none_or(|last| last.value != value) {
        let event_id = current.list().last().map_or_else(|| "".into(), |last| last.event_id.clone());
        steps.push(Step { event_id, value, ops: None });
    }
    Ok(Some(steps))
}

impl Step {
    fn of(entry: &Change) -> Self {
        Self {
            event_id: entry.event_id().unwrap_or_default().into(),
            value: (!entry.is_deletion()).then(|| entry.new_value().as_str().into()),
            ops: entry.ops().map(|ops| ops.as_str().into()),
        }
    }

    /// The operation that made the value of the one before: the one that was sent if it did, and otherwise what leads
    /// there. `None` if the key was removed.
    fn operation(&self, before: &Value) -> Option<(TreeOp, Value)> {
        let value = Value::parse(self.value.as_ref()?).ok()?;
        let sent = self.ops.as_ref().and_then(|ops| TreeOp::parse(&Value::parse(ops).ok()?).ok());
        let leads_there =
            |op: &TreeOp| op.apply(Some(before.clone())).is_ok_and(|made| made.as_ref() == Some(&value));
        let op = sent.filter(leads_there).unwrap_or_else(|| diff(Some(before), Some(&value)));
        Some((op, value))
    }
}

/// `None` if somebody put another value in the place of the one that the author saw.
fn fitted(seen: Value, mut own: TreeOp, steps: Vec<Step>) -> Result<Option<Carried>, Mismatch> {
    let (base_value, mut value) = (seen.clone(), seen);
    let (mut over, mut found) = (Vec::with_capacity(steps.len()), Vec::new());
    for step in steps {
        let Some((theirs, after)) = step.operation(&value) else { return Ok(None) };
        if theirs.is_whole() {
            return Ok(None);
        }
        let transformed = own.transformed(&theirs, Side::Right)?;
        if !transformed.clashes.is_empty() {
            found.extend(conflicts(transformed.clashes, Some(value), &theirs, &own)?);
        }
        (own, value) = (transformed.op, after);
        over.push(step.event_id);
    }
    let is_lost = own.is_noop() && !found.is_empty();
    let base_hash = Some(hash_of(&value));
    let made = own.apply(Some(value))?;
    let draft = Draft { value: made.map(|made| made.to_json().into()), ops: written(&own), base_hash };
    Ok(Some(Carried { draft, base_value, over, conflicts: found, is_lost }))
}

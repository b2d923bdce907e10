//! The operation that turns one value into another, for changes whose author sent only the value.
//!
//! It is made once, where the change is taken in, and travels with it: hosts that each made their own would not agree.

mod runs;

use super::{
    text::{Piece, TextOp},
    tree::{Key, TreeOp},
};
use crate::value::Value;
use runs::{Run, runs};

/// A kept run of text shorter than this between two edits is no anchor: letters that happen to be alike would tear words
/// apart.
const MIN_ANCHOR: usize = 3;

/// How much is looked at to find out which items of one run are alike: the bytes on one side times those on the other.
const MOST_COMPARED: usize = 16 << 20;

/// The operation that turns `old` into `new`; `None` is no value.
pub fn diff(old: Option<&Value>, new: Option<&Value>) -> TreeOp {
    match (old, new) {
        (Some(old), Some(new)) => changed(old, new),
        (None, None) => TreeOp::default(),
        (old, new) => TreeOp::replacing(old, new.cloned()),
    }
}

fn changed(old: &Value, new: &Value) -> TreeOp {
    let within = match (old, new) {
        _ if old.is_sealed() || new.is_sealed() => (old == new).then(TreeOp::default),
        (Value::Object(_), Value::Object(_)) => Some(fields(old, new)),
        (Value::List(old), Value::List(new)) => Some(items(old, new)),
        (Value::Text(old), Value::Text(new)) => text(old, new).map(TreeOp::of_text),
        _ => (old == new).then(TreeOp::default),
    };
    within.unwrap_or_else(|| TreeOp::replacing(Some(old), Some(new.clone())))
}

fn fields(old: &Value, new: &Value) -> TreeOp {
    let mut op = TreeOp::default();
    let names = [old, new].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
    for name in names {
        op.join(diff(old.get(name), new.get(name)).under(&Key::Name(name.clone())));
    }
    op
}

fn items(old: &[Value], new: &[Value]) -> TreeOp {
    let canonical = |items: &[Value]| items.iter().map(Value::canonical).collect::<Vec<_>>();
    let (old_texts, new_texts) = (canonical(old), canonical(new));
    let n_bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let mut op = TreeOp::default();
    for run in runs(&old_texts, &new_texts) {
        let n_compared =
            n_bytes(&old_texts[run.old.clone()]).saturating_mul(n_bytes(&new_texts[run.new.clone()]));
        let is_much = n_compared > MOST_COMPARED;
        let pairs = pairs(&old[run.old.clone()], &new[run.new.clone()], is_much);
        let of_old = |at: usize| run.old.start + at;
        let of_new = |at: usize| run.new.start + at;
        for (at, item) in old[run.old.clone()].iter().enumerate() {
            let pair = pairs.binary_search_by_key(&at, |(old, _)| *old);
            op.join(match pair {
                Ok(pair) => {
                    let to = of_new(pairs[pair].1);
                    changed(item, &new[to]).under_both(&Key::Index(of_old(at)), &Key::Index(to))
                }
                Err(_) => TreeOp::replacing(Some(item), None).under(&Key::Index(of_old(at))),
            });
        }
        let is_paired = |at: &usize| pairs.binary_search_by_key(at, |(_, new)| *new).is_ok();
        for at in (0..run.new.len()).filter(|at| !is_paired(at)) {
            let item = new[of_new(at)].clone();
            op.join(TreeOp::replacing(None, Some(item)).under(&Key::Index(of_new(at))));
        }
    }
    op
}

/// Which of the old items became which of the new ones, in order: those that are alike, or those in the same place.
fn pairs(old: &[Value], new: &[Value], is_much: bool) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut next = 0;
    for (at, item) in old.iter().enumerate() {
        let found = match is_much || old.len() == new.len() {
            true => (at < new.len() && are_of_kind(item, &new[at])).then_some(at),
            false => (next..new.len()).find(|to| are_alike(item, &new[*to])),
        };
        if let Some(to) = found {
            pairs.push((at, to));
            next = to + 1;
        }
    }
    pairs
}

/// Whether one may have become the other by changes within it.
fn are_of_kind(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(_), Value::Object(_)) | (Value::List(_), Value::List(_)) => true,
        (Value::Text(old), Value::Text(new)) => text(old, new).is_some(),
        _ => false,
    }
}

/// Whether it most likely did: at least half of it is the same.
fn are_alike(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(one), Value::Object(other)) => {
            let n_same = one.iter().filter(|(key, value)| other.get(*key) == Some(value)).count();
            2 * n_same >= one.len().max(other.len())
        }
        (Value::List(one), Value::List(other)) => {
            let n_same = one.iter().filter(|item| other.contains(item)).count();
            2 * n_same >= one.len().max(other.len())
        }
        _ => are_of_kind(old, new),
    }
}

/// The operation on text; `None` if so little is kept that the new text is another one.
fn text(old: &str, new: &str) -> Option<TextOp> {
    let (before, after): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let runs = joined(runs(&before, &after));
    let n_gone: usize = runs.iter().map(|run| run.old.len()).sum();
    if 2 * (before.len() - n_gone) < before.len().min(after.len()) {
        return None;
    }
    let mut op = TextOp::default();
    let mut at = 0;
    for run in runs {
        let inserted: String = after[run.new].iter().collect();
        op.push(Piece::Skip(run.old.start - at));
        op.push(Piece::Delete(run.old.len(), None));
        op.push(Piece::Insert(&inserted));
        at = run.old.end;
    }
    Some(op.trimmed())
}

/// Runs with too little between them become one.
fn joined(runs: Vec<Run>) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        match joined.last_mut() {
            Some(last) if run.old.start - last.old.end < MIN_ANCHOR => {
                last.old.end = run.old.end;
                last.new.end = run.new.end;
            }
            _ => joined.push(run),
        }
    }
    joined
}

#[cfg(test)]
mod tests;

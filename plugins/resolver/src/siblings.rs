//! One key's state: the changes that no other known change supersedes.
//!
//! A join-semilattice: whatever the order, the path and the repetitions in which changes come, the same changes make the
//! same set, and the value that is shown is a function of the set alone. Deletions are changes like any other and stay.

use crate::{
    clock::Hlc,
    strategy::{Contender, Resolution, Strategy},
};
use lockstep_plugin_api::{
    Text,
    causality::{Dot, Known},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
};
use uuid::Uuid;

/// A change, as far as it matters to the changes beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    pub dot: Dot,
    /// What its author knew of this key.
    pub ctx: Known,
    pub hlc: Hlc,
    pub event_id: Text,
    pub strategy: Strategy,
    /// JSON text; `None` is a deletion.
    pub value: Option<Text>,
    /// What its author saw before; never JSON's `null`, which a change cannot tell from nothing.
    pub old_value: Option<Text>,
    pub user_id: Option<Text>,
    pub source_node: Option<Text>,
    pub timestamp_us: Option<i64>,
    pub base_hash: Option<Text>,
    pub ops: Option<Text>,
}

impl Sibling {
    /// Orders changes for the strategies; no two changes have the same stamp.
    pub fn stamp(&self) -> (Hlc, &Dot) {
        (self.hlc, &self.dot)
    }

    /// How much its values take.
    pub fn n_bytes(&self) -> usize {
        [&self.value, &self.old_value, &self.ops].into_iter().flatten().map(|text| text.len()).sum()
    }

    /// What a strategy sees of it.
    pub fn contender(&self) -> Contender<'_> {
        Contender {
            value: self.value.as_ref(),
            old_value: self.old_value.as_ref(),
            base_hash: self.base_hash.as_ref(),
            ops: self.ops.as_ref(),
        }
    }

    /// Whether the author of this change had seen the other one.
    pub fn knew(&self, other: &Self) -> bool {
        self.ctx.covers(&other.dot)
    }
}

/// The siblings of one key.
///
/// Sorted by stamp, so that equal sets are equal bytes; none of them knew another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Siblings(Vec<Sibling>);

/// Which changes were seen where a set stands, or something that superseded them.
#[derive(Debug)]
pub struct Seen<'a> {
    standing: BTreeSet<&'a Dot>,
    replaced: Known,
}

impl Seen<'_> {
    /// Whether this one was.
    pub fn covers(&self, dot: &Dot) -> bool {
        self.standing.contains(dot) || self.replaced.covers(dot)
    }
}

/// What a key shows that several changes stand at, and why.
#[derive(Debug)]
pub struct Outcome {
    pub strategy: Strategy,
    pub resolution: Resolution,
    /// The changes that were resolved: their event ids, by their places in the resolution.
    pub changes: Vec<Text>,
}

impl Siblings {
    /// Takes changes in, and gives the dots of those that were news and stand now, by stamp.
    pub fn join(&mut self, changes: impl IntoIterator<Item = Sibling>) -> Vec<Dot> {
        let mine = mem::take(&mut self.0).into_iter().map(|mine| (mine, false));
        let mut all: Vec<_> = mine.chain(changes.into_iter().map(|new| (new, true))).collect();
        // A copied disk can give one dot to two changes: every host keeps the one with the greater event_id.
        all.sort_by(|(one, _), (other, _)| one.dot.cmp(&other.dot).then(other.event_id.cmp(&one.event_id)));
        all.dedup_by(|(next, _), (kept, _)| next.dot == kept.dot);
        let mut is_replaced = replaced(&all).into_iter();
        all.retain(|_| is_replaced.next() == Some(false));
        all.sort_by(|(one, _), (other, _)| one.stamp().cmp(&other.stamp()));
        let news = all.iter().filter(|(_, is_new)| *is_new).map(|(new, _)| new.dot.clone()).collect();
        self.0 = all.into_iter().map(|(sibling, _)| sibling).collect();
        news
    }

    /// Whether the change was seen here, or something that superseded it.
    pub fn knows(&self, dot: &Dot) -> bool {
        self.0.iter().any(|sibling| sibling.dot == *dot || sibling.ctx.covers(dot))
    }

    /// What somebody knows who sees this set: the context of a change made from it.
    pub fn known(&self) -> Known {
        self.0.iter().flat_map(|sibling| sibling.ctx.newest().iter().chain([&sibling.dot])).cloned().collect()
    }

    /// The same for many changes.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            standing: self.0.iter().map(|sibling| &sibling.dot).collect(),
            replaced: self.0.iter().flat_map(|sibling| sibling.ctx.newest()).cloned().collect(),
        }
    }

    /// Whether somebody who sees the other set knows every change that stands in this one.
    pub fn is_known_to(&self, other: &Self) -> bool {
        let seen = other.seen();
        self.0.iter().all(|sibling| seen.covers(&sibling.dot))
    }

    /// The siblings, by stamp.
    pub fn list(&self) -> &[Sibling] {
        &self.0
    }

    /// The sibling with this dot.
    pub fn get(&self, dot: &Dot) -> Option<&Sibling> {
        self.0.iter().find(|sibling| sibling.dot == *dot)
    }

    /// Whether this identity is one of the siblings'.
    pub fn has_event(&self, event_id: &str) -> bool {
        self.0.iter().any(|sibling| sibling.event_id.as_str() == event_id)
    }

    /// The siblings that count: of several with one event_id, which are one change that two hosts took in, the first.
    pub fn contenders(&self) -> Vec<&Sibling> {
        if let [alone] = self.0.as_slice() {
            return vec![alone];
        }
        let mut seen = HashSet::with_capacity(self.0.len());
        self.0.iter().filter(|sibling| seen.insert(sibling.event_id.as_str())).collect()
    }

    /// What is shown and why, by the strategy stamped on the greatest sibling; `None` if the key never had a change.
    pub fn outcome(&self) -> Option<Outcome> {
        let contenders = self.contenders();
        let strategy = contenders.last()?.strategy.clone();
        let seen: Vec<_> = contenders.iter().map(|sibling| sibling.contender()).collect();
        let resolution = strategy.resolve(&seen)?;
        let changes = contenders.iter().map(|sibling| sibling.event_id.clone()).collect();
        Some(Outcome { strategy, resolution, changes })
    }

    /// The shown value's JSON text; `None` if the key is not there.
    pub fn value(&self) -> Option<Text> {
        match self.contenders().as_slice() {
            [] => None,
            [alone] => alone.value.clone(),
            several @ [.., last] => {
                let seen: Vec<_> = several.iter().map(|sibling| sibling.contender()).collect();
                last.strategy.value(&seen)
            }
        }
    }

    /// Whether more than one change stands.
    pub fn is_conflict(&self) -> bool {
        self.0.len() > 1 && self.contenders().len() > 1
    }

    /// The conflict's name, if somebody has to decide about it.
    pub fn pending(&self) -> Option<Uuid> {
        // Where no sibling leaves it to somebody nothing has to be compared.
        if !self.is_conflict() || !self.0.iter().any(|sibling| sibling.strategy.may_ask()) {
            return None;
        }
        self.outcome().filter(|outcome| outcome.resolution.is_pending()).map(|_| self.conflict_id())
    }

    /// Whether the key had changes and nothing but deletions is left.
    pub fn is_tombstone(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|sibling| sibling.value.is_none())
    }

    /// How many context entries the key keeps.
    pub fn n_context_entries(&self) -> u64 {
        self.0.iter().map(|sibling| sibling.ctx.newest().len() as u64).sum()
    }

    /// The conflict's name, alike on every host: a UUID v5 of the sorted dots.
    pub fn conflict_id(&self) -> Uuid {
        let mut dots: Vec<&Dot> = self.0.iter().map(|sibling| &sibling.dot).collect();
        dots.sort_unstable();
        let dots: Vec<String> = dots.iter().map(ToString::to_string).collect();
        Uuid::new_v5(&Uuid::NAMESPACE_OID, dots.join(" ").as_bytes())
    }
}

impl FromIterator<Sibling> for Siblings {
    fn from_iter<I: IntoIterator<Item = Sibling>>(siblings: I) -> Self {
        let mut set = Self::default();
        set.join(siblings);
        set
    }
}

/// Of each of these changes, whether another one replaces it. They are of different dots, and in their order.
///
/// A change replaces what its author had seen, unless the author of that claims to have seen the change, too, and has the
/// greater stamp: of two that know each other the same one stands, whatever else is there. No host makes such contexts.
/// What is left to whoever sends them: a change that knows another one and not what that one knew, or three that know each
/// other in a circle, leave other changes standing where they come in another order.
fn replaced(changes: &[(Sibling, bool)]) -> Vec<bool> {
    let mut known: Vec<(&Dot, &Sibling)> = Vec::new();
    for (change, _) in changes {
        known.extend(change.ctx.newest().iter().map(|dot| (dot, change)));
    }
    // Each node's newest first, as its changes are gone through: who knows a later one knows the earlier ones.
    known.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let mut known = known.into_iter().peekable();
    let mut by = Knowers::default();
    let mut node = None;
    let mut is_replaced = vec![false; changes.len()];
    for (is_replaced, (change, _)) in is_replaced.iter_mut().zip(changes).rev() {
        if node.replace(change.dot.node.as_str()) != Some(change.dot.node.as_str()) {
            by = Knowers::default();
        }
        while let Some((dot, knower)) = known.next_if(|(dot, _)| **dot >= change.dot) {
            if dot.node == change.dot.node {
                by.add(knower);
            }
        }
        *is_replaced = by.replace(change);
    }
    // Whoever goes in circles empties no key.
    if !is_replaced.contains(&false)
        && let Some((last, _)) =
            changes.iter().enumerate().max_by(|(_, (a, _)), (_, (b, _))| a.stamp().cmp(&b.stamp()))
    {
        is_replaced[last] = false;
    }
    is_replaced
}

/// The changes that know another one.
#[derive(Default)]
struct Knowers<'a> {
    greatest: Option<(Hlc, &'a Dot)>,
    /// The newest of each node: whoever knows that knows the others.
    newest: HashMap<&'a str, &'a Dot>,
}

impl<'a> Knowers<'a> {
    fn add(&mut self, knower: &'a Sibling) {
        self.greatest = self.greatest.max(Some(knower.stamp()));
        let newest = self.newest.entry(knower.dot.node.as_str()).or_insert(&knower.dot);
        *newest = (*newest).max(&knower.dot);
    }

    /// Whether one of them replaces the change. A change that knows itself does not replace itself.
    fn replace(&self, change: &Sibling) -> bool {
        self.greatest > Some(change.stamp()) || self.newest.values().any(|dot| !change.ctx.covers(dot))
    }
}

/// The siblings, by stamp.
impl IntoIterator for Siblings {
    type Item = Sibling;
    type IntoIter = std::vec::IntoIter<Sibling>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
pub mod tests;

//! One record meets its key: what that makes of the key, and what the record says afterwards.
//!
//! Pure: nothing here reads a clock or the store, so every host that has the same changes writes the same.

use crate::{
    carry::Carried,
    clock::Hlc,
    draft::Draft,
    siblings::{Outcome, Sibling, Siblings},
    strategy::{Method, Resolution, Strategy},
    wire,
};
use lockstep_plugin_api::{
    causality::{Dot, Known},
    change::{CONFIG_CREATED, CONFIG_DELETED, CONFIG_UPDATED},
    prelude::*,
};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A key before and after something new was learnt about it.
#[derive(Debug)]
pub struct Turn {
    pub before: Siblings,
    pub after: Siblings,
    /// What the key showed, and what it shows now; `None` if it is not there.
    old_value: Option<Text>,
    new_value: Option<Text>,
    /// How what it shows came about, if that took more than one change.
    outcome: Option<Outcome>,
    /// The conflict that somebody had to decide about before, and the one that somebody has to now.
    pending: (Option<Uuid>, Option<Uuid>),
    /// The revision that the record's author said it had seen.
    pub base_revision: Option<u64>,
    /// The change that the record stands for; it is one of `after`.
    subject: Dot,
}

impl Turn {
    /// Takes the changes of a record in; `None` if none of them is news. `own` is the one that the record is about,
    /// unless it was known and others beside it were not.
    pub fn take(before: Siblings, changes: Siblings, own: Dot) -> Option<Self> {
        let mut after = before.clone();
        let newest = after.join(changes).pop()?;
        let is_news = before.get(&own).is_none() && after.get(&own).is_some();
        let subject = if is_news { own } else { newest };
        let outcome = if after.is_conflict() { after.outcome() } else { None };
        let new_value = match &outcome {
            Some(outcome) => outcome.resolution.value.clone(),
            None => after.value(),
        };
        let old_value = before.value();
        let is_pending = outcome.as_ref().is_some_and(|outcome| outcome.resolution.is_pending());
        let pending = (before.pending(), is_pending.then(|| after.conflict_id()));
        Some(Self { before, after, old_value, new_value, outcome, pending, base_revision: None, subject })
    }

    /// The record's change was carried forward to what was current: it met others, and none of them stands beside it.
    #[must_use]
    pub fn carried(mut self, carried: Carried) -> Self {
        let mut changes = carried.over;
        changes.push(self.subject().event_id.clone());
        let n_applied = changes.len() - usize::from(carried.is_lost);
        let method = Method::OperationalTransform {
            operations_applied: n_applied,
            base_value: Some(carried.base_value),
        };
        let resolution = Resolution {
            value: self.new_value.clone(),
            method,
            winner: None,
            applied: (0..n_applied).collect(),
            discarded: (n_applied..changes.len()).collect(),
            conflicts: carried.conflicts,
        };
        self.outcome = Some(Outcome { strategy: Strategy::OperationalTransform, resolution, changes });
        self
    }

    /// How what the key shows came about; `None` if the record's change met no concurrent one.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The conflict that somebody had to decide about before, and the one that somebody has to now.
    pub fn pending(&self) -> (Option<Uuid>, Option<Uuid>) {
        self.pending
    }

    /// What the key shows now, as JSON text; `None` if it is not there.
    pub fn new_value(&self) -> Option<&Text> {
        self.new_value.as_ref()
    }

    /// The change that the record stands for.
    pub fn subject(&self) -> &Sibling {
        self.after.get(&self.subject).expect("the subject is one of the siblings")
    }

    /// Whether the record's change was made with everything in view that stood against each other.
    pub fn ends_conflict(&self) -> bool {
        self.before.is_conflict() && !self.after.is_conflict()
    }

    /// Whether somebody who knows this knows every change that stands now.
    pub fn is_covered_by(&self, known: &Known) -> bool {
        self.after.list().iter().all(|sibling| known.covers(&sibling.dot))
    }

    fn event_type(&self) -> &'static str {
        match (&self.old_value, &self.new_value) {
            (_, None) => CONFIG_DELETED,
            (None, Some(_)) => CONFIG_CREATED,
            (Some(_), Some(_)) => CONFIG_UPDATED,
        }
    }

    /// Makes the record's change say what became of the key.
    ///
    /// # Errors
    /// If a stored value is no JSON, which it was when it was taken in.
    pub fn write(&self, change: &mut Change) -> Result<()> {
        let subject = self.subject();
        let is_about = is_about(change, &self.subject);
        if !is_about && change.dot().is_some() {
            forget_own(change);
        }
        // Where `siblings` told of the change, the fields beside them need not say the same of it.
        if !is_about || change.siblings().is_some() {
            write_identity(change, subject)?;
        }
        let value = self.new_value.as_deref().unwrap_or("null");
        if change.new_value().as_str() != value {
            change.set_new_value(Json::parse(value)?);
        }
        change.set_event_type(self.event_type());
        change.set_old_value(json(self.old_value.as_ref())?);
        // What the author saw before its change is part of the change. Where this host saw something else, the two are
        // told apart by naming the sibling even if it stands alone.
        let is_plain = self.after.list().len() == 1 && same_old(self.old_value.as_ref(), subject);
        change.set_siblings(if is_plain { None } else { Some(wire::siblings_json(&self.after)?) });
        change.set_revision(None);
        change.set_epoch(None);
        flag(change, self.pending.1)
    }
}

/// The field of `metadata` that says which conflict somebody has to decide about; the value that is shown is not decided.
const PENDING_CONFLICT: &str = "pending_conflict";

/// Says in the change whether what it shows is decided.
fn flag(change: &mut Change, pending: Option<Uuid>) -> Result<()> {
    let has_flag = change.metadata().is_some_and(|metadata| metadata.as_str().contains(PENDING_CONFLICT));
    if pending.is_none() && !has_flag {
        return Ok(());
    }
    // What is no object stays, and has no room for it.
    let fields = change.metadata().map_or(Ok(BTreeMap::new()), Json::read::<BTreeMap<String, Box<RawValue>>>);
    let Ok(mut fields) = fields else { return Ok(()) };
    match pending {
        Some(id) => {
            drop(fields.insert(PENDING_CONFLICT.to_owned(), to_raw_value(&id).map_err(Error::failed)?))
        }
        None => drop(fields.remove(PENDING_CONFLICT)),
    }
    change.set_metadata(if fields.is_empty() { None } else { Some(Json::write(&fields)?) });
    Ok(())
}

/// Whether the change already carries this dot.
fn is_about(change: &Change, dot: &Dot) -> bool {
    change.dot().and_then(|own| own.read::<Dot>().ok()).is_some_and(|own| own == *dot)
}

fn same_old(before: Option<&Text>, subject: &Sibling) -> bool {
    before.filter(|value| value.as_str() != "null") == subject.old_value.as_ref()
}

/// The record was about another change, which was known: what its author said beside it is not about this one.
fn forget_own(change: &mut Change) {
    change.set_base(None);
    change.set_fence(None);
    change.set_metadata(None);
    change.set_idempotency_key(None);
}

fn write_identity(change: &mut Change, sibling: &Sibling) -> Result<()> {
    change.set_dot(Some(Json::write(&sibling.dot)?));
    change.set_ctx(Some(Json::write(&sibling.ctx)?));
    change.set_hlc(Some(sibling.hlc.to_string().into()));
    change.set_event_id(Some(sibling.event_id.clone()));
    change.set_strategy(Some(sibling.strategy.to_string().into()));
    change.set_source_node(sibling.source_node.clone());
    change.set_user_id(sibling.user_id.clone());
    change.set_timestamp_us(sibling.timestamp_us);
    change.set_base_hash(sibling.base_hash.clone());
    change.set_ops(json(sibling.ops.as_ref())?);
    Ok(())
}

fn json(text: Option<&Text>) -> Result<Option<Json>> {
    text.map(|text| Json::parse(text)).transpose()
}

/// The place of a change that has none yet, among the changes of all hosts.
#[derive(Debug)]
pub struct Stamp<'a> {
    pub dot: Dot,
    pub hlc: Hlc,
    pub event_id: Text,
    pub strategy: Strategy,
    /// Where and when it is taken in, for what the change does not say itself.
    pub node_id: &'a str,
    pub now_us: i64,
}

/// A change without a dot becomes one of this host's, made by somebody who had seen `base` and made `draft` of it.
pub fn authored(change: &Change, base: &Siblings, draft: Draft, stamp: Stamp<'_>) -> Sibling {
    Sibling {
        dot: stamp.dot,
        ctx: base.known(),
        hlc: stamp.hlc,
        event_id: stamp.event_id,
        strategy: stamp.strategy,
        value: draft.value,
        old_value: base.value().filter(|value| value.as_str() != "null"),
        user_id: change.user_id().map(Text::from),
        source_node: Some(change.source_node().unwrap_or(stamp.node_id).into()),
        timestamp_us: Some(change.timestamp_us().unwrap_or(stamp.now_us)),
        base_hash: draft.base_hash,
        ops: draft.ops,
    }
}

//! One conflict that a person decides: who wants what, since when, and what became of it.
//!
//! Its JSON is the guide's record of a conflict (contract CR-07) with what the guide leaves out; it lies so in the store.
//! While nobody has decided, what the authors want is not part of it there: the siblings of the key say it.

use super::Time;
use crate::{
    config::RECORD_LASTS,
    conflict::Conflict,
    siblings::{Sibling, Siblings},
};
use lockstep_plugin_api::{
    causality::Dot,
    change::{CONFIG_DELETED, CONFIG_UPDATED},
    prelude::*,
    sealed::is_sealed,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// How much the values in a notice, or in a case that was decided, may weigh together.
pub const MOST_BYTES: usize = 64 << 10;

/// One conflict.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    pub conflict_id: Uuid,
    pub config_key: String,
    pub tenant_id: Option<String>,
    /// In the order of their stamps.
    #[serde(default)]
    pub competing_changes: Vec<Wanted>,
    pub created_at: Time,
    pub status: Status,
    pub assigned_to: Option<String>,
    /// When its record in Redis ends; the case does not.
    pub expires_at: Time,
    /// Since when somebody has to decide about this key: when the first of several cases that followed each other began.
    pub open_since: Time,
    /// How many changes stand against each other.
    pub n_changes: usize,
    /// What the key shows meanwhile: the last write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_value: Option<Box<RawValue>>,
    /// The event id of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_change: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// The case that this one goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Decision>,
    /// When it was decided, or superseded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminded_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated_at: Option<Time>,
    /// How many changes have met others in it, for the counters.
    #[serde(default)]
    pub n_detected: u64,
}

/// Where a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[serde(rename = "pending_manual_resolution")]
    Pending,
    Resolved,
    /// Another change came, and there is another case.
    Superseded,
}

/// What one author wants: the guide's change, with what names it among all changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wanted {
    pub event_id: String,
    pub event_type: String,
    pub user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_node: Option<String>,
    pub timestamp: Option<Time>,
    pub dot: Dot,
    pub hlc: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub new_value: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub old_value: Option<Box<RawValue>>,
    /// Why the values are not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Withheld>,
}

/// Why a value is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    Sealed,
    TooLarge,
    /// The case that goes on from this one has them.
    Superseded,
}

/// What ended a case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    pub event_id: String,
    pub dot: Dot,
    pub user_id: Option<String>,
    pub resolution_method: String,
    pub resolved_at: Time,
    /// What its author said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<Box<RawValue>>,
}

/// `null` is a value.
fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Box<RawValue>>, D::Error> {
    <Box<RawValue>>::deserialize(deserializer).map(Some)
}

/// Why the values of these are not told; `None` if they are. What holds more than one may be large, and what is sealed is
/// for those who have its key.
pub fn withheld(siblings: &Siblings, most_bytes: usize) -> Option<Withheld> {
    let texts = || siblings.list().iter().flat_map(|one| [&one.value, &one.old_value, &one.ops]).flatten();
    if texts().any(|text| is_sealed(text)) {
        return Some(Withheld::Sealed);
    }
    (texts().map(|text| text.len()).sum::<usize>() > most_bytes).then_some(Withheld::TooLarge)
}

impl Case {
    /// A case that begins now.
    pub fn opened(id: Uuid, (tenant, key): (Option<&str>, &str), siblings: &Siblings, now: Time) -> Self {
        Self {
            conflict_id: id,
            config_key: key.to_owned(),
            tenant_id: tenant.map(str::to_owned),
            competing_changes: Vec::new(),
            created_at: now,
            status: Status::Pending,
            assigned_to: None,
            expires_at: now.after(RECORD_LASTS),
            open_since: now,
            n_changes: siblings.contenders().len(),
            shown_value: None,
            shown_change: None,
            conflicts: Vec::new(),
            supersedes: None,
            superseded_by: None,
            resolution: None,
            closed_at: None,
            reminded_at: None,
            escalated_at: None,
            n_detected: 1,
        }
    }

    /// The same case, which goes on from an earlier one: whoever had that has this, has had it for as long, and
    /// was told so as often.
    #[must_use]
    pub fn following(mut self, earlier: &Self) -> Self {
        self.supersedes = Some(earlier.conflict_id);
        self.assigned_to.clone_from(&earlier.assigned_to);
        if earlier.status == Status::Pending {
            self.open_since = earlier.open_since;
            self.n_detected += earlier.n_detected;
            (self.reminded_at, self.escalated_at) = (earlier.reminded_at, earlier.escalated_at);
        }
        self
    }

    /// The case ends because another one goes on from it.
    #[must_use]
    pub fn superseded(mut self, by: Uuid, stood: &Siblings, now: Time) -> Self {
        if self.status == Status::Pending {
            self.competing_changes = stood
                .contenders()
                .into_iter()
                .map(|one| Wanted::named(one, Some(Withheld::Superseded)))
                .collect();
            self.closed_at = Some(now);
        }
        self.status = Status::Superseded;
        self.superseded_by = Some(by);
        self
    }

    /// The case ends because nothing has to be decided any more.
    #[must_use]
    pub fn decided(self, decision: Decision, stood: &Siblings) -> Self {
        let closed_at = Some(decision.resolved_at);
        let case = self.showing(stood, MOST_BYTES);
        Self { status: Status::Resolved, resolution: Some(decision), closed_at, ..case }
    }

    /// The case with what its authors want, if that is not more than `most_bytes`; what is sealed is not told.
    #[must_use]
    pub fn showing(&self, siblings: &Siblings, most_bytes: usize) -> Self {
        let (contenders, withheld) = (siblings.contenders(), withheld(siblings, most_bytes));
        let wanted = |one: &&Sibling| match withheld {
            Some(why) => Wanted::named(one, Some(why)),
            None => Wanted::of(one),
        };
        let conflicts = siblings.outcome().map(|outcome| outcome.resolution.conflicts);
        Self {
            competing_changes: contenders.iter().map(wanted).collect(),
            shown_value: siblings.value().filter(|_| withheld.is_none()).as_ref().and_then(raw),
            shown_change: contenders.last().map(|last| last.event_id.to_string()),
            conflicts: conflicts.filter(|_| withheld.is_none()).unwrap_or_default(),
            ..self.clone()
        }
    }

    /// The case without anything that an author wants.
    #[must_use]
    pub fn without_values(&self) -> Self {
        let named = |one: &Wanted| Wanted { new_value: None, old_value: None, ..one.clone() };
        Self {
            competing_changes: self.competing_changes.iter().map(named).collect(),
            shown_value: None,
            conflicts: Vec::new(),
            ..self.clone()
        }
    }

    /// Whose key it is about, and which.
    pub fn names(&self) -> (Option<&str>, &str) {
        (self.tenant_id.as_deref(), &self.config_key)
    }
}

impl Wanted {
    /// Everything about it.
    pub fn of(sibling: &Sibling) -> Self {
        Self {
            event_id: sibling.event_id.to_string(),
            event_type: if sibling.value.is_some() { CONFIG_UPDATED } else { CONFIG_DELETED }.to_owned(),
            user_id: sibling.user_id.as_ref().map(ToString::to_string),
            source_node: sibling.source_node.as_ref().map(ToString::to_string),
            timestamp: sibling.timestamp_us.map(Time),
            dot: sibling.dot.clone(),
            hlc: sibling.hlc.to_string(),
            new_value: sibling.value.as_ref().and_then(raw),
            old_value: sibling.old_value.as_ref().and_then(raw),
            withheld: None,
        }
    }

    /// Everything but the values, and why these are not told.
    pub fn named(sibling: &Sibling, withheld: Option<Withheld>) -> Self {
        Self { new_value: None, old_value: None, withheld, ..Self::of(sibling) }
    }
}

fn raw(text: &Text) -> Option<Box<RawValue>> {
    serde_json::from_str(text).ok()
}

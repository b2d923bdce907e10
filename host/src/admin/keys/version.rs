//! What a key was at some revision or moment, and why that cannot be told.

use super::super::answer::Refusal;
use super::moment::Moment;
use crate::history::Tree;
use crate::log::{At, Before, Log};
use lockstep_plugin_api::change::CONFIG_CREATED;
use lockstep_plugin_api::{Change, Json, Record, time};
use serde::{Serialize, de};
use serde_json::json;

/// The history of one key.
#[derive(Clone, Copy)]
pub(super) struct Versions<'h> {
    pub log: &'h Log,
    pub tenant: Option<&'h str>,
    pub key: &'h str,
}

/// What the key was, from one of its changes on.
pub(super) struct Version {
    /// The change; `None` if there was none yet, or it is known by the next one alone.
    pub record: Option<Record>,
    /// `None` if the key had no value.
    pub value: Option<Json>,
    /// The change's; 0 before the first one, `None` if it is not known any more.
    pub revision: Option<u64>,
}

/// The same for programs.
#[derive(Serialize)]
pub(super) struct ShownVersion<'v> {
    revision: Option<u64>,
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

impl<'h> Versions<'h> {
    /// What the key is now.
    pub fn newest(&self) -> Result<Version, Refusal> {
        let newest = self.log.get(self.tenant, self.key)?;
        newest.map(Version::of).ok_or_else(|| Refusal::not_found(format!("there is no key `{}`", self.key)))
    }

    /// What it was.
    pub fn at(&self, moment: &Moment) -> Result<Version, Refusal> {
        let (own, head) = (self.log.epoch(), self.log.head());
        let found = match moment {
            Moment::Revision { epoch: Some(epoch), .. } if epoch != own => {
                let message = format!("`{epoch}` is another log than this one, which is `{own}`");
                return Err(self.unknown(message, self.reaches_back_to()));
            }
            Moment::Revision { revision, .. } if *revision > head => {
                let message = format!("there is no revision {revision} yet: the newest one is {head}");
                return Err(self.unknown(message, self.reaches_back_to()));
            }
            Moment::Revision { revision, .. } => self.log.entry_at(self.tenant, self.key, *revision)?,
            Moment::Time(at_us) => self.log.entry_at_time(self.tenant, self.key, *at_us)?,
        };
        match found {
            At::Entry(record) => Ok(Version::of(record)),
            At::Absent => Ok(Version::absent()),
            At::Compacted { reaches_back_to } => Err(self.forgotten(moment, reaches_back_to)),
        }
    }

    /// What it was before this version. Where history no longer reaches, the change itself may still tell.
    pub fn before(&self, version: &Version) -> Result<Version, Refusal> {
        let Some(revision) = version.revision.filter(|revision| *revision > 0) else {
            return Ok(Version::absent());
        };
        // From the version itself: whatever is newer does not have to be walked through.
        let mut history = self.log.history(self.tenant, self.key, Some(revision), 1)?;
        match (history.records.pop(), history.before) {
            (Some(record), _) => Ok(Version::of(record)),
            (None, Before::Compacted) => {
                let moment = Moment::Revision { epoch: None, revision: revision - 1 };
                let replaced = |value| Version { record: None, value, revision: None };
                version.replaced().map(replaced).ok_or_else(|| self.forgotten(&moment, revision))
            }
            (None, Before::Nothing | Before::More) => Ok(Version::absent()),
        }
    }

    fn reaches_back_to(&self) -> Option<u64> {
        self.log.reaches_back_to(self.tenant, self.key).ok().flatten()
    }

    fn forgotten(&self, moment: &Moment, oldest: u64) -> Refusal {
        let when = match moment {
            Moment::Revision { revision, .. } => format!("revision {revision}"),
            Moment::Time(_) => moment.to_string(),
        };
        let key = self.key;
        let message = format!(
            "what `{key}` was at {when} is no longer kept: its history reaches back to revision {oldest}"
        );
        self.unknown(message, Some(oldest))
    }

    fn unknown(&self, message: String, reaches_back_to: Option<u64>) -> Refusal {
        Refusal::of_code("unknown_base", message).with_details(json!({
            "epoch": self.log.epoch(),
            "revision": self.log.head(),
            "compacted": self.log.compacted(),
            "reaches_back_to": reaches_back_to,
        }))
    }
}

impl Version {
    /// Before its first change.
    fn absent() -> Self {
        Self { record: None, value: None, revision: Some(0) }
    }

    pub fn of(record: Record) -> Self {
        let change = record.known_change();
        let value = change.filter(|change| !change.is_deletion()).map(|change| change.new_value().clone());
        Self { revision: change.and_then(Change::revision), value, record: Some(record) }
    }

    pub fn change(&self) -> Option<&Change> {
        self.record.as_ref()?.known_change()
    }

    /// The value, part by part.
    pub fn tree(&self) -> Option<Tree<'_>> {
        self.value.as_ref().map(|value| Tree::of(value.as_str()))
    }

    /// What its change says that the key was before: a value or none; `None` if it does not say.
    pub fn replaced(&self) -> Option<Option<Json>> {
        let change = self.change()?;
        match change.old_value() {
            Some(old) => Some(Some(old.clone())),
            None if change.event_type() == CONFIG_CREATED => Some(None),
            None => None,
        }
    }

    /// How many changes stand against each other in it; 0 or 1 if none do.
    pub fn n_standing(&self) -> usize {
        let siblings = self.change().and_then(Change::siblings);
        siblings.and_then(|siblings| siblings.read::<Vec<de::IgnoredAny>>().ok()).map_or(0, |list| list.len())
    }

    pub fn shown(&self) -> ShownVersion<'_> {
        let change = self.change();
        ShownVersion {
            revision: self.revision,
            exists: self.value.is_some(),
            event_type: change.map(Change::event_type),
            user_id: change.and_then(Change::user_id),
            timestamp: change.and_then(Change::timestamp_us).map(time::format_us),
        }
    }
}

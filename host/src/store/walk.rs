//! A walk through everything that the engine holds, step by step: records in the order of their keys, the
//! audit's after the others, then entries.
//!
//! Invariant: what is there from the first step to the last is met once; what is changed meanwhile may be met or not.

use std::ops::Bound::{Excluded, Unbounded};

use fjall::{Keyspace, Readable};

use super::engine::{Changes, Engine, read_error};
use super::error::StoreError;
use super::keyspaces::Keyspaces;

/// How far a walk has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Records up to this stored key.
    Record(Vec<u8>),
    /// All other records, and the audit's up to this stored key.
    Audit(Vec<u8>),
    /// All records, and entries up to this revision.
    Entry(u64),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct StepLimit {
    /// Values that are looked at.
    pub values: u64,
    /// Bytes of values that are taken along, but for the last of them.
    pub bytes: usize,
}

/// What lies between one place and the next.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The values that were wanted, opened, each at its place.
    pub changes: Changes,
    pub n_values: u64,
    pub n_wanted: u64,
    n_bytes: usize,
    /// `None` at the end.
    pub next: Option<Place>,
}

/// How a stored key of a keyspace is a place.
type PlaceOf = fn(Vec<u8>) -> Place;

impl Place {
    pub const START: Self = Self::Record(Vec::new());
}

impl Engine {
    /// The values after `place` whose stored form is `wanted`.
    pub fn step(
        &self,
        place: &Place,
        limit: StepLimit,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Step, StoreError> {
        let snapshot = self.database.snapshot();
        let mut step = Step::default();
        for (keyspace, after, place) in self.records_after(place) {
            for item in snapshot.range::<&[u8], _>(keyspace, (Excluded(after), Unbounded)) {
                let (key, stored) = item.into_inner().map_err(read_error)?;
                if step.sees(&stored, &wanted) {
                    step.changes.records.insert(key.to_vec(), Some(self.form.open(&key, &stored)?));
                }
                if step.is_full(limit) {
                    return Ok(Step { next: Some(place(key.to_vec())), ..step });
                }
            }
        }
        let after = if let Place::Entry(revision) = place { *revision } else { 0 };
        let after = (Excluded(after.to_be_bytes()), Unbounded);
        for item in snapshot.range::<[u8; 8], _>(&self.keyspaces.entries, after) {
            let (key, stored) = item.into_inner().map_err(read_error)?;
            let revision = u64::from_be_bytes((*key).try_into().expect("only revisions are keys of entries"));
            if step.sees(&stored, &wanted) {
                step.changes.entries.insert(revision, Some(self.form.open(&key, &stored)?));
            }
            if step.is_full(limit) {
                return Ok(Step { next: Some(Place::Entry(revision)), ..step });
            }
        }
        Ok(step)
    }

    /// The keyspaces of records that are not through yet: after which key to go on, and what a place in it is.
    fn records_after<'a>(&'a self, place: &'a Place) -> Vec<(&'a Keyspace, &'a [u8], PlaceOf)> {
        let Keyspaces { records, audit, .. } = &self.keyspaces;
        match place {
            Place::Record(after) => {
                vec![(records, after.as_slice(), Place::Record), (audit, &[], Place::Audit)]
            }
            Place::Audit(after) => vec![(audit, after.as_slice(), Place::Audit)],
            Place::Entry(_) => Vec::new(),
        }
    }

    /// Where a walk ends: after the newest of everything.
    pub fn end(&self) -> Result<Place, StoreError> {
        let Keyspaces { records, audit, entries } = &self.keyspaces;
        if let Some(last) = entries.last_key_value() {
            let key = last.key().map_err(read_error)?;
            return Ok(Place::Entry(u64::from_be_bytes((*key).try_into().expect("only revisions are keys"))));
        }
        let last = |keyspace: &Keyspace| {
            let key = keyspace.last_key_value().map(fjall::Guard::key).transpose().map_err(read_error)?;
            Ok::<_, StoreError>(key.map(|key| key.to_vec()))
        };
        match last(audit)? {
            Some(key) => Ok(Place::Audit(key)),
            None => Ok(last(records)?.map_or(Place::START, Place::Record)),
        }
    }

    /// How many values there are; those that were replaced may still be counted.
    pub fn about_n_values(&self) -> u64 {
        self.keyspaces.all().map(Keyspace::approximate_len).iter().sum::<usize>() as u64
    }
}

impl Step {
    /// Counts a value, and says whether it is to be taken along.
    fn sees(&mut self, stored: &[u8], wanted: impl Fn(&[u8]) -> bool) -> bool {
        let is_wanted = wanted(stored);
        self.n_values += 1;
        self.n_wanted += u64::from(is_wanted);
        self.n_bytes += if is_wanted { stored.len() } else { 0 };
        is_wanted
    }

    fn is_full(&self, limit: StepLimit) -> bool {
        self.n_values >= limit.values || self.n_bytes >= limit.bytes
    }
}

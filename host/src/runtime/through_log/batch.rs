//! A batch on its way into a commit: its parts, and what the chain made of them at one attempt.

use super::{
    super::{
        chain::Held, dead_letter::Prepared, failed::FailedRecord, flight::Flight, source_task::ChainInput,
    },
    counted::EventTypes,
    seen::{Name, Seen},
};
use crate::audit::{Audit, Author};
use crate::log::Log;
use crate::pipeline::Step;
use crate::store::{Commit, StoreError};
use lockstep_plugin_api::{Change, Error, Json, Record, abi::Records};
use std::{collections::HashMap, mem, sync::Arc};

/// A flight, or a piece of one, on its way into a commit.
pub struct Part {
    pub flight: Arc<Flight>,
    pub records: Records,
    pub from: usize,
    /// Whether the flight ends with it.
    pub is_last: bool,
    /// Records that were committed before, with the revision they got then.
    pub repeats: Vec<(u64, u64)>,
    /// What authors call their records, by id.
    pub names: Vec<(u64, Name)>,
    /// Records that cannot be committed whatever the chain says.
    pub refused: Vec<FailedRecord>,
}

/// What the chain made of a batch, once.
#[derive(Default)]
pub struct Attempt<'a> {
    pub commit: Commit,
    pub entries: Vec<Record>,
    /// One for each part.
    pub made: Vec<Made<'a>>,
    pub letters: Vec<Prepared>,
}

/// What became of the records of one part.
#[derive(Default)]
pub struct Made<'a> {
    pub failed: Vec<(&'a Step, Vec<FailedRecord>)>,
    /// Ids and the places of their entries in the commit.
    pub entries: Vec<(u64, usize)>,
    pub event_types: EventTypes,
    pub told: HashMap<u64, Json>,
}

impl From<ChainInput> for Part {
    fn from(input: ChainInput) -> Self {
        let ChainInput { flight, records, from } = input;
        let (repeats, names, refused) = (Vec::new(), Vec::new(), Vec::new());
        Self { flight, records, from, is_last: true, repeats, names, refused }
    }
}

impl Part {
    /// This part, and another one of the same flight with what comes after it.
    pub fn split(mut self, rest: Records) -> (Self, Option<Self>) {
        let (flight, from, is_last) = (self.flight.clone(), self.from, mem::take(&mut self.is_last));
        let (now, later): (Vec<_>, Vec<_>) = mem::take(&mut self.names)
            .into_iter()
            .partition(|(id, _)| rest.iter().all(|record| record.id() != *id));
        self.names = now;
        let (repeats, refused) = (Vec::new(), Vec::new());
        let rest = Self { flight, records: rest, from, is_last, repeats, names: later, refused };
        (self, Some(rest))
    }
}

/// A change with its value. Operations that no transform has applied would be committed as a `null`.
fn applied(change: &Change) -> Result<&Change, Error> {
    let text = "no component of this pipeline applies `ops`: send the whole value as `new_value`";
    if change.is_unapplied() { Err(Error::rejected("bad_message", text)) } else { Ok(change) }
}

impl<'a> Attempt<'a> {
    /// Takes in what the chain made of one part; `author` is who made its changes.
    pub fn add(
        &mut self,
        part: &Part,
        out: Records,
        held: Held<'a>,
        committing: &'a Step,
        (audit, author): (&Audit, Author<'_>),
    ) {
        let Held { mut failed, told } = held;
        let mut made = Made { told: told.into_iter().collect(), ..Made::default() };
        let mut unfit: Vec<FailedRecord> = Vec::new();
        unfit.extend(part.refused.iter().map(|one| FailedRecord::new(one.record.clone(), one.error.clone())));
        for mut record in out {
            match record.change().and_then(applied) {
                Ok(change) => {
                    audit.add_change(&mut self.commit, change, self.entries.len(), &author);
                    made.event_types.push(change);
                }
                Err(error) => {
                    unfit.push(FailedRecord::new(record, error));
                    continue;
                }
            }
            // Of several that one record became, the last one is what its author hears of.
            match made.entries.last_mut().filter(|(id, _)| *id == record.id()) {
                Some((_, place)) => *place = self.entries.len(),
                None => made.entries.push((record.id(), self.entries.len())),
            }
            self.entries.push(record);
        }
        if !unfit.is_empty() {
            failed.push((committing, unfit));
        }
        for (id, name) in &part.names {
            if let Some((_, place)) = made.entries.iter().find(|(made, _)| made == id) {
                Seen::add(&mut self.commit, name, *place);
            }
        }
        made.failed = failed;
        self.made.push(made);
    }

    /// The revision of the first entry. What writes nothing needs no commit.
    pub fn commit(&mut self, log: &Log) -> Result<u64, StoreError> {
        let (commit, entries) = (mem::take(&mut self.commit), mem::take(&mut self.entries));
        if entries.is_empty() && commit.is_empty() {
            return Ok(0);
        }
        log.commit(commit, entries)
    }
}

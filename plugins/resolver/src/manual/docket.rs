//! Where cases lie, and what a change of a key does to them.
//!
//! A key has at most one case that is not decided, and that is about exactly the siblings that stand. Everything is staged
//! with the batch that changes the key. A case that is not decided is never forgotten.

use super::{Case, Claim, Decision, Status, Time};
use crate::{
    ledger::{Ledger, Place},
    siblings::Siblings,
    turn::Turn,
};
use lockstep_plugin_api::prelude::*;
use uuid::Uuid;

/// Cases by their ids.
const CASE: u8 = b'm';
/// The ids of cases that are not decided, by their keys.
const PENDING: u8 = b'p';
/// The ids of cases that are over, the newest first.
const OVER: u8 = b'd';
/// The id of each key's last decided case.
const LAST: u8 = b'l';

/// The cases of this host.
#[derive(Debug, Clone, Copy)]
pub struct Docket<'a>(Ledger<'a>);

/// What a change did to the cases.
#[derive(Debug, Default)]
pub struct Moved {
    /// Somebody has to decide, and nobody had to about this.
    pub opened: Option<Case>,
    /// A case ended: it was decided, or another one goes on from it.
    pub closed: Option<Case>,
}

impl Moved {
    /// The case that was decided.
    pub fn decided(&self) -> Option<&Case> {
        self.closed.as_ref().filter(|case| case.status == Status::Resolved)
    }
}

impl<'a> Docket<'a> {
    pub fn new(context: &'a Context) -> Self {
        Self(Ledger::new(context))
    }

    /// A case by its id.
    ///
    /// # Errors
    /// `Fatal` if another version wrote it.
    pub fn case(self, id: Uuid) -> Result<Option<Case>> {
        Ok(self.stored(id)?.map(|(case, _)| case))
    }

    /// A case with its bytes, for a commit that expects them.
    ///
    /// # Errors
    /// As [`Docket::case`].
    pub fn stored(self, id: Uuid) -> Result<Option<(Case, Bytes)>> {
        let Some(bytes) = self.0.get(&case_key(id))? else { return Ok(None) };
        Ok(Some((serde_json::from_slice(&bytes).map_err(Error::fatal)?, bytes)))
    }

    /// The siblings that a case is about; `None` if they do not stand any more.
    ///
    /// # Errors
    /// What the store says.
    pub fn standing(self, case: &Case) -> Result<Option<Siblings>> {
        let (tenant, key) = case.names();
        let siblings = self.0.siblings(&Place::of(tenant, key))?;
        Ok(Some(siblings).filter(|siblings| siblings.pending() == Some(case.conflict_id)))
    }

    /// Takes up what became of a key, inside the batch.
    ///
    /// # Errors
    /// What the store says.
    pub fn follow(self, place: &Place, turn: &Turn, claim: &Claim, now: Time) -> Result<Moved> {
        let (old, new) = turn.pending();
        let Some(names) = place.names().filter(|_| old != new) else { return Ok(Moved::default()) };
        let earlier = match old {
            // One that was left by a host without cases begins here.
            Some(id) => Some(self.case(id)?.unwrap_or_else(|| Case::opened(id, names, &turn.before, now))),
            None if new.is_some() => self.reopened(place, turn)?,
            None => None,
        };
        let mut moved = Moved::default();
        match new {
            Some(id) => {
                let case = Case::opened(id, names, &turn.after, now);
                let case = earlier.as_ref().map_or(case.clone(), |earlier| case.following(earlier));
                self.stage(&case)?;
                moved.opened = Some(case);
                moved.closed = earlier.map(|earlier| earlier.superseded(id, &turn.before, now));
            }
            None => moved.closed = earlier.map(|case| case.decided(decision(turn, claim, now), &turn.before)),
        }
        self.0.stage(&place.beside(PENDING), new.map(id_bytes))?;
        if let Some(closed) = &moved.closed {
            self.stage(closed)?;
            self.0.stage(&over_key(closed), Some(Bytes::new()))?;
            if closed.status == Status::Resolved {
                self.0.stage(&place.beside(LAST), Some(id_bytes(closed.conflict_id)))?;
            }
        }
        Ok(moved)
    }

    /// The decided case that a late change reopens: its decision stands against others now.
    fn reopened(self, place: &Place, turn: &Turn) -> Result<Option<Case>> {
        let Some(last) = self.0.get(&place.beside(LAST))? else { return Ok(None) };
        let last = Uuid::from_slice(&last).ok().map(|id| self.case(id)).transpose()?.flatten();
        let stands = |case: &Case| {
            case.resolution.as_ref().is_some_and(|decision| turn.after.get(&decision.dot).is_some())
        };
        Ok(last.filter(stands))
    }

    fn stage(self, case: &Case) -> Result<()> {
        self.0.stage(&case_key(case.conflict_id), Some(written(case)?))
    }

    /// A page of the cases that are not decided, by tenant and key, after a key of their index.
    ///
    /// # Errors
    /// What the store says.
    pub fn pending_page(self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<(Bytes, Uuid)>> {
        let prefix = [&[PENDING], prefix].concat();
        let page = self.0.page(&prefix, after, limit)?;
        Ok(page.into_iter().filter_map(|(key, id)| Some((key, Uuid::from_slice(&id).ok()?))).collect())
    }

    /// A page of the cases that are over, the newest first, after a key of their index.
    ///
    /// # Errors
    /// What the store says.
    pub fn over_page(self, after: Option<&[u8]>, limit: u32) -> Result<Vec<(Bytes, Uuid)>> {
        let page = self.0.page(&[OVER], after, limit)?;
        Ok(page.into_iter().filter_map(|(key, _)| Some((key.clone(), id_of_over(&key)?))).collect())
    }

    /// Where, in the index of cases that are over, those begin that ended before an instant.
    pub fn over_before(instant: Time) -> Vec<u8> {
        [&[OVER][..], &backwards(instant)].concat()
    }

    /// Commits a changed case outside of a batch, unless it changed meanwhile; whether that happened.
    ///
    /// # Errors
    /// What the store says.
    pub fn commit(self, before: Bytes, case: &Case, told: StateCommit) -> Result<bool> {
        let key = case_key(case.conflict_id);
        let commit = told.expect(&key, Some(before)).put(&key, written(case)?);
        Ok(matches!(self.0.commit(commit)?, Committed::Done { .. }))
    }

    /// Forgets a case that is over.
    ///
    /// # Errors
    /// What the store says.
    pub fn forget(self, over: &[u8], id: Uuid) -> Result<()> {
        let mut commit = StateCommit::new().delete(over);
        if let Some((case, bytes)) = self.stored(id)? {
            let last = Place::of(case.tenant_id.as_deref(), &case.config_key).beside(LAST);
            commit = commit.expect(&case_key(id), Some(bytes)).delete(&case_key(id));
            if let Some(named) = self.0.get(&last)?.filter(|named| named[..] == *id.as_bytes()) {
                commit = commit.expect(&last, Some(named)).delete(&last);
            }
        }
        self.0.commit(commit).map(drop)
    }
}

/// Who ended a case, and how.
fn decision(turn: &Turn, claim: &Claim, now: Time) -> Decision {
    let by = turn.subject();
    let method = match turn.outcome() {
        // It is resolved by another strategy from now on.
        Some(outcome) => outcome.resolution.method.name(),
        None => by.strategy.name(),
    };
    Decision {
        event_id: by.event_id.to_string(),
        dot: by.dot.clone(),
        user_id: by.user_id.as_ref().map(ToString::to_string),
        resolution_method: method.to_owned(),
        resolved_at: now,
        how: claim.how.clone(),
    }
}

fn written(case: &Case) -> Result<Bytes> {
    serde_json::to_vec(case).map(Bytes::from).map_err(Error::failed)
}

fn id_bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn case_key(id: Uuid) -> Vec<u8> {
    [&[CASE][..], id.as_bytes()].concat()
}

/// A case that ended twice keeps its first place.
fn over_key(case: &Case) -> Vec<u8> {
    let at = backwards(case.closed_at.unwrap_or(case.created_at));
    [&[OVER][..], &at, case.conflict_id.as_bytes()].concat()
}

/// Later instants come first.
fn backwards(instant: Time) -> [u8; 8] {
    (u64::MAX - u64::try_from(instant.0).unwrap_or(0)).to_be_bytes()
}

fn id_of_over(key: &[u8]) -> Option<Uuid> {
    Uuid::from_slice(key.get(9..)?).ok()
}

//! What is to become true in the host's store at once: leases, registered tokens, and what is told about them.
//!
//! Invariant: every write says what it expects to find, so that the commit fails if it is something else.

use crate::{event::Event, name::LockName, table::Held};
use lockstep_plugin_api::prelude::*;

/// One commit.
#[derive(Default)]
pub struct Writes {
    pub leases: Vec<LeaseWrite>,
    pub fences: Vec<FenceWrite>,
    pub events: Vec<Event>,
    /// Ends that only the audit hears of, because subscribers know of a later lease.
    pub unsaid: Vec<Event>,
    /// Notices of what other hosts did, whose audit has it.
    pub heard: Vec<Record>,
}

/// A lease that begins, changes or goes.
pub struct LeaseWrite {
    pub name: LockName,
    pub before: Option<Bytes>,
    pub after: Option<Held>,
}

/// A token that is registered.
pub struct FenceWrite {
    pub name: LockName,
    pub before: Option<Bytes>,
    pub after: Bytes,
}

impl Writes {
    /// Whether there is nothing for the store in it.
    pub fn is_empty(&self) -> bool {
        let Self { leases, fences, events, unsaid, heard } = self;
        let is_told = !(events.is_empty() && unsaid.is_empty() && heard.is_empty());
        leases.is_empty() && fences.is_empty() && !is_told
    }
}

/// Reads a registered token; 0 if there never was one.
///
/// # Errors
/// If the stored text is no number.
pub fn token_from_stored(stored: Option<&[u8]>) -> Result<u64> {
    stored.map_or(Ok(0), |stored| serde_json::from_slice(stored).map_err(Error::failed))
}

/// Writes a registered token.
pub fn token_to_stored(token: u64) -> Bytes {
    Bytes::from(token.to_string().into_bytes())
}

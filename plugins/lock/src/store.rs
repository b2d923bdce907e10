//! Where leases and tokens lie: in the host's state, beside everything else that is committed.
//!
//! Invariant: a grant and its token are one commit, so the granted token is the registered one.

use crate::{
    clock::Now,
    lease::Lease,
    name::{Kind, LockName},
    table::Held,
    writes::Writes,
};
use lockstep_plugin_api::{
    prelude::*,
    state::{Committed, State, StateCommit},
};
use std::sync::Arc;

/// The namespace of the host's state.
const NAMESPACE: &str = "lock";

/// How many leases are read at once.
const PAGE: u32 = 1000;

/// The leases and registered tokens of this host.
#[derive(Debug, Clone)]
pub struct Store {
    context: Context,
    kind: Kind,
}

impl Store {
    /// The store's leases of one kind; the registered tokens are the same for all.
    pub fn new(context: Context, kind: Kind) -> Self {
        Self { context, kind }
    }

    fn state(&self) -> State<'_> {
        self.context.state(NAMESPACE)
    }

    /// A lease; inside a batch the answer is watched until the batch is committed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn lease(&self, name: &LockName, now: Now) -> Result<Option<Held>> {
        let stored = self.state().get(&name.lease_key(self.kind))?;
        stored.map(|stored| held(stored, now)).transpose()
    }

    /// A registered token as it is stored, watched like a lease.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn fence(&self, name: &LockName) -> Result<Option<Bytes>> {
        self.state().get(&name.fence_key())
    }

    /// Registers a token with the batch that is being applied.
    ///
    /// # Errors
    /// Outside a batch.
    pub fn stage_fence(&self, name: &LockName, token: Bytes) -> Result<()> {
        self.state().stage(&name.fence_key(), Some(token))
    }

    /// Every lease.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn leases(&self, now: Now) -> Result<Vec<(LockName, Held)>> {
        let (mut leases, mut after) = (Vec::new(), None::<Bytes>);
        loop {
            let page = self.state().scan(&self.kind.prefix(), after.as_deref(), PAGE)?;
            for (key, stored) in &page {
                let name = LockName::from_lease_key(self.kind, key).ok_or_else(|| {
                    Error::fatal("the store has a lease under a name that no lock can have")
                })?;
                leases.push((name, held(stored.clone(), now)?));
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE as usize => after = Some(last.clone()),
                _ => return Ok(leases),
            }
        }
    }

    /// Makes writes true, with their notices and audit entries: all of it, or nothing on a conflict.
    ///
    /// # Errors
    /// If the store refuses commits.
    pub fn commit(&self, writes: &Writes, now: Now) -> Result<Committed> {
        let mut commit = StateCommit::new();
        for write in &writes.leases {
            let key = write.name.lease_key(self.kind);
            commit = commit.expect(&key, write.before.clone());
            commit = match &write.after {
                Some(held) => commit.put(&key, held.stored.clone()),
                None => commit.delete(&key),
            };
        }
        for write in &writes.fences {
            let key = write.name.fence_key();
            commit = commit.expect(&key, write.before.clone()).put(&key, write.after.clone());
        }
        for event in &writes.events {
            commit = commit.notice(event.to_notice(self.context.node_id(), now.wall_us)?);
            commit = commit.audit(&event.to_audit(now.wall_us));
        }
        for event in &writes.unsaid {
            commit = commit.audit(&event.to_audit(now.wall_us));
        }
        for notice in &writes.heard {
            commit = commit.notice(notice.clone());
        }
        self.state().commit(commit)
    }
}

fn held(stored: Bytes, now: Now) -> Result<Held> {
    Ok(Held { lease: Arc::new(Lease::from_stored(&stored, now)?), stored })
}

//! What can be asked about locks, and the answers, apart from how either crosses the plugin's boundary.

use crate::{
    lease::{Fields, Shown, ShownLease},
    name::LockName,
};
use serde::Serialize;
use std::time::Duration;

/// What somebody who wants a lock says.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub user_id: String,
    pub session: String,
    pub ttl: Duration,
    pub metadata: Fields,
    /// Names the attempt, so that a repeat does not count twice.
    pub request_id: Option<String>,
}

/// One thing asked of the locks.
#[derive(Debug, Clone)]
pub enum Request {
    Acquire { name: LockName, ask: Ask, wait: Duration },
    Extend { name: LockName, session: String, token: u64, ttl: Option<Duration> },
    Release { name: LockName, session: String, token: Option<u64>, request_id: Option<String> },
    ForceRelease { name: LockName, admin: String, reason: String, expected_token: Option<u64> },
    SessionClosed { session: String },
    Info { name: LockName },
    List { of: Whose },
}

/// Whose locks are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// One tenant's, or those without a tenant.
    Tenant(Option<String>),
    Everybodys,
}

impl Whose {
    pub fn includes(&self, name: &LockName) -> bool {
        match self {
            Self::Tenant(tenant) => tenant.as_deref() == name.tenant(),
            Self::Everybodys => true,
        }
    }
}

/// What is answered to a request that was not refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// A lease as it is now; for a forced release, as it was.
    Lease(Box<ShownLease>),
    /// Whether the lease is given back, and how often the session still has it.
    Released {
        released: bool,
        depth: u32,
    },
    /// What a session had.
    Closed {
        released: usize,
        waiting: usize,
    },
    /// The lease, or JSON's `null`.
    Info(Option<Shown>),
    List(Vec<Shown>),
}

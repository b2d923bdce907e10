//! What a lock is called: a config key of a tenant, spelled for the store and for people.
//!
//! Invariant: two names are spelled alike only if tenant and key are the same, because neither may contain the
//! separators.

use lockstep_plugin_api::{
    names::{key_code, key_problem, tenant_problem},
    prelude::*,
};
use std::{fmt, sync::Arc};

/// The lock of one config key of one tenant. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockName(Arc<Parts>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    tenant: Option<Box<str>>,
    key: Box<str>,
}

impl LockName {
    /// The lock of this key.
    ///
    /// # Errors
    /// `Rejected` as `bad_key`, `too_large` or `bad_tenant` if there can be no such key.
    pub fn new(tenant: Option<&str>, key: &str) -> Result<Self> {
        if let Some(reason) = key_problem(key) {
            return Err(misnamed(key_code(key), "the config key is not a valid name", "/config_key", reason));
        }
        check_tenant(tenant)?;
        Ok(Self(Arc::new(Parts { tenant: tenant.map(Into::into), key: key.into() })))
    }

    pub fn tenant(&self) -> Option<&str> {
        self.0.tenant.as_deref()
    }

    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// `{tenant}:{key}`, with `global` for no tenant: what follows the prefix.
    pub fn rest(&self) -> String {
        format!("{}:{}", self.tenant().unwrap_or("global"), self.key())
    }

    /// Where the lease lies in the store.
    pub fn lease_key(&self, kind: Kind) -> Vec<u8> {
        self.stored_as(kind.0)
    }

    /// Where the registered token lies in the store.
    pub fn fence_key(&self) -> Vec<u8> {
        self.stored_as(FENCE)
    }

    fn stored_as(&self, kind: u8) -> Vec<u8> {
        let tenant = self.tenant().unwrap_or_default().as_bytes();
        let mut key = Vec::with_capacity(tenant.len() + self.key().len() + 3);
        key.extend_from_slice(&[kind, 0]);
        key.extend_from_slice(tenant);
        key.push(0);
        key.extend_from_slice(self.key().as_bytes());
        key
    }

    /// The name behind a lease's key in the store.
    pub fn from_lease_key(kind: Kind, stored: &[u8]) -> Option<Self> {
        let names = std::str::from_utf8(stored.strip_prefix(&kind.prefix())?).ok()?;
        let (tenant, key) = names.split_once('\0')?;
        Self::new(Some(tenant).filter(|tenant| !tenant.is_empty()), key).ok()
    }
}

/// Refuses what can be no tenant.
///
/// # Errors
/// `Rejected` as `bad_tenant`.
pub fn check_tenant(tenant: Option<&str>) -> Result<()> {
    match tenant.and_then(tenant_problem) {
        Some(reason) => Err(misnamed("bad_tenant", "the tenant is not a valid name", "/tenant_id", reason)),
        None => Ok(()),
    }
}

const LEASE: u8 = b'l';
const FENCE: u8 = b'f';

/// What the keys of all leases start with that lie in this host's store.
pub const LEASES: Kind = Kind(LEASE);

/// What the keys of leases start with that lie elsewhere, and of which the store only remembers that they were granted
/// here.
pub const GRANTED: Kind = Kind(b'r');

/// A kind of lease in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(u8);

impl Kind {
    /// What the keys of all of them start with.
    pub fn prefix(self) -> [u8; 2] {
        [self.0, 0]
    }
}

/// What the names of all locks start with, as people and other programs see them, unless they are given another prefix.
pub const PREFIX: &str = "config_lock:";

/// `config_lock:{tenant}:{key}`, with `global` for no tenant.
impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.rest())
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn misnamed(code: &str, message: &str, path: &str, reason: &str) -> Error {
    Error::rejected(code, message).with_details(&[serde_json::json!({ "path": path, "reason": reason })])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_spelled_as_the_guide_spells_it() {
        let spelled = |tenant, key| LockName::new(tenant, key).expect("a name").to_string();
        assert_eq!(spelled(None, "app.x"), "config_lock:global:app.x");
        assert_eq!(spelled(Some("t1"), "app.x"), "config_lock:t1:app.x");
    }

    #[test]
    fn names_that_could_be_taken_for_others_are_refused() {
        let code = |tenant, key| LockName::new(tenant, key).expect_err("no name").code().map(str::to_owned);
        assert_eq!(code(Some("a"), "b:c").as_deref(), Some("bad_key"));
        assert_eq!(code(Some("a:b"), "c").as_deref(), Some("bad_tenant"));
        assert_eq!(code(Some("global"), "c").as_deref(), Some("bad_tenant"));
        assert_eq!(code(None, "a\0b").as_deref(), Some("bad_key"));
    }

    #[test]
    fn a_lease_is_found_again_by_its_key_in_the_store() {
        for tenant in [None, Some("t1")] {
            let name = LockName::new(tenant, "app.x").expect("a name");
            assert_eq!(LockName::from_lease_key(LEASES, &name.lease_key(LEASES)), Some(name.clone()));
            assert_eq!(LockName::from_lease_key(LEASES, &name.fence_key()), None);
            assert_eq!(LockName::from_lease_key(LEASES, &name.lease_key(GRANTED)), None);
        }
    }
}

//! The keys that values are sealed with: random, one per tenant, of this instance alone, and not for long.
//!
//! Invariant: a data key is used far less often than 2^32 times, which is what random nonces allow, and never after its
//! lifetime or under another ring than it was made for.

use crate::{
    binding,
    cipher::{Key, Sealed, random_key},
    ring::Ring,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use lockstep_plugin_api::prelude::*;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often one key seals at most.
const MOST_USES: u32 = 1 << 24;

/// How many tenants have a key at a time; with one more, all get new ones.
const MOST_TENANTS: usize = 4096;

/// A data key that is in use.
pub struct DataKey {
    pub key: Key,
    /// Under which key it is wrapped.
    pub kid: Arc<str>,
    /// The wrapped key, as values carry it.
    pub dk: String,
    n_uses: u32,
    made: Instant,
}

/// The data keys in use, by tenant; no tenant is called nothing.
pub struct DataKeys {
    tenants: HashMap<String, DataKey>,
    lifetime: Duration,
}

impl DataKeys {
    pub fn new(lifetime: Duration) -> Self {
        Self { tenants: HashMap::new(), lifetime }
    }

    /// The key for one more value of a tenant, a new one if need be.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn of(&mut self, tenant: Option<&str>, ring: &Ring) -> Result<&DataKey> {
        let name = tenant.unwrap_or_default();
        if !self.tenants.get(name).is_some_and(|key| key.is_fresh(self.lifetime)) {
            if self.tenants.len() >= MOST_TENANTS {
                self.tenants.clear();
            }
            self.tenants.insert(name.to_owned(), DataKey::new(tenant, ring)?);
        }
        let key = self.tenants.get_mut(name).expect("it was put there");
        key.n_uses += 1;
        Ok(key)
    }

    /// Every tenant gets a new one.
    pub fn forget(&mut self) {
        self.tenants.clear();
    }

    pub fn len(&self) -> usize {
        self.tenants.len()
    }
}

impl DataKey {
    fn new(tenant: Option<&str>, ring: &Ring) -> Result<Self> {
        let (bytes, wrapper) = (random_key()?, ring.current());
        let Sealed { nonce, text } =
            wrapper.key.seal(&binding::of_data_key(&wrapper.id, tenant), &bytes[..])?;
        let dk = BASE64.encode([&nonce[..], &text].concat());
        Ok(Self { key: Key::new(&bytes), kid: wrapper.id.clone(), dk, n_uses: 0, made: Instant::now() })
    }

    fn is_fresh(&self, lifetime: Duration) -> bool {
        self.n_uses < MOST_USES && self.made.elapsed() < lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Ring {
        Ring::new([("k".to_owned(), random_key().expect("random"))].iter(), None).expect("a ring")
    }

    #[test]
    fn every_tenant_has_its_own_key_and_keeps_it() {
        let (ring, mut keys) = (ring(), DataKeys::new(Duration::from_secs(60)));
        let mut dk = |tenant| keys.of(tenant, &ring).expect("a key").dk.clone();
        let (none, a, b) = (dk(None), dk(Some("a")), dk(Some("b")));
        assert!(none != a && a != b && none != b);
        assert_eq!((dk(None), dk(Some("a")), dk(Some("b"))), (none, a, b));
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn a_key_is_used_neither_too_often_nor_too_long() {
        let (ring, mut keys) = (ring(), DataKeys::new(Duration::from_secs(60)));
        for tenant in [None, Some("a")] {
            let first = keys.of(tenant, &ring).expect("a key").dk.clone();
            keys.tenants.get_mut(tenant.unwrap_or_default()).expect("in use").n_uses = MOST_USES;
            let second = keys.of(tenant, &ring).expect("a key").dk.clone();
            assert_ne!(first, second, "used up");
            keys.lifetime = Duration::ZERO;
            assert_ne!(keys.of(tenant, &ring).expect("a key").dk, second, "too old");
            keys.lifetime = Duration::from_secs(60);
        }
        let last = keys.of(None, &ring).expect("a key").dk.clone();
        keys.forget();
        assert_ne!(keys.of(None, &ring).expect("a key").dk, last);
    }

    #[test]
    fn very_many_tenants_are_not_remembered_for_ever() {
        let (ring, mut keys) = (ring(), DataKeys::new(Duration::from_secs(60)));
        for n in 0..MOST_TENANTS + 10 {
            keys.of(Some(&format!("t{n}")), &ring).expect("a key");
        }
        assert!(keys.len() <= MOST_TENANTS, "{}", keys.len());
    }
}

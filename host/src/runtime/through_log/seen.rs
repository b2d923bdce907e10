//! Idempotency keys: a change whose author sends it again is answered with the revision it got the first time.
//!
//! A name is stored in the commit of its change, with the revision that the commit gave it. Names lie in periods of
//! twelve hours and are forgotten a period at a time, so each is known for at least 24 hours.

use crate::store::{Commit, Namespace, Store, StoreError};
use lockstep_plugin_api::{Change, time};
use tracing::warn;

const PERIOD_US: i64 = 12 * 3600 * 1_000_000;

/// How many periods are looked through: the current one and as many before it as 24 hours touch.
const KNOWN_PERIODS: u32 = 3;

/// What an author called a change, as a hash over the source, the tenant, the author and the key.
pub type Name = [u8; 32];

/// The names of changes that were committed.
pub struct Seen {
    store: Store,
}

/// The name of a change, if its author gave it one. What has its dot already is no author's attempt: it carries the state
/// of its key, and is recognised by that.
pub fn name(source: &str, change: &Change) -> Option<Name> {
    let key = change.idempotency_key().filter(|_| change.dot().is_none())?;
    let mut hash = blake3::Hasher::new();
    for part in [source, change.tenant_id().unwrap_or_default(), change.user_id().unwrap_or_default(), key] {
        hash.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
    }
    Some(hash.finalize().into())
}

impl Seen {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The revision that the change of this name was committed as.
    pub fn revision(&self, name: &Name) -> Result<Option<u64>, StoreError> {
        let now = period(time::now_us());
        // The clock may have been set back since.
        for period in (now.saturating_sub(KNOWN_PERIODS - 1)..=now.saturating_add(1)).rev() {
            if let Some(found) = self.store.get(Namespace::Seen, &key(period, name))? {
                return Ok(found.try_into().ok().map(u64::from_be_bytes));
            }
        }
        Ok(None)
    }

    /// Adds a name to the commit of its change, which is the commit's entry at `entry`.
    pub fn add(commit: &mut Commit, name: &Name, entry: usize) {
        commit.revisions.push((Namespace::Seen, key(period(time::now_us()), name), entry));
    }

    /// Forgets the names of long ago, some at a time; false if there may be more.
    pub fn forget_old(&self) -> bool {
        const AT_ONCE: usize = 1000;
        let oldest_known = period(time::now_us()).saturating_sub(KNOWN_PERIODS - 1);
        let forget = || -> Result<bool, StoreError> {
            let page = self.store.scan(Namespace::Seen, b"", None, AT_ONCE)?;
            let old: Vec<_> =
                page.into_iter().map(|(key, _)| key).filter(|key| period_of(key) < oldest_known).collect();
            let is_done = old.len() < AT_ONCE;
            if !old.is_empty() {
                let forget = |commit: Commit, key| commit.delete(Namespace::Seen, key);
                self.store.commit(old.into_iter().fold(Commit::default(), forget))?;
            }
            Ok(is_done)
        };
        forget().unwrap_or_else(|error| {
            warn!(%error, "old idempotency keys could not be removed");
            true
        })
    }
}

fn period(now_us: i64) -> u32 {
    u32::try_from(now_us / PERIOD_US).unwrap_or(0)
}

fn key(period: u32, name: &Name) -> Vec<u8> {
    [&period.to_be_bytes()[..], name].concat()
}

fn period_of(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |period| u32::from_be_bytes(*period))
}

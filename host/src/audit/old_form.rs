//! Entries of hosts that did not chain them yet: numbered with gaps, JSON and nothing else. They are chained once, by the
//! first host that starts on them, and redacted as new ones are.
//!
//! Invariant: each keeps its order and gets a number that is not greater than its old one, so a host that ends in between
//! goes on where it was: what lies behind the head has not been chained.

use serde::Deserialize;

use super::redact::Redaction;
use crate::store::{Commit, Namespace, NewAudit, Store, StoreError};

/// Where those hosts kept the last number.
const LAST_NUMBER_KEY: &[u8] = b"audit";

/// What is read at once, and what one commit takes of it at most: the store refuses one that is too large.
const CHUNK: usize = 100;
const CHUNK_BYTES: usize = 8 << 20;

#[derive(Deserialize)]
struct Stamped<'a> {
    #[serde(borrow)]
    timestamp: std::borrow::Cow<'a, str>,
}

/// Whether there is nothing that still has to be chained.
///
/// # Errors
/// If the store cannot be read.
pub fn is_chained(store: &Store) -> Result<bool, StoreError> {
    Ok(store.get(Namespace::Meta, LAST_NUMBER_KEY)?.is_none())
}

/// Chains what is not chained yet.
pub(super) fn chain_entries(
    store: &Store,
    redaction: &Redaction,
    now_us: fn() -> i64,
) -> Result<(), StoreError> {
    while !is_chained(store)? {
        let head = store.audit_chain().head.number.to_be_bytes();
        let found = store.scan(Namespace::Audit, b"", Some(&head), CHUNK)?;
        let n_taken = how_many(&found);
        let is_last = found.len() < CHUNK && n_taken == found.len();
        let mut commit = Commit::default();
        for (key, value) in found.into_iter().take(n_taken) {
            commit = commit.delete(Namespace::Audit, key);
            let entry = String::from_utf8_lossy(&value).into_owned();
            let at_us = at_us(&entry).unwrap_or_else(now_us);
            commit.audit.push(NewAudit { at_us, entry: redaction.apply(entry), revision_of: None });
        }
        if is_last {
            commit = commit.delete(Namespace::Meta, LAST_NUMBER_KEY);
        }
        store.commit(commit)?;
    }
    Ok(())
}

/// How many of these one commit takes: one at least.
fn how_many(found: &[(Vec<u8>, Vec<u8>)]) -> usize {
    let fits = found.iter().scan(0, |n_bytes, (_, value)| {
        *n_bytes += value.len();
        Some(*n_bytes <= CHUNK_BYTES)
    });
    fits.take_while(|fits| *fits).count().max(usize::from(!found.is_empty()))
}

/// When it says that it was written.
fn at_us(entry: &str) -> Option<i64> {
    let stamped: Stamped<'_> = serde_json::from_str(entry).ok()?;
    lockstep_plugin_api::time::parse_us(&stamped.timestamp).ok()
}

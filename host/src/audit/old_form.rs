//! Entries of hosts that did not chain them yet: numbered with gaps, JSON and nothing else. They are chained once.
//!
//! Each keeps its order and gets a number that is not greater than its old one, so a host that ends in between goes on where
//! it was: what lies behind the head has not been chained.

use serde::Deserialize;

use crate::store::{Commit, Namespace, NewAudit, Store, StoreError};

/// Where those hosts kept the last number.
const LAST_NUMBER_KEY: &[u8] = b"audit";

/// Entries chained by one commit.
const CHUNK: usize = 1000;

#[derive(Deserialize)]
struct Stamped<'a> {
    #[serde(borrow)]
    timestamp: std::borrow::Cow<'a, str>,
}

/// Chains what is not chained yet.
pub(super) fn chain_entries(store: &Store, now_us: fn() -> i64) -> Result<(), StoreError> {
    if store.get(Namespace::Meta, LAST_NUMBER_KEY)?.is_none() {
        return Ok(());
    }
    loop {
        let head = store.audit_chain().head.number.to_be_bytes();
        let found = store.scan(Namespace::Audit, b"", Some(&head), CHUNK)?;
        let is_last = found.len() < CHUNK;
        let mut commit = Commit::default();
        for (key, value) in found {
            commit = commit.delete(Namespace::Audit, key);
            let entry = super::on_one_line(String::from_utf8_lossy(&value).into_owned());
            let at_us = at_us(&entry).unwrap_or_else(now_us);
            commit.audit.push(NewAudit { at_us, entry, revision_of: None });
        }
        if is_last {
            commit = commit.delete(Namespace::Meta, LAST_NUMBER_KEY);
        }
        store.commit(commit)?;
        if is_last {
            return Ok(());
        }
    }
}

/// When it says that it was written.
fn at_us(entry: &str) -> Option<i64> {
    let stamped: Stamped<'_> = serde_json::from_str(entry).ok()?;
    lockstep_plugin_api::time::parse_us(&stamped.timestamp).ok()
}

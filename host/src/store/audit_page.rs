//! The audit read piece by piece: bounded in entries and bytes, each piece of one moment.
//!
//! Invariant: whatever lies there is given as it lies there; whoever wants to know whether it is a chain has to check that.
//! An entry that cannot be read hides no other.

use super::chain::{AuditRecord, Chain, load_chain, record_key};
use super::commit::{Namespace, stored_key};
use super::error::StoreError;
use super::sealing::SealingError;
use super::view::View;
use super::{KeyValue, Store};

/// How much is read at once: at least one entry, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimit {
    pub records: usize,
    pub bytes: usize,
}

/// Entries of the audit and the chain, of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    pub chain: Chain,
    /// `None` is what cannot be read.
    pub records: Vec<(u64, Option<AuditRecord>)>,
    /// What was read for them.
    pub n_bytes: usize,
    /// There are no more.
    pub is_last: bool,
}

impl Store {
    /// What the audit holds, as of the newest commit.
    pub fn audit_chain(&self) -> Chain {
        self.handle.shared.chain()
    }

    /// Entries after a number, in the order of their numbers.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn audit_page(&self, after: u64, limit: AuditLimit) -> Result<AuditPage, StoreError> {
        let (prefix, after) = (stored_key(Namespace::Audit, b""), record_key(after));
        self.of_audit(|view, chain| AuditPage::of(chain, view.scan(&prefix, &after), limit))
    }

    /// Entries before a number, the newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn audit_page_before(&self, before: u64, limit: AuditLimit) -> Result<AuditPage, StoreError> {
        let (prefix, before) = (stored_key(Namespace::Audit, b""), record_key(before));
        self.of_audit(|view, chain| AuditPage::of(chain, view.scan_back(&prefix, &before), limit))
    }

    fn of_audit(
        &self,
        read: impl FnOnce(&View<'_>, Chain) -> Result<AuditPage, StoreError>,
    ) -> Result<AuditPage, StoreError> {
        let shared = &self.handle.shared;
        shared.with_engine(|engine| {
            let view = engine.view();
            let chain = load_chain(&view, &shared.dir)?;
            read(&view, chain)
        })
    }
}

impl AuditPage {
    fn of(
        chain: Chain,
        found: impl Iterator<Item = Result<KeyValue, StoreError>>,
        limit: AuditLimit,
    ) -> Result<Self, StoreError> {
        let mut page = Self { chain, records: Vec::new(), n_bytes: 0, is_last: true };
        for item in found {
            let (key, value) = match item {
                Ok((key, value)) => (key, Some(value)),
                // Somebody changed it, so it is the audit's to tell, like any other entry that was altered.
                Err(StoreError::Sealing(SealingError::NotAuthentic { key, .. })) => (key, None),
                Err(error) => return Err(error),
            };
            let n_bytes = page.n_bytes + value.as_ref().map_or(0, Vec::len);
            let is_full = page.records.len() >= limit.records || n_bytes > limit.bytes;
            if is_full && !page.records.is_empty() {
                page.is_last = false;
                break;
            }
            let number = number(&key);
            page.records.push((number, value.and_then(|value| AuditRecord::read(number, &value))));
            page.n_bytes = n_bytes;
        }
        Ok(page)
    }
}

/// Behind every number if it has none.
fn number(key: &[u8]) -> u64 {
    let number = key.split_first().and_then(|(_, number)| number.try_into().ok());
    number.map_or(u64::MAX, u64::from_be_bytes)
}

//! Entries for people: the newest first, those that a filter lets pass.

use std::borrow::Cow;

use lockstep_plugin_api::glob::Glob;
use serde::Deserialize;

use crate::store::{AuditLimit, AuditRecord, Store, StoreError};

/// How much is read at once.
const PAGE: AuditLimit = AuditLimit { records: 1000, bytes: 4 << 20 };

/// How much is looked through for one answer; who wants more goes on after it.
const LOOKED_AT: AuditLimit = AuditLimit { records: 50_000, bytes: 64 << 20 };

/// Bytes of entries in one answer, unless one alone has more.
const ANSWER_BYTES: u64 = 8 << 20;

/// The clock may have been set, so one entry that is older than asked for does not mean that all before it are; so many are
/// taken to mean it.
const OLD_IN_A_ROW: usize = 1000;

/// Which entries are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those about a config key that it matches.
    pub key: Option<Glob>,
    pub tenant: Option<String>,
    pub event_type: Option<Glob>,
    /// Those not older than this, in microseconds since 1970; of those before 1,000 older ones in a row, none.
    pub since_us: Option<i64>,
    /// Those with a smaller number.
    pub before: Option<u64>,
}

/// Some entries.
#[derive(Debug, Default)]
pub struct Listed {
    pub records: Vec<AuditRecord>,
    /// Where to go on; none at the end.
    pub next: Option<u64>,
}

/// A list on its way back through the audit.
struct Listing<'a> {
    filter: &'a Filter,
    limit: usize,
    records: Vec<AuditRecord>,
    n_bytes: u64,
    /// Everything from this number on was looked at.
    before: u64,
    n_old: usize,
}

/// What a filter looks at.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(borrow, default)]
    config_key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tenant_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event_type: Option<Cow<'a, str>>,
}

/// At most `limit` entries of a store's audit, and no more bytes than an answer has.
///
/// # Errors
/// If the store cannot be read.
pub fn list(store: &Store, filter: &Filter, limit: usize) -> Result<Listed, StoreError> {
    let chain = store.audit_chain();
    let before = filter.before.unwrap_or(u64::MAX).min(chain.head.number + 1);
    let mut listing = Listing { filter, limit, records: Vec::new(), n_bytes: 0, before, n_old: 0 };
    let (mut n_records, mut n_bytes) = (0, 0);
    while n_records < LOOKED_AT.records && n_bytes < LOOKED_AT.bytes {
        let before = listing.before;
        let page = store.audit_page_before(before, PAGE)?;
        (n_records, n_bytes) = (n_records + page.records.len(), n_bytes + page.n_bytes);
        // What somebody has put there under no number of the chain is for `verify` to tell.
        let kept = page.chain.anchor.number + 1..before;
        for (number, record) in page.records.into_iter().filter(|(number, _)| kept.contains(number)) {
            if listing.is_full_at(number, record) {
                return Ok(listing.end(true));
            }
        }
        if page.is_last || listing.before == before || listing.n_old >= OLD_IN_A_ROW {
            return Ok(listing.end(false));
        }
    }
    Ok(listing.end(true))
}

impl Listing<'_> {
    /// Takes the next entry, if it is one of those that are listed; true if it was the last that there is room for.
    fn is_full_at(&mut self, number: u64, record: Option<AuditRecord>) -> bool {
        // What cannot be read is neither old nor recent.
        if let Some(record) = &record {
            self.n_old = if self.filter.is_recent(record) { 0 } else { self.n_old + 1 };
        }
        let Some(record) = record.filter(|record| self.filter.passes(record)) else {
            self.before = number;
            return false;
        };
        if !self.records.is_empty() && self.n_bytes + record.n_bytes() > ANSWER_BYTES {
            return true;
        }
        self.before = number;
        self.n_bytes += record.n_bytes();
        self.records.push(record);
        self.records.len() >= self.limit
    }

    fn end(self, has_more: bool) -> Listed {
        let has_more = has_more && self.before > 1;
        Listed { records: self.records, next: has_more.then_some(self.before) }
    }
}

impl Filter {
    fn is_recent(&self, record: &AuditRecord) -> bool {
        self.since_us.is_none_or(|since_us| record.at_us >= since_us)
    }

    fn passes(&self, record: &AuditRecord) -> bool {
        self.is_recent(record) && (self.is_about_all() || self.is_about(&record.entry))
    }

    fn is_about_all(&self) -> bool {
        self.key.is_none() && self.tenant.is_none() && self.event_type.is_none()
    }

    fn is_about(&self, entry: &str) -> bool {
        let Ok(about) = serde_json::from_str::<About<'_>>(entry) else { return false };
        let matches = |glob: &Option<Glob>, name: Option<&str>| {
            glob.as_ref().is_none_or(|glob| name.is_some_and(|name| glob.matches(name)))
        };
        matches(&self.key, about.config_key.as_deref())
            && matches(&self.event_type, about.event_type.as_deref())
            && self.tenant.as_ref().is_none_or(|tenant| about.tenant_id.as_deref() == Some(tenant))
    }
}

//! Entries for people: the newest first, those that a filter lets pass.

use std::borrow::Cow;

use lockstep_plugin_api::glob::Glob;
use serde::Deserialize;

use crate::store::{AuditRecord, Store, StoreError};

/// How many entries are read at once.
const PAGE: u64 = 1000;

/// How many pages are looked through for one answer; who wants more goes on after it.
const MAX_PAGES: usize = 50;

/// Which entries are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those about a config key that it matches.
    pub key: Option<Glob>,
    pub tenant: Option<String>,
    pub event_type: Option<Glob>,
    /// Those not older than this, in microseconds since 1970.
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

/// At most `limit` entries of a store's audit.
///
/// # Errors
/// If the store cannot be read.
pub fn list(store: &Store, filter: &Filter, limit: usize) -> Result<Listed, StoreError> {
    let mut listed = Listed::default();
    let chain = store.audit_chain();
    let mut before = filter.before.unwrap_or(u64::MAX).min(chain.head.number + 1);
    for _ in 0..MAX_PAGES {
        if before <= chain.anchor.number + 1 {
            return Ok(listed);
        }
        let after = before.saturating_sub(1 + PAGE).max(chain.anchor.number);
        let page = store.audit_page(after, PAGE as usize)?;
        let page = page.records.into_iter().filter_map(|(_, record)| record);
        let page: Vec<_> = page.filter(|record| record.number < before).collect();
        // The clock may have been set, so one entry that is older does not mean that all before it are.
        let has_recent = page.iter().any(|record| filter.is_recent(record));
        for record in page.into_iter().rev().filter(|record| filter.passes(record)) {
            listed.next = Some(record.number);
            listed.records.push(record);
            if listed.records.len() >= limit {
                return Ok(listed);
            }
        }
        listed.next = None;
        if !has_recent {
            return Ok(listed);
        }
        before = after + 1;
    }
    listed.next = Some(before);
    Ok(listed)
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

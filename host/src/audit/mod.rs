//! Who did what: every change, lock, resolution and act of an operator, in one chain that shows when it was altered.
//!
//! ```text
//! components, changes, operators ─► redacted ─► Commit.audit ─► the store's writer numbers and chains them
//!                                                    │
//!        retention ◄── count, bytes, age ────────────┴──────► list, verify, export
//! ```
//! Invariant: an entry of a change is in the commit that makes it, and no entry holds a value that is sealed or that
//! `audit.redact` names. When an operator's request may be answered, `admin/acts.rs` says; how entries are numbered and
//! hashed is the store's: `store/chain.rs`.

mod change;
mod operator;
mod sealed_parts;
mod redact;
mod form;
mod old_form;
mod retention;
mod listing;
mod verify;
mod walk;
mod export;
mod files;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use lockstep_plugin_api::{Change, time};
use serde::Serialize;

use crate::config::HostSettings;
use crate::store::{Chain, Commit, NewAudit, Store, StoreError};

pub use change::Author;
pub use export::{Export, FileProblem};
pub use files::Files;
pub use listing::{Filter, Listed, list};
pub use old_form::is_chained;
pub use operator::{Act, Operator, Outcome};
pub use verify::{Broken, Problem, Verified, Verifier};
pub use walk::{Step, Walk, WalkError};

use redact::Redaction;
pub use retention::Limits;

use retention::Retention;

/// What may be tuned.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Whether changes have entries.
    pub changes: bool,
    /// Globs of config keys whose values are not shown.
    pub redact: Vec<String>,
    pub limits: Limits,
    /// How often old entries are looked for.
    pub cleanup_interval: Duration,
    /// The clock of the entries, in microseconds since 1970.
    pub now_us: fn() -> i64,
}

/// The audit of this host. Cheap to clone; the last clone to go ends the retention.
#[derive(Clone)]
pub struct Audit {
    handle: Arc<Handle>,
}

struct Handle {
    store: Store,
    has_changes: bool,
    redaction: Redaction,
    retention: Retention,
    now_us: fn() -> i64,
}

impl AuditOptions {
    pub fn new(settings: &HostSettings) -> Self {
        let audit = &settings.audit;
        Self {
            changes: audit.changes,
            redact: audit.redact.clone(),
            limits: Limits { entries: audit.entries, bytes: audit.bytes, age: audit.age },
            cleanup_interval: settings.sync_settings.cleanup_interval,
            now_us: time::now_us,
        }
    }
}

impl Audit {
    /// The audit of this store, which says first what became of the store's own form. There must be one only: it is the one
    /// that gives old entries up.
    ///
    /// # Errors
    /// If the store cannot be read, or the system cannot start one more thread.
    ///
    /// # Panics
    /// If one of `redact` is not a glob, which the settings' own check refuses.
    pub fn open(store: Store, options: AuditOptions) -> Result<Self, StoreError> {
        let AuditOptions { changes, redact, limits, cleanup_interval, now_us } = options;
        let redaction = Redaction::new(&redact);
        old_form::chain_entries(&store, &redaction, now_us)?;
        form::tell(&store, now_us)?;
        let retention = Retention::start(store.clone(), limits, cleanup_interval, now_us)?;
        let chain = store.audit_chain();
        tracing::info!(head = %chain.head, anchor = %chain.anchor, "the audit goes on after its head");
        Ok(Self { handle: Arc::new(Handle { store, has_changes: changes, redaction, retention, now_us }) })
    }

    /// Adds entries of components to a commit: JSON.
    pub fn add(&self, commit: &mut Commit, entries: impl IntoIterator<Item = String>) {
        let handle = &self.handle;
        let redacted = entries.into_iter().map(|entry| self.now(handle.redaction.apply(entry)));
        commit.audit.extend(redacted);
        handle.retention.ask_if_exceeded(&handle.store.audit_chain());
    }

    /// Adds the entry of a change to the commit that makes it; `place` is where the change is among the commit's entries.
    ///
    /// With `audit.changes: false`, only those that an operator makes have one.
    pub fn add_change(&self, commit: &mut Commit, change: &Change, place: usize, author: &Author<'_>) {
        if !self.handle.has_changes && author.operator.is_none() {
            return;
        }
        let is_listed = self.handle.redaction.lists(change.config_key());
        let entry = change::entry(change, author, is_listed);
        commit.audit.push(NewAudit { revision_of: Some(place), ..self.now(entry) });
    }

    /// Adds what an operator does to the commit that does it.
    pub fn add_act(&self, commit: &mut Commit, act: &Act<'_>) {
        commit.audit.push(self.now(json(act)));
    }

    /// Writes down what an operator has done; `told` is called, on the writer's thread, when that is on disk or refused.
    /// Never waits: while the store has no room for more commits, this one is refused at once.
    pub fn submit_act(&self, act: &Act<'_>, told: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        let mut commit = Commit::default();
        self.add_act(&mut commit, act);
        self.handle.store.try_submit(commit, |result| told(result.map(drop)));
    }

    /// Where the audit begins and ends.
    pub fn chain(&self) -> Chain {
        self.handle.store.audit_chain()
    }

    /// Gives up what may go now, without waiting for the interval.
    ///
    /// # Errors
    /// If the store refuses commits.
    pub fn forget_old(&self) -> Result<(), StoreError> {
        self.handle.retention.run()
    }

    fn now(&self, entry: String) -> NewAudit {
        NewAudit { at_us: (self.handle.now_us)(), entry, revision_of: None }
    }
}

fn json(entry: &impl Serialize) -> String {
    serde_json::to_string(entry).expect("an entry has only fields that JSON has")
}

//! State: keys and values that the host keeps for its components.
//!
//! Inside `apply` what is read is watched and what is staged becomes true with the batch: if somebody else changes in
//! between what was read, the batch is applied again. Everywhere else a [`StateCommit`] says itself what it expects.

use crate::{
    abi::{
        Bytes,
        vtable::{StateCommitParts, StateExpected, StateWrite},
    },
    context::Context,
    error::{Error, Result},
    record::Record,
};
use abi_stable::std_types::{RNone, ROption, RSlice, RSome, RStr, RString, RVec};

/// Keys and values in one namespace of the host's state.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    pub(crate) context: &'a Context,
    pub(crate) namespace: &'static str,
}

impl State<'_> {
    /// The value of a key; inside `apply` with what this batch staged, and watched until the batch is committed.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let host = &self.context.parts.host;
        let value = host.state_get(RStr::from_str(self.namespace), RSlice::from_slice(key));
        value.into_result().map(ROption::into_option)
    }

    /// At most `limit` keys that start with `prefix`, in order, after the key `after`. Unlike what
    /// [`State::get`] reads, it is not watched: a batch is not applied again because it would find something else.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline.
    pub fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<(Bytes, Bytes)>> {
        let after = after.map_or(RNone, |key| RSome(RSlice::from_slice(key)));
        let (namespace, prefix) = (RStr::from_str(self.namespace), RSlice::from_slice(prefix));
        let entries = self.context.parts.host.state_scan(namespace, prefix, after, limit).into_result()?;
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    /// Gives a key a value when this batch is committed; `None` deletes it. Only inside `apply`.
    ///
    /// What was staged stays staged if the record fails afterwards: it is committed with the rest of the batch, and seen
    /// if the record is tried again. So decide first and stage last; after that, nothing but a fatal error is right. The
    /// same holds for notices and audit entries.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline and outside `apply`.
    pub fn stage(&self, key: &[u8], value: Option<Bytes>) -> Result<()> {
        let (namespace, key) = (RStr::from_str(self.namespace), RSlice::from_slice(key));
        self.context.parts.host.state_stage(namespace, key, value.into()).into_result()
    }

    /// Commits at once, and returns when it is on disk. Only outside `apply`; it waits, so it is not for a thread that
    /// runs async tasks.
    ///
    /// # Errors
    /// `Unsupported` in a direct pipeline and inside `apply`; `Retry` while the store refuses commits (a full disk).
    pub fn commit(&self, commit: StateCommit) -> Result<Committed> {
        let namespace = RStr::from_str(self.namespace);
        let committed =
            self.context.parts.host.state_commit(namespace, commit.into_parts()?).into_result()?;
        Ok(match committed.is_done {
            true => Committed::Done { revision: committed.revision },
            false => Committed::Conflict,
        })
    }
}

/// What a commit outside a batch expects and changes: all of it becomes true, or nothing.
#[derive(Debug, Default)]
#[must_use]
pub struct StateCommit {
    expected: Vec<StateExpected>,
    writes: Vec<StateWrite>,
    notices: Vec<Record>,
    audit: Vec<Result<String>>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is on disk.
    Done {
        /// The revision of the first notice in it; 0 without notices.
        revision: u64,
    },
    /// An expectation did not hold: somebody else was faster, and nothing was written.
    Conflict,
}

impl StateCommit {
    /// Expects and changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The commit happens only if the key has this value then; `None` means that it must not be there.
    pub fn expect(mut self, key: &[u8], value: Option<Bytes>) -> Self {
        self.expected.push(StateExpected { key: Bytes::copy_from_slice(key), value: value.into() });
        self
    }

    /// Gives a key a value.
    pub fn put(mut self, key: &[u8], value: impl Into<Bytes>) -> Self {
        self.writes.push(StateWrite { key: Bytes::copy_from_slice(key), value: RSome(value.into()) });
        self
    }

    /// Removes a key.
    pub fn delete(mut self, key: &[u8]) -> Self {
        self.writes.push(StateWrite { key: Bytes::copy_from_slice(key), value: RNone });
        self
    }

    /// Adds a notice to the log ([`Record::notice`]).
    pub fn notice(mut self, notice: Record) -> Self {
        self.notices.push(notice);
        self
    }

    /// Adds an entry to the audit: a JSON object.
    pub fn audit(mut self, entry: &impl serde::Serialize) -> Self {
        self.audit.push(serde_json::to_string(entry).map_err(Error::failed));
        self
    }

    fn into_parts(self) -> Result<StateCommitParts> {
        let audit = self.audit.into_iter().map(|entry| entry.map(RString::from));
        Ok(StateCommitParts {
            expected: self.expected.into(),
            writes: self.writes.into(),
            notices: self.notices.into(),
            audit: audit.collect::<Result<RVec<_>>>()?,
        })
    }
}

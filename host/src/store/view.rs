//! Everything that the engine holds, as it was at one moment.
//!
//! Invariant: reads through a view see nothing that is committed after it was made, so what they find belongs together.

use std::ops::Bound::{Excluded, Included, Unbounded};

use fjall::Readable;

use super::KeyValue;
use super::engine::{Engine, Found, read_error};
use super::error::StoreError;

pub(super) struct View<'a> {
    engine: &'a Engine,
    snapshot: fjall::Snapshot,
}

impl Engine {
    /// Everything as it is now.
    pub fn view(&self) -> View<'_> {
        View { engine: self, snapshot: self.database.snapshot() }
    }
}

impl View<'_> {
    pub fn get(&self, key: &[u8]) -> Found {
        self.engine.opened(key, self.snapshot.get(self.engine.keyspaces.of(key), key))
    }

    /// Keys of `prefix` after `after`, with their values.
    pub fn scan(&self, prefix: &[u8], after: &[u8]) -> impl Iterator<Item = Result<KeyValue, StoreError>> {
        let start = if after < prefix { Included(prefix) } else { Excluded(after) };
        let items = self.snapshot.range::<&[u8], _>(self.engine.keyspaces.of(prefix), (start, Unbounded));
        let (prefix, form) = (prefix.to_vec(), &self.engine.form);
        let items = items.map(move |item| {
            let (key, stored) = item.into_inner().map_err(read_error)?;
            // Behind the prefix nothing is opened.
            let value = key.starts_with(&prefix).then(|| form.open(&key, &stored)).transpose()?;
            Ok(value.map(|value| (key.to_vec(), value)))
        });
        items.map_while(Result::transpose)
    }

    /// Keys of `prefix` before `before`, which has it too, backwards, with their values.
    pub fn scan_back(
        &self,
        prefix: &[u8],
        before: &[u8],
    ) -> impl Iterator<Item = Result<KeyValue, StoreError>> {
        let (records, range) = (self.engine.keyspaces.of(prefix), (Included(prefix), Excluded(before)));
        self.snapshot.range::<&[u8], _>(records, range).rev().map(|item| {
            let (key, stored) = item.into_inner().map_err(read_error)?;
            Ok((key.to_vec(), self.engine.form.open(&key, &stored)?))
        })
    }

    pub fn entry(&self, revision: u64) -> Found {
        let key = revision.to_be_bytes();
        self.engine.opened(&key, self.snapshot.get(&self.engine.keyspaces.entries, key))
    }

    /// Entries after this revision, as they are stored.
    pub fn entries(&self, after: u64) -> impl Iterator<Item = Result<(u64, Vec<u8>), StoreError>> {
        let after = after.to_be_bytes();
        let items =
            self.snapshot.range::<[u8; 8], _>(&self.engine.keyspaces.entries, (Excluded(after), Unbounded));
        items.map(|item| {
            let (key, stored) = item.into_inner().map_err(read_error)?;
            let revision = (*key).try_into().map(u64::from_be_bytes);
            let value = self.engine.form.open(&key, &stored)?;
            Ok((revision.expect("only revisions are keys of entries"), value))
        })
    }
}

//! The cells of the cache, read as a whole: by who is new, and by who has missed entries of the stream.

use super::{group::list, inbox::Cell};
use crate::{
    connection::{Fault, Link},
    entry::{EntryId, bytes},
};
use lockstep_plugin_api::prelude::*;
use redis::cmd;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

/// How many cells one step asks for.
const STEP: usize = 32;

/// A step through a cache.
pub(crate) struct Step {
    pub(crate) cells: Vec<Cell>,
    /// Where to go on; 0 is the end.
    pub(crate) cursor: u64,
}

/// Reads some cells of a cache.
pub(crate) async fn step(
    link: &mut Link,
    cache: &str,
    tenant: Option<&str>,
    cursor: u64,
) -> Result<Step, Fault> {
    let mut scan = cmd("HSCAN");
    scan.arg(cache).arg(cursor).arg("COUNT").arg(STEP);
    let mut parts = list(link.call(&scan).await?).into_iter();
    let cursor = parts.next().and_then(bytes).and_then(|text| String::from_utf8(text).ok()?.parse().ok());
    let mut flat = parts.next().map(list).unwrap_or_default().into_iter().filter_map(bytes);
    let mut cells = Vec::new();
    while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
        cells.push(Cell::new(tenant.map(str::to_owned), Bytes::from(key), value));
    }
    Ok(Step { cells, cursor: cursor.unwrap_or(0) })
}

/// What the cells that were read hold of the entries that are about to be read.
///
/// An entry is passed over if its key has a cell that some host wrote: one with a dot lies behind such a cell, and one
/// without a dot does if it is not newer than the change in the cell. It would otherwise be taken for a change made now,
/// and bring back what was replaced long ago.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    numbers: RandomState,
    /// The milliseconds of the change in each cell that has a dot.
    cells: HashMap<u64, u64>,
}

impl Covered {
    pub(crate) fn add(&mut self, cell: &Cell) {
        let Ok(change) = Change::from_json(&cell.value) else { return };
        let (Some(_), Some(ms)) = (change.dot(), change.hlc().and_then(milliseconds)) else { return };
        self.cells.insert(self.numbers.hash_one(&cell.key[..]), ms);
    }

    /// Whether a change that stands at `id` of the stream is in its cell.
    pub(crate) fn holds(&self, change: &Change, id: EntryId) -> bool {
        let ms = self.cells.get(&self.numbers.hash_one(change.config_key().as_bytes()));
        ms.is_some_and(|ms| change.dot().is_some() || id.ms <= *ms)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// The milliseconds of a hybrid clock's stamp.
fn milliseconds(hlc: &str) -> Option<u64> {
    hlc.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered() -> Covered {
        let mut covered = Covered::default();
        let cell = |key: &str, value: &str| Cell::new(None, key.into(), value);
        covered.add(&cell("k", r#"{"config_key":"k","dot":{"node":"a","seq":1},"hlc":"100-2"}"#));
        covered.add(&cell("legacy", r#"{"config_key":"legacy"}"#));
        covered.add(&cell("bad", "{"));
        covered
    }

    #[test]
    fn what_lies_behind_a_cell_is_passed_over_and_nothing_else() {
        let covered = covered();
        let change = |json: &str| Change::from_json(&json.into()).expect("a change");
        let id = |ms| EntryId { ms, number: 0 };
        let dotted = change(r#"{"config_key":"k","dot":{"node":"a","seq":1}}"#);
        let plain = change(r#"{"config_key":"k"}"#);
        assert!(covered.holds(&dotted, id(500)));
        assert!(covered.holds(&plain, id(100)) && !covered.holds(&plain, id(101)));
        for key in ["legacy", "bad", "new"] {
            assert!(!covered.holds(&change(&format!(r#"{{"config_key":"{key}"}}"#)), id(1)), "{key}");
        }
    }
}

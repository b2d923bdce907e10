//! The resolver's part of the host's state: this host's numbers, the siblings of each key, and which keys have an open
//! conflict.
//!
//! Everything is read and staged within the batch that is being applied, and nothing is remembered between records: a
//! batch that is applied again starts from what is true by then.

use crate::{
    encoding::{self, Unreadable},
    ingested::Ingested,
    node::Node,
    siblings::Siblings,
};
use lockstep_plugin_api::prelude::*;

/// The namespace in the host's state.
pub const NAMESPACE: &str = "resolver";

const NODE: &[u8] = b"n";
const SIBLINGS: u8 = b'k';
/// Conflicts have an index of their own, so that looking for them does not walk through every key.
const OPEN: u8 = b'c';
const INGESTED: u8 = b'i';

/// The state as the batch that is being applied sees it.
#[derive(Debug, Clone, Copy)]
pub struct Ledger<'a> {
    context: &'a Context,
}

/// Where one key's state lies.
#[derive(Debug)]
pub struct Place(Vec<u8>);

impl Place {
    /// The place of a key of a tenant.
    pub fn of(tenant: Option<&str>, key: &str) -> Self {
        let tenant = tenant.unwrap_or_default();
        let mut bytes = Vec::with_capacity(tenant.len() + key.len() + 2);
        bytes.push(SIBLINGS);
        bytes.extend_from_slice(tenant.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(key.as_bytes());
        Self(bytes)
    }

    /// The place whose entry in the index of open conflicts is this; `None` if it is none.
    pub fn of_open(key: &[u8]) -> Option<Self> {
        key.first().filter(|kind| **kind == OPEN)?;
        let mut bytes = key.to_vec();
        bytes[0] = SIBLINGS;
        Some(Self(bytes))
    }

    /// Tenant and key.
    pub fn names(&self) -> Option<(Option<&str>, &str)> {
        let (tenant, key) = std::str::from_utf8(&self.0[1..]).ok()?.split_once('\0')?;
        Some((Some(tenant).filter(|tenant| !tenant.is_empty()), key))
    }

    /// Where the siblings lie.
    pub fn siblings(&self) -> &[u8] {
        &self.0
    }

    fn open(&self) -> Vec<u8> {
        self.beside(OPEN)
    }

    /// Where something else about the key lies.
    pub fn beside(&self, kind: u8) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes[0] = kind;
        bytes
    }
}

impl<'a> Ledger<'a> {
    pub fn new(context: &'a Context) -> Self {
        Self { context }
    }

    fn state(self) -> State<'a> {
        self.context.state(NAMESPACE)
    }

    /// This host's numbers; a new incarnation if there are none.
    pub fn node(self) -> Result<Node> {
        match self.state().get(NODE)? {
            Some(bytes) => Node::decode(&bytes).map_err(fatal),
            None => Ok(Node::new(self.context.node_id())),
        }
    }

    /// Stages this host's numbers.
    pub fn stage_node(self, node: &Node) -> Result<()> {
        self.state().stage(NODE, Some(node.encode()))
    }

    /// What stands at a key.
    pub fn siblings(self, place: &Place) -> Result<Siblings> {
        let bytes = self.state().get(place.siblings())?;
        bytes.map_or(Ok(Siblings::default()), |bytes| encoding::decode(&bytes).map_err(fatal))
    }

    /// Stages what stands at a key.
    pub fn stage_siblings(self, place: &Place, siblings: &Siblings) -> Result<()> {
        self.state().stage(place.siblings(), Some(encoding::encode(siblings)))
    }

    /// Which messages without dots were taken in for a key.
    pub fn ingested(self, place: &Place) -> Result<Ingested> {
        let bytes = self.state().get(&place.beside(INGESTED))?;
        Ok(bytes.map_or_else(Ingested::default, |bytes| Ingested::decode(&bytes)))
    }

    /// Stages which messages were taken in for a key.
    pub fn stage_ingested(self, place: &Place, ingested: &Ingested) -> Result<()> {
        self.state().stage(&place.beside(INGESTED), Some(ingested.encode()))
    }

    /// Stages that the key has an open conflict from now on, or that it has none any more.
    pub fn stage_open(self, place: &Place, open: Option<Open>) -> Result<()> {
        self.state().stage(&place.open(), open.map(Open::encode))
    }

    /// The value of a key of this namespace.
    pub fn get(self, key: &[u8]) -> Result<Option<Bytes>> {
        self.state().get(key)
    }

    /// Stages a value in this namespace.
    pub fn stage(self, key: &[u8], value: Option<Bytes>) -> Result<()> {
        self.state().stage(key, value)
    }

    /// A page of what begins with `prefix`, after a key.
    pub fn page(self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<(Bytes, Bytes)>> {
        self.state().scan(prefix, after, limit)
    }

    /// The entry of a key in the index of open conflicts.
    pub fn open(self, place: &Place) -> Result<Option<Open>> {
        let bytes = self.state().get(&place.open())?;
        bytes.map(|bytes| Open::decode(&bytes).map_err(fatal)).transpose()
    }

    /// A page of the open conflicts: key and value of the index, after a key of it.
    pub fn open_page(self, after: Option<&[u8]>, limit: u32) -> Result<Vec<(Bytes, Bytes)>> {
        self.state().scan(&[OPEN], after, limit)
    }

    /// Commits outside of a batch.
    pub fn commit(self, commit: StateCommit) -> Result<Committed> {
        self.state().commit(commit)
    }
}

/// An entry in the index of open conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    pub since_ms: u64,
    /// Whether subscribers were told that it stays open, or are told by the cases of those that a person decides.
    pub is_announced: bool,
}

impl Open {
    /// The entry as it lies in the store.
    pub fn encode(self) -> Bytes {
        let mut writer = encoding::Writer::new(12);
        writer.number(self.since_ms);
        writer.number(self.is_announced.into());
        writer.finish()
    }

    /// Reads what [`Open::encode`] wrote.
    ///
    /// # Errors
    /// [`Unreadable`] if another version wrote it, or it is damaged.
    pub fn decode(bytes: &Bytes) -> Result<Self, Unreadable> {
        let mut reader = encoding::Reader::new(bytes)?;
        Ok(Self { since_ms: reader.number()?, is_announced: reader.number()? != 0 })
    }
}

/// State that cannot be read is no record's fault: nothing may be written on top of it.
fn fatal(error: Unreadable) -> Error {
    Error::fatal(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_whose_it_is_and_keys_of_tenants_do_not_meet() {
        let place = Place::of(Some("acme"), "app.x");
        assert_eq!(place.names(), Some((Some("acme"), "app.x")));
        let found = Place::of_open(&place.open()).expect("of the index");
        assert_eq!(found.siblings(), place.siblings());
        assert!(Place::of_open(place.siblings()).is_none());
        assert_eq!(Place::of(None, "app.x").names(), Some((None, "app.x")));
        assert_ne!(Place::of(None, "app.x").siblings(), place.siblings());
    }

    #[test]
    fn an_open_conflict_is_read_as_it_was_written() {
        let open = Open { since_ms: 1_700_000_000_000, is_announced: true };
        assert_eq!(Open::decode(&open.encode()).expect("readable"), open);
    }
}

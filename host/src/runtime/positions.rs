//! How far each source has come, per lane, as it lies in the store.
//!
//! The store is the truth: what a broker remembers of a consumer is advice.

use crate::store::{Commit, Namespace, Store, StoreError};
use lockstep_plugin_api::{Bytes, Position};

/// Where the positions of one source lie. Changing a pipeline's or a source's name starts it from the beginning.
#[derive(Debug, Clone)]
pub struct PositionKeys {
    prefix: Vec<u8>,
}

impl PositionKeys {
    pub fn new(pipeline: &str, source: &str) -> Self {
        // NUL cannot occur in a name, so no source's keys are a prefix of another's.
        Self { prefix: [pipeline.as_bytes(), b"\0", source.as_bytes(), b"\0"].concat() }
    }

    fn key(&self, lane: u32) -> Vec<u8> {
        [&self.prefix[..], &lane.to_be_bytes()].concat()
    }

    /// Adds a lane's position to a commit.
    pub fn put(&self, commit: Commit, lane: u32, position: &[u8]) -> Commit {
        commit.put(Namespace::Positions, self.key(lane), position)
    }

    /// Every stored position of the source.
    pub fn load(&self, store: &Store) -> Result<Vec<Position>, StoreError> {
        let mut positions = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.scan(Namespace::Positions, &self.prefix, after.as_deref(), 1000)?;
            let Some((last, _)) = page.last() else { return Ok(positions) };
            after = Some(last.clone());
            positions.extend(page.iter().filter_map(|(key, value)| {
                let lane = u32::from_be_bytes(key.strip_prefix(&self.prefix[..])?.try_into().ok()?);
                Some(Position::new(lane, Bytes::copy_from_slice(value)))
            }));
        }
    }
}

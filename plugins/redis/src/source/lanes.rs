//! Which stream has which lane, over restarts.
//!
//! A position is text that an operator can read, `apg-config:log:acme@1700000000000-3`; the names in the stored ones say
//! which lane was whose.

use super::handed::CELLS;
use crate::entry::EntryId;
use lockstep_plugin_api::{Context, Position};
use std::collections::BTreeMap;

/// Lanes by the name of their stream.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<String, u32>,
    stored: BTreeMap<u32, EntryId>,
    last: u32,
}

impl Lanes {
    /// The lanes of the stored positions.
    pub(crate) fn stored(context: &Context) -> Self {
        let mut lanes = Self::default();
        context.positions().for_each(|(lane, position)| lanes.restore(lane, position));
        lanes
    }

    fn restore(&mut self, lane: u32, position: &[u8]) {
        self.last = self.last.max(lane);
        let Some((stream, id)) = read(position) else { return };
        self.lanes.insert(stream.to_owned(), lane);
        self.stored.insert(lane, id);
    }

    /// The lane of a stream, and where it stood.
    pub(crate) fn of(&mut self, stream: &str) -> (u32, Option<EntryId>) {
        if let Some(lane) = self.lanes.get(stream) {
            return (*lane, self.stored.get(lane).copied());
        }
        // The first one is behind the lane of cells.
        self.last += 1;
        self.lanes.insert(stream.to_owned(), self.last);
        (self.last, None)
    }
}

/// A place in a stream.
pub(crate) fn entry_position(lane: u32, stream: &str, id: EntryId) -> Position {
    Position::new(lane, format!("{stream}@{id}"))
}

/// A place among the cells that this source has handed over since it started.
pub(crate) fn cell_position(number: u64) -> Position {
    Position::new(CELLS, format!("cells@{number}"))
}

/// The number of a cell's position.
pub(crate) fn read_cell(position: &[u8]) -> Option<u64> {
    std::str::from_utf8(position).ok()?.strip_prefix("cells@")?.parse().ok()
}

/// The stream and entry of a position; the name of a stream may have an `@` too.
pub(crate) fn read(position: &[u8]) -> Option<(&str, EntryId)> {
    let (stream, id) = std::str::from_utf8(position).ok()?.rsplit_once('@')?;
    Some((stream, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_keeps_its_lane_and_its_place() {
        let id = EntryId { ms: 1_700_000_000_000, number: 3 };
        let position = entry_position(7, "log:a@b", id);
        assert_eq!(&**position.bytes(), b"log:a@b@1700000000000-3");
        let mut lanes = Lanes::default();
        lanes.restore(7, position.bytes());
        lanes.restore(CELLS, cell_position(5).bytes());
        assert_eq!(lanes.of("log:a@b"), (7, Some(id)));
        assert_eq!(lanes.of("log:new"), (8, None));
        assert_eq!(lanes.of("log:new"), (8, None));
        assert_eq!(read_cell(b"cells@5"), Some(5));
        assert_eq!(read_cell(b"log@5-0"), None);
        assert_eq!(Lanes::default().of("log:first").0, CELLS + 1);
    }
}

//! What was handed to the host and is not acknowledged at the server yet.
//!
//! Invariant: an entry is acknowledged only after the host has stored a position at or behind it, and a lane's entries
//! in the order in which they were handed over.

use super::stream::Identity;
use crate::entry::EntryId;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, oneshot};

/// The lane of cells, whose positions mean nothing after a restart.
pub(crate) const CELLS: u32 = 0;

/// Shared by the readers, the host's thread and the task that acknowledges.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<u32, Lane>,
    cells: Cells,
}

#[derive(Debug)]
struct Lane {
    stream: Arc<Identity>,
    /// In the order in which they were handed over.
    ids: VecDeque<EntryId>,
    done: Vec<EntryId>,
}

/// Cells are numbered as they are handed over.
#[derive(Debug, Default)]
struct Cells {
    n_handed: u64,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Handed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of a stream are on their way to the host.
    pub(crate) fn add(&self, stream: &Arc<Identity>, ids: impl IntoIterator<Item = EntryId>) {
        self.lock().lane(stream).ids.extend(ids);
    }

    /// These entries need no acknowledgement by the host.
    pub(crate) fn done(&self, stream: &Arc<Identity>, ids: impl IntoIterator<Item = EntryId>) {
        self.lock().lane(stream).done.extend(ids);
        self.changed.notify_one();
    }

    /// An entry that was added makes no record: it is acknowledged without the host.
    pub(crate) fn dropped(&self, stream: &Arc<Identity>, id: EntryId) {
        let mut state = self.lock();
        let lane = state.lane(stream);
        if let Some(place) = lane.ids.iter().position(|handed| *handed == id) {
            lane.ids.remove(place);
            lane.done.push(id);
            self.changed.notify_one();
        }
    }

    /// What is on its way of a stream.
    pub(crate) fn on_their_way(&self, stream: &Identity) -> HashSet<EntryId> {
        let state = self.lock();
        state.lanes.get(&stream.lane).map(|lane| lane.ids.iter().copied().collect()).unwrap_or_default()
    }

    /// The number of a cell that is handed over now; whoever waits for it is told when that number is stored.
    pub(crate) fn cell(&self, waiting: Option<oneshot::Sender<()>>) -> u64 {
        let cells = &mut self.lock().cells;
        cells.n_handed += 1;
        let number = cells.n_handed;
        cells.waiting.extend(waiting.map(|waiting| (number, waiting)));
        number
    }

    /// The host has stored that everything up to this cell is taken care of.
    pub(crate) fn cells_stored(&self, number: u64) {
        let cells = &mut self.lock().cells;
        while let Some((_, waiting)) = cells.waiting.pop_front_if(|(waiting, _)| *waiting <= number) {
            // A sink that has ended does not care any more.
            let _ = waiting.send(());
        }
    }

    /// The host has stored this position. One that was handed over in an earlier life acknowledges nothing here.
    pub(crate) fn stored(&self, lane: u32, id: EntryId) {
        let mut state = self.lock();
        let Some(lane) = state.lanes.get_mut(&lane) else { return };
        if let Some(place) = lane.ids.iter().position(|handed| *handed == id) {
            lane.done.extend(lane.ids.drain(..=place));
            self.changed.notify_one();
        }
    }

    /// Everything that may be acknowledged.
    pub(crate) fn take_done(&self) -> Vec<(Arc<Identity>, Vec<EntryId>)> {
        let mut state = self.lock();
        let done = state.lanes.values_mut().filter(|lane| !lane.done.is_empty());
        done.map(|lane| (lane.stream.clone(), std::mem::take(&mut lane.done))).collect()
    }

    /// Waits until there may be something to acknowledge.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl State {
    fn lane(&mut self, stream: &Arc<Identity>) -> &mut Lane {
        let new = || Lane { stream: stream.clone(), ids: VecDeque::new(), done: Vec::new() };
        self.lanes.entry(stream.lane).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, number: 0 }
    }

    fn stream() -> Arc<Identity> {
        Arc::new(Identity { name: "s".to_owned(), tenant: None, lane: 1 })
    }

    #[test]
    fn entries_are_done_up_to_the_stored_one_in_the_order_they_were_handed_over() {
        let (handed, stream) = (Handed::default(), stream());
        handed.add(&stream, [id(1), id(2), id(9), id(3)]);
        handed.stored(1, id(9));
        assert_eq!(handed.take_done()[0].1, [id(1), id(2), id(9)], "9 was claimed and handed over before 3");
        assert!(handed.take_done().is_empty());
        handed.stored(1, id(7));
        handed.stored(4, id(3));
        assert!(handed.take_done().is_empty(), "nobody was handed these");
        assert_eq!(handed.on_their_way(&stream), HashSet::from([id(3)]));
        handed.dropped(&stream, id(3));
        assert_eq!(handed.take_done()[0].1, [id(3)]);
    }

    #[test]
    fn who_waits_for_a_cell_is_told_when_it_is_stored() {
        let handed = Handed::default();
        let (committed, mut told) = oneshot::channel();
        assert_eq!(handed.cell(None), 1);
        assert_eq!(handed.cell(Some(committed)), 2);
        handed.cells_stored(1);
        assert!(told.try_recv().is_err());
        handed.cells_stored(3);
        assert_eq!(told.try_recv(), Ok(()));
    }
}

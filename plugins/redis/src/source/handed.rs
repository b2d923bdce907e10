//! What was handed to the host and is not acknowledged at the server yet.
//!
//! Invariant: an entry is acknowledged only after the host has stored a position at or behind it, and the cell of its key
//! shows it, which for what hosts write is so before there is an entry.

use super::stream::Identity;
use crate::entry::EntryId;
use lockstep_plugin_api::Text;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
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
    owing: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: BTreeMap<u32, Lane>,
    cells: Cells,
    owed: Vec<Owed>,
}

#[derive(Debug)]
struct Lane {
    stream: Arc<Identity>,
    /// In the order in which they were handed over.
    ids: VecDeque<EntryId>,
    done: Vec<EntryId>,
    /// The keys of those on their way whose change has no dot.
    plain: HashMap<EntryId, Text>,
}

/// An entry that another program wrote: the host has it, the cell of its key may not show it yet. Not acknowledged until
/// it does, so that the server remembers it if this host dies first.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) stream: Arc<Identity>,
    pub(crate) id: EntryId,
    pub(crate) key: Text,
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

    /// An entry on its way was written by a program that writes no cells.
    pub(crate) fn is_plain(&self, stream: &Arc<Identity>, id: EntryId, key: Text) {
        self.lock().lane(stream).plain.insert(id, key);
    }

    /// The cells of these were not brought up to date in an earlier life.
    pub(crate) fn owe(&self, owed: impl IntoIterator<Item = Owed>) {
        self.lock().owed.extend(owed);
        self.owing.notify_one();
    }

    /// Waits until a cell may be owed, and gives all that are.
    pub(crate) async fn take_owed(&self) -> Vec<Owed> {
        loop {
            let owing = self.owing.notified();
            let owed = std::mem::take(&mut self.lock().owed);
            if !owed.is_empty() {
                return owed;
            }
            owing.await;
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
        let State { lanes, owed, .. } = &mut *state;
        let Some(lane) = lanes.get_mut(&lane) else { return };
        let Some(place) = lane.ids.iter().position(|handed| *handed == id) else { return };
        for id in lane.ids.drain(..=place) {
            match lane.plain.remove(&id) {
                Some(key) => owed.push(Owed { stream: lane.stream.clone(), id, key }),
                None => lane.done.push(id),
            }
        }
        self.changed.notify_one();
        self.owing.notify_one();
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
        let new =
            || Lane { stream: stream.clone(), ids: VecDeque::new(), done: Vec::new(), plain: HashMap::new() };
        self.lanes.entry(stream.lane).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

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
    fn an_entry_without_a_dot_is_acknowledged_when_its_cell_is_written() {
        let (handed, stream) = (Handed::default(), stream());
        handed.add(&stream, [id(1), id(2)]);
        handed.is_plain(&stream, id(1), "k".into());
        handed.stored(1, id(2));
        assert_eq!(handed.take_done()[0].1, [id(2)]);
        let owed = handed.take_owed().now_or_never().expect("one is owed");
        assert_eq!((owed.len(), owed[0].id, &*owed[0].key), (1, id(1), "k"));
        assert!(handed.take_owed().now_or_never().is_none(), "it was given");
        handed.done(&stream, [id(1)]);
        assert_eq!(handed.take_done()[0].1, [id(1)]);
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

//! What was read and waits for the host to ask for it.
//!
//! Invariant: bounded in entries and bytes, or one entry that is larger; only cells that a sink hands over come on top,
//! and of those there are no more than the sink has records in flight.

use super::stream::Identity;
use crate::{connection::Away, entry::Entry};
use lockstep_plugin_api::{Bytes, Position, Result};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};

const MOST_ITEMS: usize = 4096;
const MOST_BYTES: usize = 8 << 20;

/// How many bytes one poll gives, besides its first item.
const POLL_BYTES: usize = 2 << 20;

/// What a poll makes records of.
#[derive(Debug)]
pub(crate) enum Item {
    /// An entry of a stream.
    Entry { stream: Arc<Identity>, entry: Entry },
    /// A cell of the cache.
    Cell(Cell),
    /// Everything that was there at the start lies before this.
    CaughtUp,
}

/// A cell of the cache, as it is to become a record.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) tenant: Option<String>,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// Where a stream stands by it, if that is to be stored with it.
    pub(crate) position: Option<Position>,
    /// Told when the host has committed it.
    pub(crate) committed: Option<oneshot::Sender<()>>,
}

impl Cell {
    pub(crate) fn new(tenant: Option<String>, key: Bytes, value: impl Into<Bytes>) -> Self {
        Self { tenant, key, value: value.into(), position: None, committed: None }
    }
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Entry { entry, .. } => entry.size(),
            Self::Cell(cell) => size_of::<Cell>() + cell.key.len() + cell.value.len(),
            Self::CaughtUp => 0,
        }
    }
}

/// Between the tasks that read and the host's thread that polls.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    offered: VecDeque<Cell>,
    items: VecDeque<Item>,
    n_bytes: usize,
    /// By the task that has lost the server.
    away: BTreeMap<u32, Away>,
    is_closed: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something may be put in. Only the host's thread takes something out, so it may put in all it has read.
    pub(crate) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.lock().has_room() {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn push(&self, items: impl IntoIterator<Item = Item>) {
        let mut state = self.lock();
        for item in items {
            state.n_bytes += item.size();
            state.items.push_back(item);
        }
        self.filled.notify_one();
    }

    /// Takes a cell that a sink met; what is given back is told when the host has committed it, and dropped if it never
    /// will. `None` if nothing is taken any more.
    pub(crate) fn offer(&self, mut cell: Cell) -> Option<oneshot::Receiver<()>> {
        let (committed, told) = oneshot::channel();
        cell.committed = Some(committed);
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        state.offered.push_back(cell);
        self.filled.notify_one();
        Some(told)
    }

    /// A task has lost the server, or has it again.
    pub(crate) fn set_away(&self, task: u32, away: Option<Away>) {
        let mut state = self.lock();
        match away {
            Some(away) => drop(state.away.insert(task, away)),
            None => drop(state.away.remove(&task)),
        }
        self.filled.notify_one();
    }

    /// The source ends: nobody polls any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.offered.clear();
        self.emptied.notify_waiters();
    }

    /// Waits until the source ends.
    pub(crate) async fn closed(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.is_closed() {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Gives at most `max` items, up to and with the end of catching up, waiting at most `wait` for the first one.
    ///
    /// # Errors
    /// `NotConnected` if there is none and the server is away.
    pub(crate) fn take(&self, max: usize, wait: Duration) -> Result<Vec<Item>> {
        let until = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            let taken = state.take(max);
            if !taken.is_empty() {
                self.emptied.notify_waiters();
                return Ok(taken);
            }
            if let Some(away) = state.away.values().next() {
                return Err(away.error());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(taken);
            }
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.is_closed || (self.items.len() < MOST_ITEMS && self.n_bytes < MOST_BYTES)
    }

    fn take(&mut self, max: usize) -> Vec<Item> {
        let mut taken = Vec::new();
        let mut n_bytes = 0;
        while taken.len() < max && n_bytes < POLL_BYTES {
            let item = match self.offered.pop_front() {
                Some(cell) => Item::Cell(cell),
                None => {
                    let Some(item) = self.items.pop_front() else { break };
                    self.n_bytes -= item.size();
                    item
                }
            };
            n_bytes += item.size();
            let is_end = matches!(item, Item::CaughtUp);
            taken.push(item);
            if is_end {
                break;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_plugin_api::ErrorKind;

    fn cell(value: &str) -> Cell {
        Cell::new(None, "k".into(), value)
    }

    fn values(items: &[Item]) -> Vec<String> {
        let value = |item: &Item| match item {
            Item::Cell(cell) => String::from_utf8_lossy(&cell.value).into_owned(),
            Item::Entry { entry, .. } => entry.id.to_string(),
            Item::CaughtUp => "caught up".to_owned(),
        };
        items.iter().map(value).collect()
    }

    #[test]
    fn a_poll_ends_with_what_was_there_at_the_start_and_takes_what_a_sink_offers_first() {
        let inbox = Inbox::default();
        inbox.push([Item::Cell(cell("1")), Item::CaughtUp, Item::Cell(cell("2"))]);
        let told = inbox.offer(cell("3")).expect("open");
        let taken = inbox.take(10, Duration::ZERO).expect("there");
        assert_eq!(values(&taken), ["3", "1", "caught up"]);
        assert_eq!(values(&inbox.take(10, Duration::ZERO).expect("there")), ["2"]);
        drop(taken);
        assert!(told.blocking_recv().is_err(), "it was never committed");
        inbox.close();
        assert!(inbox.offer(cell("4")).is_none());
    }

    #[test]
    fn a_server_that_is_away_is_told_when_nothing_is_left() {
        let inbox = Inbox::default();
        inbox.set_away(1, Some(Away("gone".to_owned())));
        inbox.push([Item::Cell(cell("1"))]);
        assert_eq!(inbox.take(10, Duration::from_secs(5)).expect("something is left").len(), 1);
        let error = inbox.take(10, Duration::from_secs(5)).expect_err("away");
        assert_eq!((error.kind(), error.message()), (ErrorKind::NOT_CONNECTED, "gone"));
        inbox.set_away(1, None);
        assert!(inbox.take(10, Duration::ZERO).expect("there").is_empty());
    }

    #[test]
    fn a_full_inbox_has_no_room_until_something_is_taken() {
        let inbox = Inbox::default();
        inbox.push((0..MOST_ITEMS).map(|_| Item::Cell(cell("1"))));
        assert!(!inbox.lock().has_room());
        inbox.take(1, Duration::ZERO).expect("there");
        assert!(inbox.lock().has_room());
        inbox.push([Item::Cell(Cell::new(None, "k".into(), vec![0; MOST_BYTES]))]);
        assert!(!inbox.lock().has_room());
    }
}

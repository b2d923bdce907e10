//! One stream on its way to the host: where it stands, and how it comes to the present.
//!
//! Invariant: entries are handed over in the order of the stream, except those that were taken over from another
//! consumer. Through the log the cells come before the entries if nothing was read here before, or not everything.

use super::{
    cache::{self, Covered},
    group::StreamInfo,
    handed::Owed,
    inbox::{Cell, Item},
    lanes::entry_position,
    portion::Portion,
    reader::Common,
};
use crate::{
    connection::{Fault, Link},
    entry::{Entry, EntryId},
};
use lockstep_plugin_api::Change;
use std::{collections::HashSet, sync::Arc};
use tracing::{info, warn};

/// A stream's name, whose it is, and its lane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) tenant: Option<String>,
    pub(crate) lane: u32,
}

/// Where a stream stands.
pub(super) struct Stream {
    pub(super) identity: Arc<Identity>,
    /// The last entry that was handed over, in this life or in an earlier one. In a shared group the server knows.
    last: Option<EntryId>,
    catching_up: Option<CatchingUp>,
    /// The last read gave as much as was asked for: there is more, and it may be trimmed away meanwhile.
    is_behind: bool,
    was_opened: bool,
    /// The server does not let it be read.
    pub(super) is_refused: bool,
}

/// The way to where the stream stood when it was opened.
#[derive(Default)]
struct CatchingUp {
    until: EntryId,
    covered: Covered,
    /// A cell to hand over once more at the end, so that the place is stored even if no entry was handed over.
    carrier: Option<Cell>,
    /// Whether the whole source waits for it.
    is_awaited: bool,
}

impl Stream {
    pub(super) fn new(identity: Identity, last: Option<EntryId>, is_awaited: bool) -> Self {
        let catching_up = CatchingUp { is_awaited, ..CatchingUp::default() };
        let identity = Arc::new(identity);
        Self {
            identity,
            last,
            catching_up: Some(catching_up),
            is_behind: false,
            was_opened: false,
            is_refused: false,
        }
    }

    fn name(&self) -> &str {
        &self.identity.name
    }

    /// Makes the group stand where this stream does, and reads what has to come first. Done again after each reconnect.
    pub(super) async fn open(&mut self, link: &mut Link, common: &Common) -> Result<(), Fault> {
        let is_first = !self.was_opened;
        if common.group.is_shared || (self.last.is_none() && !common.through_log) {
            common.group.create(link, self.name(), common.group.begin).await?;
            self.warn_of_others(link, common, is_first).await;
            self.begin_catching_up(common.group.info(link, self.name()).await?.last);
            self.take_own(link, common).await?;
            self.was_opened = true;
            return Ok(());
        }
        let last = self.last.unwrap_or_default();
        common.group.go_on_behind(link, self.name(), last).await?;
        let info = common.group.info(link, self.name()).await?;
        if is_first {
            self.settle_earlier_life(link, common, last).await?;
            self.warn_of_others(link, common, true).await;
        }
        self.begin_catching_up(info.last);
        if info.is_gap_behind(last) && self.last.is_some() {
            self.mind_the_gap(link, common, &info).await?;
        } else if self.last.is_none() {
            self.read_cells(link, common).await?;
            self.last = Some(last);
        }
        self.was_opened = true;
        self.look_whether_there(common);
        Ok(())
    }

    /// Acknowledges what an earlier life took up to here and had no time to acknowledge; but what another program wrote
    /// was perhaps not acknowledged because its cell was not written.
    async fn settle_earlier_life(
        &self,
        link: &mut Link,
        common: &Common,
        until: EntryId,
    ) -> Result<(), Fault> {
        let mut from = EntryId::default();
        loop {
            let mut ids = common.group.unacknowledged(link, self.name(), from, until).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            from = *last;
            if common.through_log {
                let entries = common.group.take_again(link, self.name(), &ids).await?;
                let owed: Vec<Owed> = entries.iter().filter_map(|entry| self.owed(entry)).collect();
                ids.retain(|id| owed.iter().all(|owed| owed.id != *id));
                common.handed.owe(owed);
            }
            common.handed.done(&self.identity, ids);
        }
    }

    fn owed(&self, entry: &Entry) -> Option<Owed> {
        let change = entry.change_of().filter(|change| change.dot().is_none())?;
        let key = change.config_key_text().clone();
        Some(Owed { stream: self.identity.clone(), id: entry.id, key })
    }

    /// Whether there is nothing left to read of what was there.
    fn look_whether_there(&mut self, common: &Common) {
        let last = self.last.unwrap_or_default();
        if self.catching_up.as_ref().is_some_and(|catching_up| last >= catching_up.until) {
            self.caught_up(common);
        }
    }

    fn begin_catching_up(&mut self, until: EntryId) {
        let catching_up = self.catching_up.get_or_insert_default();
        catching_up.until = until;
    }

    async fn warn_of_others(&self, link: &mut Link, common: &Common, is_first: bool) {
        if common.group.is_shared || !is_first {
            return;
        }
        // A user may not be allowed to look; nothing depends on it.
        let Ok(others) = common.group.others(link, self.name()).await else { return };
        if let Some(other) = others.first() {
            warn!(
                stream = self.name(),
                group = common.group.name,
                other,
                "another live consumer reads in this group: each gets a part of the entries"
            );
        }
    }

    /// Entries are gone that were not read here.
    async fn mind_the_gap(
        &mut self,
        link: &mut Link,
        common: &Common,
        info: &StreamInfo,
    ) -> Result<(), Fault> {
        let position = self.last.unwrap_or_default();
        common.metrics.gaps.add(1);
        if common.through_log {
            warn!(stream = self.name(), %position, "gap: entries of the stream are gone that were not read, reading the cache");
        } else {
            warn!(stream = self.name(), %position, "gap: entries of the stream are gone that were not read");
        }
        self.begin_catching_up(info.last);
        self.read_cells(link, common).await?;
        if info.last < position {
            common.group.go_on_behind(link, self.name(), EntryId::default()).await?;
            self.last = Some(EntryId::default());
        }
        Ok(())
    }

    /// Hands every cell of the cache over.
    async fn read_cells(&mut self, link: &mut Link, common: &Common) -> Result<(), Fault> {
        if !common.through_log {
            return Ok(());
        }
        let tenant = self.identity.tenant.as_deref();
        let cache = common.names.cache(tenant);
        let (mut cursor, mut covered, mut carrier, mut n_cells) = (0, Covered::default(), None, 0_u64);
        loop {
            let step = cache::step(link, &cache, tenant, cursor).await?;
            n_cells += step.cells.len() as u64;
            common.metrics.cells.add(step.cells.len() as u64);
            step.cells.iter().for_each(|cell| covered.add(cell));
            if let Some(cell) = step.cells.first() {
                carrier = Some(Cell::new(cell.tenant.clone(), cell.key.clone(), cell.value.clone()));
            }
            common.inbox.room().await;
            common.inbox.push(step.cells.into_iter().map(Item::Cell));
            cursor = step.cursor;
            if cursor == 0 || common.inbox.is_closed() {
                break;
            }
        }
        if n_cells > 0 {
            info!(cache, cells = n_cells, "read the cache");
        }
        let catching_up = self.catching_up.get_or_insert_default();
        (catching_up.covered, catching_up.carrier) = (covered, carrier);
        Ok(())
    }

    /// What this consumer took and nobody acknowledged; the server gives it only to who asks for it.
    async fn take_own(&mut self, link: &mut Link, common: &Common) -> Result<(), Fault> {
        let (mut from, mut portion) = (EntryId::default(), Portion::default());
        loop {
            common.inbox.room().await;
            let entries = common.group.take_own(link, &self.identity.name, from, portion.count()).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            from = last.id;
            portion.came(&entries);
            self.hand_over_again(entries, common);
            if common.inbox.is_closed() {
                return Ok(());
            }
        }
    }

    /// Takes over what other consumers left.
    pub(super) async fn claim(&mut self, link: &mut Link, common: &Common) -> Result<(), Fault> {
        let (mut from, mut portion) = (EntryId::default(), Portion::default());
        loop {
            common.inbox.room().await;
            let (next, entries) =
                common.group.claim(link, &self.identity.name, from, portion.count()).await?;
            portion.came(&entries);
            let n_new = self.hand_over_again(entries, common);
            if n_new > 0 {
                common.metrics.claimed.add(n_new);
                info!(stream = self.name(), entries = n_new, "took over what another consumer left");
            }
            if next == EntryId::default() || common.inbox.is_closed() {
                return Ok(());
            }
            from = next;
        }
    }

    /// Hands over what is not on its way already, and says how much.
    fn hand_over_again(&self, entries: Vec<Entry>, common: &Common) -> u64 {
        let on_their_way: HashSet<EntryId> = common.handed.on_their_way(&self.identity);
        let (gone, here): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::is_gone);
        common.handed.done(&self.identity, gone.iter().map(|entry| entry.id));
        let new: Vec<Entry> = here.into_iter().filter(|entry| !on_their_way.contains(&entry.id)).collect();
        let n_new = new.len() as u64;
        self.push(new, common);
        n_new
    }

    /// Hands over what a read of this stream gave; nothing says that it is at its end.
    pub(super) async fn take_in(
        &mut self,
        entries: Vec<Entry>,
        asked_for: usize,
        link: &mut Link,
        common: &Common,
    ) -> Result<(), Fault> {
        let was_behind = std::mem::replace(&mut self.is_behind, entries.len() >= asked_for);
        let (first, last) = (entries.first().map(|entry| entry.id), entries.last().map(|entry| entry.id));
        if let (true, Some(first), Some(before)) = (was_behind && !common.group.is_shared, first, self.last) {
            let info = common.group.info(link, &self.identity.name).await?;
            // What is behind is trimmed from the front: only if that has come up to here can something be missing.
            if info.is_gap_behind(before) && info.first.is_none_or(|oldest| oldest >= first) {
                self.mind_the_gap(link, common, &info).await?;
            }
        }
        let entries = self.pass_over_covered(entries, common);
        self.push(entries, common);
        if !common.group.is_shared {
            self.last = last.or(self.last);
        }
        let is_there =
            |catching_up: &CatchingUp| last.is_none() || last.is_some_and(|last| last >= catching_up.until);
        if self.catching_up.as_ref().is_some_and(is_there) {
            self.caught_up(common);
        }
        Ok(())
    }

    fn pass_over_covered(&self, entries: Vec<Entry>, common: &Common) -> Vec<Entry> {
        let Some(catching_up) =
            self.catching_up.as_ref().filter(|catching_up| !catching_up.covered.is_empty())
        else {
            return entries;
        };
        let is_covered = |entry: &Entry| {
            let change = entry.change_of().filter(|_| entry.id <= catching_up.until);
            change.is_some_and(|change: Change| catching_up.covered.holds(&change, entry.id))
        };
        let (covered, rest): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(is_covered);
        common.handed.done(&self.identity, covered.iter().map(|entry| entry.id));
        rest
    }

    fn push(&self, entries: Vec<Entry>, common: &Common) {
        common.metrics.entries.add(entries.len() as u64);
        common.handed.add(&self.identity, entries.iter().map(|entry| entry.id));
        let item = |entry| Item::Entry { stream: self.identity.clone(), entry };
        common.inbox.push(entries.into_iter().map(item));
    }

    /// Nobody is to wait for this stream.
    pub(super) fn give_up(&mut self, common: &Common) {
        if self.catching_up.as_mut().is_some_and(|catching_up| std::mem::take(&mut catching_up.is_awaited)) {
            common.catch_up.one_less(&common.inbox);
        }
    }

    /// Everything that was there when the stream was opened has been handed over.
    fn caught_up(&mut self, common: &Common) {
        let Some(catching_up) = self.catching_up.take() else { return };
        if let Some(carrier) = catching_up.carrier {
            let place = self.last.unwrap_or_default().max(catching_up.until);
            let position = entry_position(self.identity.lane, &self.identity.name, place);
            common.inbox.push([Item::Cell(Cell { position: Some(position), ..carrier })]);
        }
        if catching_up.is_awaited {
            common.catch_up.one_less(&common.inbox);
        }
    }
}

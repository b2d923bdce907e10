//! What waits for one client, in order, and how it is made smaller. No lock and no task in here.

use crate::publication::{Conflated, Publication, Subject};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

/// What an item takes beside its text.
const ITEM_BYTES: usize = 48;

/// Items in the order they are written.
#[derive(Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    /// How many items are entries of the log.
    n_entries: usize,
}

/// One thing that waits.
pub(super) enum Item {
    /// An answer, or anything else that is said once.
    Text(Utf8Bytes),
    /// What subscribers are shown.
    Shown { publication: Arc<Publication>, conflated: Option<Box<Conflated>> },
    /// The word that every entry up to some revision was sent: it goes where they go.
    Bookmark(Utf8Bytes),
    /// Nothing behind this is written before the answer to the client's own change has taken its place.
    AnswerTo(Uuid),
}

impl Item {
    pub(super) fn shown(publication: &Arc<Publication>) -> Self {
        Self::Shown { publication: publication.clone(), conflated: None }
    }

    /// What it counts for; a held place is small and bounded by the unanswered changes of a connection.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Bookmark(text) => text.len() + ITEM_BYTES,
            Self::Shown { publication, conflated } => {
                let old_value = conflated.as_ref().map_or(0, |conflated| conflated.old_value.len());
                publication.text.len() + old_value + ITEM_BYTES
            }
            Self::AnswerTo(_) => 0,
        }
    }

    /// Whether it is there again when the log is read again.
    pub(super) fn is_entry(&self) -> bool {
        match self {
            Self::Shown { publication, .. } => publication.entry.is_some(),
            Self::Bookmark(_) => true,
            Self::Text(_) | Self::AnswerTo(_) => false,
        }
    }

    fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Shown { publication, .. } => publication.subject(),
            _ => None,
        }
    }

    /// What a later entry of its key would stand for, beginning with this one.
    fn as_first(&self) -> Option<Box<Conflated>> {
        match self {
            Self::Shown { conflated: Some(conflated), .. } => Some(conflated.clone()),
            Self::Shown { publication, .. } => publication.as_first().map(Box::new),
            _ => None,
        }
    }

    /// What goes over the wire.
    pub(super) fn into_frame(self) -> Option<Utf8Bytes> {
        match self {
            Self::Text(text) | Self::Bookmark(text) => Some(text),
            Self::Shown { publication, conflated } => Some(publication.frame(conflated.as_deref())),
            Self::AnswerTo(_) => None,
        }
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is anything that could be conflated, or read from the log again.
    pub(super) fn has_entries(&self) -> bool {
        self.n_entries > 0
    }

    pub(super) fn push(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.n_entries += usize::from(item.is_entry());
        self.items.push_back(item);
    }

    /// The next item, unless it is held back.
    pub(super) fn pop(&mut self) -> Option<Item> {
        if self.is_held() {
            return None;
        }
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes();
        self.n_entries -= usize::from(item.is_entry());
        Some(item)
    }

    /// Whether something waits that must not be written yet.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.items.front(), Some(Item::AnswerTo(_)))
    }

    /// Puts an answer where it was waited for; gives it back if nothing waits for it.
    pub(super) fn fill(&mut self, event: Uuid, answer: Utf8Bytes) -> Result<(), Utf8Bytes> {
        let is_place = |item: &&mut Item| matches!(item, Item::AnswerTo(of) if *of == event);
        match self.items.iter_mut().find(is_place) {
            Some(place) => {
                *place = Item::Text(answer);
                self.bytes += place.bytes();
                Ok(())
            }
            None => Err(answer),
        }
    }

    /// Lets go of everything that is held back.
    pub(super) fn release(&mut self) {
        self.items.retain(|item| !matches!(item, Item::AnswerTo(_)));
    }

    /// Leaves out every entry that a later one of the same key can stand for, and gives how many. The order stays the one
    /// of the log: the last entry of a key keeps its place and says since when it stands for all.
    pub(super) fn conflate(&mut self) -> usize {
        // Of each key, the last item and the first.
        let mut spans: HashMap<Arc<str>, (usize, usize)> = HashMap::new();
        let mut stays = vec![true; self.items.len()];
        for (at, item) in self.items.iter().enumerate().rev() {
            let Some(subject) = item.subject() else { continue };
            let span = spans.entry(subject.name.clone()).or_insert((at, at));
            stays[at] = span.0 == at;
            span.1 = at;
        }
        for (last, first) in spans.into_values().filter(|(last, first)| last != first) {
            let stands_for = self.items[first].as_first();
            if let Item::Shown { conflated, .. } = &mut self.items[last] {
                *conflated = stands_for;
            }
        }
        let n_before = self.items.len();
        let mut stays = stays.into_iter();
        self.keep(|_| stays.next().expect("one for each item"));
        n_before - self.items.len()
    }

    /// Leaves out every entry of the log, and no longer holds anything back: what is read again gets places of its own.
    pub(super) fn drop_entries(&mut self) {
        self.keep(|item| !item.is_entry() && !matches!(item, Item::AnswerTo(_)));
    }

    fn keep(&mut self, is_kept: impl FnMut(&Item) -> bool) {
        self.items.retain(is_kept);
        (self.bytes, self.n_entries) = (0, 0);
        for item in &self.items {
            self.bytes += item.bytes();
            self.n_entries += usize::from(item.is_entry());
        }
    }
}

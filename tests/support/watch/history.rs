//! What was committed, whoever tells it.

use serde_json::Value;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::RangeBounds,
};

/// One change of the log: its place, its key, and the number that its author gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub revision: u64,
    pub key: String,
    pub number: u64,
}

/// The changes of one epoch, by revision.
#[derive(Debug, Clone, Default)]
pub struct History(BTreeMap<u64, (String, u64)>);

impl Committed {
    /// From a change as the product writes it: `{"config_key", "new_value": {"n"}, "revision"}`.
    ///
    /// # Panics
    /// If a field is missing.
    pub fn new(change: &Value) -> Self {
        let field = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number is missing: {change}"));
        let key = change["config_key"].as_str().unwrap_or_else(|| panic!("no key: {change}"));
        Self {
            revision: field(&change["revision"]),
            key: key.to_owned(),
            number: field(&change["new_value"]["n"]),
        }
    }
}

impl History {
    /// Takes a change; the same one may be told again.
    ///
    /// # Panics
    /// If its revision was already told of another one.
    pub fn tell(&mut self, change: Committed) {
        let Committed { revision, key, number } = change;
        match self.0.entry(revision) {
            Entry::Vacant(place) => drop(place.insert((key, number))),
            Entry::Occupied(told) => {
                assert_eq!(told.get(), &(key, number), "two changes of revision {revision}");
            }
        }
    }

    /// The changes in a range of revisions, in order.
    pub fn range(&self, range: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = Committed> {
        let clone = |(revision, (key, number)): (&u64, &(String, u64))| Committed {
            revision: *revision,
            key: key.clone(),
            number: *number,
        };
        self.0.range(range).map(clone)
    }

    /// One change.
    pub fn get(&self, revision: u64) -> Option<Committed> {
        self.range(revision..=revision).next()
    }

    /// The newest revision; 0 if there is none.
    pub fn head(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(revision, _)| *revision)
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest change of every key up to a revision.
    pub fn current(&self, through: u64) -> BTreeMap<String, Committed> {
        self.range(..=through).map(|change| (change.key.clone(), change)).collect()
    }

    /// Every revision from the first to the last is there, and no change is there twice.
    ///
    /// # Panics
    /// If not.
    pub fn assert_complete(&self) {
        let missing: Vec<u64> =
            (1..=self.head()).filter(|revision| !self.0.contains_key(revision)).take(10).collect();
        assert!(missing.is_empty(), "no change has the revisions {missing:?} of {}", self.head());
        let mut numbers: Vec<u64> = self.0.values().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).find(|pair| pair[0] == pair[1]);
        assert!(twice.is_none(), "a change was committed twice: number {twice:?}");
    }
}

impl FromIterator<Committed> for History {
    fn from_iter<T: IntoIterator<Item = Committed>>(changes: T) -> Self {
        let mut history = Self::default();
        changes.into_iter().for_each(|change| history.tell(change));
        history
    }
}

//! Records that could not be delivered, kept in the store with everything an operator needs to decide about them.
//!
//! Invariant: a record counts as taken care of only after its dead letter is on disk.

use super::withheld::Withheld;
use crate::config::DeadLetterSettings;
use crate::store::{Commit, Namespace, Store, StoreError};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use lockstep_plugin_api::{Bytes, Error, Position, Record};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A record that failed, where, why, and after how many attempts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    pub pipeline: String,
    /// The component it failed at; a retry enters there again.
    pub component: String,
    /// `source`, `transform` or `sink`.
    pub kind: String,
    /// The source it came from.
    pub source: String,
    pub record_id: u64,
    pub attempts: u32,
    /// Whether it never reached the component, because the component's `when` could not be decided.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_undecided: bool,
    pub error: StoredError,
    pub first_failed_at: Timestamp,
    pub last_failed_at: Timestamp,
    pub record: StoredRecord,
}

/// An error as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredError {
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<serde_json::Value>,
}

/// A record as it is stored: text where it is text, base64 where it is not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredRecord {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<Blob>,
    /// Instead of a value that was to be sealed and was not yet, or was opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub withheld: Option<Withheld>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub headers: Vec<(String, Blob)>,
    pub timestamp_us: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub position: Option<(u32, Blob)>,
}

/// Bytes in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blob {
    Text(String),
    Base64(String),
}

impl From<&Bytes> for Blob {
    fn from(bytes: &Bytes) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64.encode(&**bytes)),
        }
    }
}

impl From<&Blob> for Bytes {
    fn from(blob: &Blob) -> Self {
        match blob {
            Blob::Text(text) => Self::from(text.as_str()),
            Blob::Base64(text) => Self::from(BASE64.decode(text).unwrap_or_default()),
        }
    }
}

impl DeadLetter {
    /// The same record failed before: its story goes on.
    pub fn after(mut self, earlier: &Self) -> Self {
        self.source.clone_from(&earlier.source);
        self.record_id = earlier.record_id;
        self.first_failed_at = earlier.first_failed_at;
        self.attempts += earlier.attempts;
        self
    }
}

impl From<&Error> for StoredError {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind().name().to_owned(),
            code: error.code().map(str::to_owned),
            message: error.message().to_owned(),
            detail: error.detail().to_owned(),
            details: error.details().and_then(|details| serde_json::from_str(details).ok()),
        }
    }
}

impl From<&Record> for StoredRecord {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key().map(Blob::from),
            value: record.value().as_ref().map(Blob::from),
            withheld: None,
            headers: record.headers().map(|(name, value)| (name.to_owned(), Blob::from(value))).collect(),
            timestamp_us: record.timestamp_us(),
            position: record.position().map(|position| (position.lane(), Blob::from(position.bytes()))),
        }
    }
}

impl StoredRecord {
    /// The record without its value.
    pub fn without_value(record: &Record, withheld: Withheld) -> Self {
        Self { value: None, withheld: Some(withheld), ..Self::from(record) }
    }

    /// The record again, with the id it had.
    pub fn to_record(&self, id: u64) -> Record {
        let mut record = Record::new(Bytes::new());
        record.set_value(self.value.as_ref().map(Bytes::from));
        record.set_key(self.key.as_ref().map(Bytes::from));
        for (name, value) in &self.headers {
            record.set_header(name, Bytes::from(value));
        }
        record.set_timestamp_us(self.timestamp_us);
        record.set_id(id);
        match &self.position {
            Some((lane, bytes)) => record.with_position(Position::new(*lane, Bytes::from(bytes))),
            None => record,
        }
    }
}

/// Why a dead letter could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error(
        "the dead letter queue of `{component}` is full: {records} records, {bytes} bytes (`state.dead_letters`)"
    )]
    Full { component: String, records: u64, bytes: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The dead letters of every pipeline of this host. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetters {
    store: Store,
    limits: DeadLetterSettings,
    /// How much lies in the queue of each component, and the last number given out.
    queues: Arc<Mutex<Queues>>,
}

#[derive(Debug, Default)]
struct Queues {
    used: HashMap<QueueName, Size>,
    last_number: u64,
    /// Keys of letters that are being tried again.
    claimed: HashSet<Vec<u8>>,
}

/// The right to try one dead letter again; nobody else may try or drop it meanwhile. Given back when dropped.
#[derive(Debug)]
pub struct Claim {
    key: Vec<u8>,
    queues: Arc<Mutex<Queues>>,
}

impl Claim {
    pub fn key(&self) -> &Vec<u8> {
        &self.key
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).claimed.remove(&self.key);
    }
}

/// The last number that was given out; in the store, so that a number never means another letter later.
const LAST_NUMBER_KEY: &[u8] = b"dead_letters";

/// Each component has a queue of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueName {
    pub pipeline: String,
    pub component: String,
    /// Sources, transforms and sinks have names of their own.
    pub kind: String,
}

/// How much lies in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub records: u64,
    pub bytes: u64,
}

/// Dead letters with a place in their queues, to be committed; what is not stored gives its place back.
#[derive(Debug)]
pub struct Prepared {
    commit: Commit,
    added: Vec<(QueueName, u64)>,
    replaced: Vec<Replaced>,
    queues: Arc<Mutex<Queues>>,
}

/// A dead letter that takes the place of an earlier one, if that is still there.
#[derive(Debug)]
struct Replaced {
    old: Option<(QueueName, u64)>,
    new: QueueName,
    n_bytes: u64,
}

/// A dead letter to be stored, under a key of its own or in the place of the one under this key.
pub type KeyedLetter = (Option<Vec<u8>>, DeadLetter);

/// A dead letter and the key it lies under.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Vec<u8>,
    pub letter: DeadLetter,
}

impl Entry {
    /// The number operators know it by.
    pub fn number(&self) -> u64 {
        number(&self.key)
    }
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

impl DeadLetters {
    /// Counts what lies there already.
    pub fn open(store: Store, limits: DeadLetterSettings) -> Result<Self, StoreError> {
        let letters = Self { store, limits, queues: Arc::default() };
        let last = letters.store.get(Namespace::Meta, LAST_NUMBER_KEY)?;
        letters.lock().last_number = last.map_or(0, |bytes| number(&bytes));
        let mut after = None;
        loop {
            let page = letters.store.scan(Namespace::DeadLetters, b"", after.as_deref(), 1000)?;
            let Some((last, _)) = page.last() else { return Ok(letters) };
            after = Some(last.clone());
            let mut queues = letters.lock();
            for (key, value) in &page {
                queues.last_number = queues.last_number.max(number(key));
                if let Ok(letter) = serde_json::from_slice::<DeadLetter>(value) {
                    queues.add(&QueueName::of(&letter), value.len() as u64);
                }
            }
        }
    }

    /// Whether values that a component would have sealed, or has opened, may be stored as they are: the store itself seals
    /// them.
    pub fn keeps_clear_values(&self) -> bool {
        self.store.is_sealed()
    }

    /// Stores dead letters; each replaces the one under its key if it has one. Returns when they are on disk.
    pub fn put(&self, letters: &[KeyedLetter]) -> Result<(), DeadLetterError> {
        let mut prepared = self.prepare(letters)?;
        self.store.commit(prepared.take_commit())?;
        prepared.stored();
        Ok(())
    }

    /// As [`DeadLetters::put`], for a caller that commits them together with something else.
    pub fn prepare(&self, letters: &[KeyedLetter]) -> Result<Prepared, DeadLetterError> {
        let mut prepared = Prepared::new(self.queues.clone());
        for (key, letter) in letters {
            let value = serde_json::to_vec(letter).expect("a dead letter is plain data");
            let (queue, n_bytes) = (QueueName::of(letter), value.len() as u64);
            let key = match key {
                Some(key) => {
                    let old = self.store.get(Namespace::DeadLetters, key)?;
                    let old = old.and_then(|value| Some((QueueName::of(&read(&value)?), value.len() as u64)));
                    prepared.replaced.push(Replaced { old, new: queue, n_bytes });
                    key.clone()
                }
                None => {
                    let key = self.reserve(&queue, n_bytes)?;
                    prepared.added.push((queue, n_bytes));
                    key
                }
            };
            prepared.commit.puts.push((Namespace::DeadLetters, key, value));
        }
        if !prepared.added.is_empty() {
            let last = self.lock().last_number.to_be_bytes().to_vec();
            prepared.commit.puts.push((Namespace::Meta, LAST_NUMBER_KEY.to_vec(), last));
        }
        Ok(prepared)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much lies in each queue that was ever used.
    pub fn sizes(&self) -> Vec<(QueueName, Size)> {
        self.lock().used.iter().map(|(queue, size)| (queue.clone(), *size)).collect()
    }

    fn reserve(&self, queue: &QueueName, bytes: u64) -> Result<Vec<u8>, DeadLetterError> {
        let mut queues = self.lock();
        let used = queues.used(queue);
        if used.records + 1 > self.limits.records || used.bytes + bytes > self.limits.bytes {
            let component = format!("{}/{}", queue.pipeline, queue.component);
            return Err(DeadLetterError::Full { component, records: used.records, bytes: used.bytes });
        }
        queues.add(queue, bytes);
        queues.last_number += 1;
        Ok(queues.last_number.to_be_bytes().to_vec())
    }

    /// At most `limit` dead letters after the one with this number.
    pub fn list(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let page = self.store.scan(Namespace::DeadLetters, b"", Some(&after.to_be_bytes()), limit)?;
        Ok(page.into_iter().filter_map(|(key, value)| Some(Entry { key, letter: read(&value)? })).collect())
    }

    pub fn get(&self, number: u64) -> Result<Option<Entry>, StoreError> {
        let key = number.to_be_bytes().to_vec();
        Ok(self.under(&key)?.map(|letter| Entry { letter, key }))
    }

    /// The dead letter under a key.
    pub fn under(&self, key: &[u8]) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.store.get(Namespace::DeadLetters, key)?.and_then(|value| read(&value)))
    }

    /// Takes the right to try a letter again; `None` if somebody has it.
    pub fn claim(&self, key: &[u8]) -> Option<Claim> {
        let is_new = self.lock().claimed.insert(key.to_vec());
        is_new.then(|| Claim { key: key.to_vec(), queues: self.queues.clone() })
    }

    /// Forgets a letter because an operator said so, in one commit with `with`, which says so; false if it is being tried
    /// again just now.
    pub fn drop_letter(&self, key: &[u8], with: Commit) -> Result<bool, StoreError> {
        let Some(_claim) = self.claim(key) else { return Ok(false) };
        self.remove_with(with, &[key.to_vec()]).map(|()| true)
    }

    /// Forgets dead letters that were delivered, or whose claim the caller has.
    pub fn remove(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        self.remove_with(Commit::default(), keys)
    }

    fn remove_with(&self, mut commit: Commit, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut removed = Vec::new();
        for key in keys {
            if let Some(value) = self.store.get(Namespace::DeadLetters, key)? {
                removed.extend(read(&value).map(|letter| (QueueName::of(&letter), value.len() as u64)));
                commit = commit.delete(Namespace::DeadLetters, key.clone());
            }
        }
        self.store.commit(commit)?;
        let mut queues = self.lock();
        removed.iter().for_each(|(queue, bytes)| queues.remove(queue, *bytes));
        Ok(())
    }
}

fn read(value: &[u8]) -> Option<DeadLetter> {
    serde_json::from_slice(value).ok()
}

impl Queues {
    fn slot(&mut self, queue: &QueueName) -> &mut Size {
        if !self.used.contains_key(queue) {
            self.used.insert(queue.clone(), Size::default());
        }
        self.used.get_mut(queue).expect("it was put there")
    }

    fn used(&mut self, queue: &QueueName) -> Size {
        *self.slot(queue)
    }

    fn add(&mut self, queue: &QueueName, bytes: u64) {
        let size = self.slot(queue);
        size.records += 1;
        size.bytes += bytes;
    }

    fn remove(&mut self, queue: &QueueName, bytes: u64) {
        let size = self.slot(queue);
        size.records = size.records.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub(bytes);
    }
}

impl QueueName {
    fn of(letter: &DeadLetter) -> Self {
        let (pipeline, component) = (letter.pipeline.clone(), letter.component.clone());
        Self { pipeline, component, kind: letter.kind.clone() }
    }
}

impl Prepared {
    fn new(queues: Arc<Mutex<Queues>>) -> Self {
        Self { commit: Commit::default(), added: Vec::new(), replaced: Vec::new(), queues }
    }

    /// What has to be committed.
    pub fn take_commit(&mut self) -> Commit {
        std::mem::take(&mut self.commit)
    }

    /// It is on disk.
    pub fn stored(mut self) {
        // Counted when it was reserved.
        self.added.clear();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for Replaced { old, new, n_bytes } in self.replaced.drain(..) {
            if let Some((old, n_bytes)) = old {
                queues.remove(&old, n_bytes);
            }
            queues.add(&new, n_bytes);
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        self.added.iter().for_each(|(queue, n_bytes)| queues.remove(queue, *n_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    fn letter(component: &str, attempts: u32, second: i64) -> DeadLetter {
        let at = Timestamp::from_second(second).expect("a time");
        DeadLetter {
            pipeline: "flow".into(),
            component: component.into(),
            kind: "sink".into(),
            source: if second == 1 { "in".into() } else { String::new() },
            record_id: second as u64,
            attempts,
            is_undecided: false,
            error: StoredError::from(&Error::rejected("invalid_value", "no")),
            first_failed_at: at,
            last_failed_at: at,
            record: StoredRecord::from(&Record::new(Bytes::from("value"))),
        }
    }

    fn open(folder: &std::path::Path) -> DeadLetters {
        let store = Store::open(folder, StoreOptions::default()).expect("a store");
        DeadLetters::open(store, DeadLetterSettings::default()).expect("readable")
    }

    fn records(letters: &DeadLetters) -> Vec<(String, u64)> {
        let mut sizes: Vec<_> =
            letters.sizes().into_iter().map(|(queue, size)| (queue.component, size.records)).collect();
        sizes.sort();
        sizes
    }

    #[test]
    fn a_letter_that_fails_again_goes_on_where_it_failed_last_and_is_counted_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let letters = open(folder.path());
        letters.put(&[(None, letter("a", 4, 1)), (None, letter("a", 4, 1))]).expect("stored");
        let earlier = letters.get(1).expect("readable").expect("the first");
        let again = letter("b", 3, 9).after(&earlier.letter);
        assert_eq!((again.attempts, again.record_id, again.source.as_str()), (7, 1, "in"));
        assert_eq!(again.first_failed_at.as_second(), 1);
        assert_eq!(again.last_failed_at.as_second(), 9);
        letters.put(&[(Some(earlier.key.clone()), again)]).expect("stored");
        assert_eq!(letters.list(0, 10).expect("readable").len(), 2);
        assert_eq!(records(&letters), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        letters.remove(&[earlier.key]).expect("removed");
        assert_eq!(records(&letters), [("a".to_owned(), 1), ("b".to_owned(), 0)]);
        drop(letters);
        assert_eq!(records(&open(folder.path())), [("a".to_owned(), 1)], "a restart counts the same");
    }
}

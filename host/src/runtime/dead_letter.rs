//! Records that could not be delivered, kept in the store with everything an operator needs to decide about them.
//!
//! Invariant: a record counts as taken care of only after its dead letter is on disk.

use crate::config::DeadLetterSettings;
use crate::store::{Commit, Namespace, Store, StoreError};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use lockstep_plugin_api::{Bytes, Error, Position, Record};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
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
            headers: record.headers().map(|(name, value)| (name.to_owned(), Blob::from(value))).collect(),
            timestamp_us: record.timestamp_us(),
            position: record.position().map(|position| (position.lane(), Blob::from(position.bytes()))),
        }
    }
}

impl StoredRecord {
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
    used: HashMap<(String, String), Size>,
    last_number: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    records: u64,
    bytes: u64,
}

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
        let mut after = None;
        loop {
            let page = letters.store.scan(Namespace::DeadLetters, b"", after.as_deref(), 1000)?;
            let Some((last, _)) = page.last() else { return Ok(letters) };
            after = Some(last.clone());
            let mut queues = letters.queues.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in &page {
                queues.last_number = number(key);
                if let Ok(letter) = serde_json::from_slice::<DeadLetter>(value) {
                    queues.add(&letter, value.len() as u64);
                }
            }
        }
    }

    /// Stores dead letters; each replaces the one under its key if it has one. Returns when they are on disk.
    pub fn put(&self, letters: &[(Option<Vec<u8>>, DeadLetter)]) -> Result<(), DeadLetterError> {
        let mut commit = Commit::default();
        let mut added = Vec::new();
        for (key, letter) in letters {
            let value = serde_json::to_vec(letter).expect("a dead letter is plain data");
            let key = match key {
                Some(key) => key.clone(),
                None => {
                    added.push((letter, value.len() as u64));
                    self.reserve(letter, value.len() as u64)?
                }
            };
            commit = commit.put(Namespace::DeadLetters, key, value);
        }
        self.store.commit(commit).inspect_err(|_| {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            added.iter().for_each(|(letter, bytes)| queues.remove(letter, *bytes));
        })?;
        Ok(())
    }

    fn reserve(&self, letter: &DeadLetter, bytes: u64) -> Result<Vec<u8>, DeadLetterError> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let used = queues.used(letter);
        if used.records + 1 > self.limits.records || used.bytes + bytes > self.limits.bytes {
            let component = format!("{}/{}", letter.pipeline, letter.component);
            return Err(DeadLetterError::Full { component, records: used.records, bytes: used.bytes });
        }
        queues.add(letter, bytes);
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
        let value = self.store.get(Namespace::DeadLetters, &key)?;
        Ok(value.and_then(|value| Some(Entry { letter: read(&value)?, key })))
    }

    /// Forgets dead letters, because they were delivered or an operator said so.
    pub fn remove(&self, keys: &[Vec<u8>]) -> Result<(), StoreError> {
        let mut commit = Commit::default();
        let mut removed = Vec::new();
        for key in keys {
            if let Some(value) = self.store.get(Namespace::DeadLetters, key)? {
                removed.extend(read(&value).map(|letter| (letter, value.len() as u64)));
                commit = commit.delete(Namespace::DeadLetters, key.clone());
            }
        }
        self.store.commit(commit)?;
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        removed.iter().for_each(|(letter, bytes)| queues.remove(letter, *bytes));
        Ok(())
    }
}

fn read(value: &[u8]) -> Option<DeadLetter> {
    serde_json::from_slice(value).ok()
}

impl Queues {
    fn slot(&mut self, letter: &DeadLetter) -> &mut Size {
        self.used.entry((letter.pipeline.clone(), letter.component.clone())).or_default()
    }

    fn used(&mut self, letter: &DeadLetter) -> Size {
        *self.slot(letter)
    }

    fn add(&mut self, letter: &DeadLetter, bytes: u64) {
        let size = self.slot(letter);
        size.records += 1;
        size.bytes += bytes;
    }

    fn remove(&mut self, letter: &DeadLetter, bytes: u64) {
        let size = self.slot(letter);
        size.records = size.records.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub(bytes);
    }
}

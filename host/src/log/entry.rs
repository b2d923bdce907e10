//! An entry's bytes: made from a record when it is committed, and a record again when it is read.
//!
//! Invariant: the JSON that is stored names neither epoch nor revision, for it is written before it has one; every
//! record that is read names both.
//!
//! ```text
//! version, flags, committed at (8), timestamp (8), [key], headers, JSON
//! ```

use std::ops::RangeInclusive;

use lockstep_plugin_api::{Bytes, Change, Record, record::ENDPOINT_HEADER};

use crate::store::{NewEntry, StoreError};

const VERSION: u8 = 1;

const IS_NOTICE: u8 = 1;
const HAS_KEY: u8 = 2;
/// The record's key is the change's, and not written again.
const IS_CONFIG_KEY: u8 = 4;

/// Headers that are the host's own, and end here.
pub const HOST_HEADERS: &str = "lockstep.";

/// The years 1 to 9999: what can be written as a timestamp and read again.
const TIMESTAMPS_US: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// Under which the newest entry of a configuration key is found. No tenant has an empty name.
pub(super) fn log_key(tenant: Option<&str>, key: &str) -> Vec<u8> {
    [tenant.unwrap_or_default().as_bytes(), b"\0", key.as_bytes()].concat()
}

/// The entry of this record.
pub(super) fn encode(mut record: Record, committed_at_us: i64) -> Result<NewEntry, StoreError> {
    let change = record.change().map_err(|error| refused(error.message()))?;
    if change.timestamp_us().is_some_and(|at| !TIMESTAMPS_US.contains(&at)) {
        return Err(refused("its timestamp is outside the years 1 to 9999"));
    }
    let key = log_key(change.tenant_id(), change.config_key());
    let is_deletion = change.is_deletion();
    let json = plain_json(change);
    let is_notice = record.is_notice();
    let value = Bytes::from(write(&record, &json, committed_at_us));
    Ok(NewEntry { key: (!is_notice).then_some(key), value, is_deletion: is_deletion && !is_notice })
}

fn refused(what: impl Into<String>) -> StoreError {
    StoreError::NotAnEntry { what: what.into() }
}

/// Written anew and not copied: the author's own text may hold an epoch or a revision, twice, or as `null`.
fn plain_json(change: &Change) -> Bytes {
    if change.epoch().is_none() && change.revision().is_none() {
        return change.to_json();
    }
    let mut change = change.clone();
    change.set_epoch(None);
    change.set_revision(None);
    change.to_json()
}

fn write(record: &Record, json: &[u8], committed_at_us: i64) -> Vec<u8> {
    let config_key = record.known_change().map(|change| change.config_key().as_bytes());
    let own_key = record.key().filter(|key| Some(&***key) != config_key);
    let mut flags = if record.is_notice() { IS_NOTICE } else { 0 };
    flags |= if record.key().is_some() { HAS_KEY } else { 0 };
    flags |= if own_key.is_none() { IS_CONFIG_KEY } else { 0 };
    let mut bytes = Vec::with_capacity(64 + json.len());
    bytes.extend([VERSION, flags]);
    bytes.extend(committed_at_us.to_be_bytes());
    bytes.extend(record.timestamp_us().to_be_bytes());
    if let Some(key) = own_key {
        write_part(&mut bytes, key);
    }
    let headers: Vec<_> = record.headers().filter(|(name, _)| is_kept(name)).collect();
    bytes.extend((headers.len() as u32).to_be_bytes());
    for (name, value) in headers {
        write_part(&mut bytes, name.as_bytes());
        write_part(&mut bytes, value);
    }
    bytes.extend_from_slice(json);
    bytes
}

/// Where a change was read is part of its entry: whoever writes there needs no copy of it.
fn is_kept(header: &str) -> bool {
    header == ENDPOINT_HEADER || !header.starts_with(HOST_HEADERS)
}

fn write_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u32).to_be_bytes());
    bytes.extend_from_slice(part);
}

/// When an entry was committed, and whether it is a notice: without reading the rest.
pub(super) struct Head {
    pub committed_at_us: i64,
    pub is_notice: bool,
}

impl Head {
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let flags = parts.flags()?;
        Some(Self { committed_at_us: parts.number()?, is_notice: flags & IS_NOTICE != 0 })
    }
}

/// The record of an entry; `None` if the bytes are not an entry's.
pub(super) fn decode(bytes: &[u8], epoch: &str, revision: u64) -> Option<Record> {
    let mut parts = Parts(bytes);
    let flags = parts.flags()?;
    let (_, timestamp_us) = (parts.number()?, parts.number()?);
    let own_key = if flags & IS_CONFIG_KEY == 0 { Some(parts.part()?) } else { None };
    let headers = (0..parts.count()?).map(|_| Some((parts.part()?, parts.part()?)));
    let headers = headers.collect::<Option<Vec<_>>>()?;
    let value = splice(parts.0, epoch, revision)?;
    let change = Change::from_json(&value).ok()?;
    let mut record = Record::from_log(value, change, flags & IS_NOTICE != 0);
    record.set_id(revision);
    record.set_timestamp_us(timestamp_us);
    match own_key {
        Some(key) => record.set_key(Some(Bytes::from(key))),
        None if flags & HAS_KEY == 0 => record.set_key(None),
        None => {}
    }
    for (name, value) in headers {
        record.push_header(std::str::from_utf8(name).ok()?, value);
    }
    Some(record)
}

/// The stored JSON with the entry's place put first.
fn splice(json: &[u8], epoch: &str, revision: u64) -> Option<Bytes> {
    let rest = json.strip_prefix(b"{")?;
    let place = format!(r#"{{"epoch":"{epoch}","revision":{revision},"#);
    Some(Bytes::from([place.as_bytes(), rest].concat()))
}

/// What has not been read yet.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// Refuses what a newer host wrote.
    fn flags(&mut self) -> Option<u8> {
        let [version, flags] = self.take()?;
        (version == VERSION).then_some(flags)
    }

    fn number(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn count(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let n_bytes = self.count()? as usize;
        let (part, rest) = self.0.split_at_checked(n_bytes)?;
        self.0 = rest;
        Some(part)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}
